//! `image pack|inspect|verify|write|sign|list`: golden images and what machines are started with. Owns which command does
//! what; must not do it.

mod boot;
mod compare;
mod input;
mod inspect;
mod list;
mod pack;
mod sign;
mod write;

use std::path::{Path, PathBuf};

use cloud_machine_driver::store::{ImageName, SignatureRecord};
use cloud_machine_image::{Manifest, verify_packed};
use inspect::Inspected;

use crate::{
    arguments::{Global, Image},
    failure::{Failure, Kind},
    launch, signature,
    ui::Ui,
};

pub(crate) fn run(ui: &Ui, global: &Global, image: &Image) -> Result<(), Failure> {
    match image {
        Image::Pack(arguments) => {
            let (manifest, signature) = pack::pack_image(ui, &crate::open_store(global)?, arguments)?;
            ui.result(&Inspected::new(&manifest, &signature, false))
        }
        Image::Inspect { image } => {
            let path = packed_file(global, image)?;
            let manifest = launch::manifest(&path)?;
            ui.result(&Inspected::new(&manifest, &signature::unchecked(&path)?, false))
        }
        Image::Sign { image, key } => {
            let (manifest, signature) = sign::sign(ui, &packed_file(global, image)?, &key.sign_key)?;
            ui.result(&Inspected::new(&manifest, &signature, false))
        }
        Image::Verify { image, disk: Some(disk), threads, key } => {
            let path = packed_file(global, image)?;
            let manifest = launch::manifest(&path)?;
            signed(ui, &path, image, &manifest, key)?;
            compare::run(ui, &manifest, &launch::open_blocks(&path)?, disk, threads.get())
        }
        Image::Write(arguments) => {
            let path = packed_file(global, &arguments.image)?;
            let manifest = launch::manifest(&path)?;
            signed(ui, &path, &arguments.image, &manifest, &arguments.key)?;
            write::run(ui, &manifest, &launch::open_blocks(&path)?, arguments)
        }
        Image::Verify { image, disk: None, key, .. } => {
            let path = packed_file(global, image)?;
            let manifest = launch::manifest(&path)?;
            let signature = signed(ui, &path, image, &manifest, key)?;
            let progress = ui.progress("verify");
            verify_packed(&manifest, &launch::open_blocks(&path)?, &|done, total| progress.set(done, total))
                .map_err(Failure::during(Kind::Verification, format!("verify {}", path.display())))?;
            drop(progress);
            ui.result(&Inspected::new(&manifest, &signature, true))
        }
        Image::List => list::list(ui, &crate::open_store(global)?),
    }
}

/// What is known of the signature; checked when there are keys to hold it against.
fn signed(ui: &Ui, path: &Path, name: &str, manifest: &Manifest, keys: &[String]) -> Result<SignatureRecord, Failure> {
    let keys = signature::keys(keys)?;
    if keys.is_empty() { signature::unchecked(path) } else { signature::check(ui, path, name, manifest, &keys) }
}

/// A name of the store, or a path when it has a slash or names a file.
fn packed_file(global: &Global, image: &str) -> Result<PathBuf, Failure> {
    let path = Path::new(image);
    if image.contains('/') || path.is_file() {
        return Ok(path.to_owned());
    }
    let name: ImageName = image.parse().map_err(Failure::failed)?;
    Ok(crate::open_store(global)?.image(&name)?.packed())
}
