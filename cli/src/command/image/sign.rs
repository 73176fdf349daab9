//! `image sign`: a signature beside a packed image. Must not change the image.

use std::{fs::File, path::Path};

use cloud_machine_driver::{signature as file, store::SignatureRecord};
use cloud_machine_image::Manifest;

use crate::{
    failure::{Failure, Kind},
    launch, signature,
    ui::Ui,
};

/// Signs `packed` with the key in the file `key`.
pub(super) fn sign(ui: &Ui, packed: &Path, key: &Path) -> Result<(Manifest, SignatureRecord), Failure> {
    let manifest = launch::manifest(packed)?;
    let key = signature::secret_key(key)?;
    let image = File::open(packed).map_err(Failure::during(Kind::Failed, format!("open {}", packed.display())))?;
    let progress = ui.progress(&format!("sign {}", manifest.name()));
    let text =
        key.sign(image, packed, &manifest, &|done, total| progress.set(done, total)).map_err(signature::failure)?;
    drop(progress);
    file::write(packed, &text).map_err(signature::failure)?;
    Ok((manifest, SignatureRecord::Verified { key: key.id().to_string() }))
}
