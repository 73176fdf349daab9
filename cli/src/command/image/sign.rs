//! `image sign`: a signature beside a packed image, of which every frame was seen to give the image that the signature
//! names. Must not change the image.

use std::{fs::File, path::Path};

use cloud_machine_image::{Manifest, verify_packed};
use cloud_machine_operation::{
    installed::{open_blocks, unreadable},
    signature,
};
use cloud_machine_packing::signature as file;
use cloud_machine_store::{ImageFolder, SignatureRecord};

use crate::{
    arguments::Global,
    failure::{Failure, Kind},
    signing, source,
    ui::Ui,
};

/// Signs the packed image that `image` names with the key in the file `key`.
pub(super) fn sign(ui: &Ui, global: &Global, image: &str, key: &Path) -> Result<(Manifest, SignatureRecord), Failure> {
    let (packed, installed) = source::packed_file(global, image)?;
    let proved = installed.as_ref().and_then(ImageFolder::proved_manifest);
    let packed = packed.as_path();
    let blocks = open_blocks(packed)?;
    let manifest = source::manifest(ui, &blocks, proved, image)?;
    let key = signing::secret_key(key)?;
    let progress = ui.progress(&format!("verify {}", manifest.name()));
    verify_packed(&manifest, &blocks, &|done, total| progress.set(done, total))
        .map_err(|error| unreadable(error, format!("verify {image}")))?;
    drop(progress);
    let image = File::open(packed).map_err(Failure::during(Kind::Failed, format!("open {}", packed.display())))?;
    let progress = ui.progress(&format!("sign {}", manifest.name()));
    let text =
        key.sign(image, packed, &manifest, &|done, total| progress.set(done, total)).map_err(signature::failure)?;
    drop(progress);
    file::write(packed, &text).map_err(signature::failure)?;
    Ok((manifest, SignatureRecord::Verified { key: key.id().to_string() }))
}
