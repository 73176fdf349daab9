//! `image pack|inspect|verify|write|list`: golden images and what machines are started with. Owns which command does what;
//! must not do it.

mod boot;
mod compare;
mod inspect;
mod list;
mod pack;
mod write;

use std::path::{Path, PathBuf};

use cloud_machine_driver::store::ImageName;
use cloud_machine_image::verify_packed;
use inspect::Inspected;

use crate::{
    arguments::{Global, Image},
    failure::{Failure, Kind},
    launch,
    ui::Ui,
};

pub(crate) fn run(ui: &Ui, global: &Global, image: &Image) -> Result<(), Failure> {
    match image {
        Image::Pack(arguments) => {
            let manifest = pack::pack_image(ui, &crate::open_store(global)?, arguments)?;
            ui.result(&Inspected::new(&manifest, false))
        }
        Image::Inspect { image } => {
            let manifest = launch::manifest(&packed_file(global, image)?)?;
            ui.result(&Inspected::new(&manifest, false))
        }
        Image::Verify { image, disk: Some(disk), threads } => {
            let path = packed_file(global, image)?;
            let manifest = launch::manifest(&path)?;
            compare::run(ui, &manifest, &launch::open_blocks(&path)?, disk, threads.get())
        }
        Image::Write(arguments) => {
            let path = packed_file(global, &arguments.image)?;
            let manifest = launch::manifest(&path)?;
            write::run(ui, &manifest, &launch::open_blocks(&path)?, arguments)
        }
        Image::Verify { image, disk: None, .. } => {
            let path = packed_file(global, image)?;
            let manifest = launch::manifest(&path)?;
            let progress = ui.progress("verify");
            verify_packed(&manifest, &launch::open_blocks(&path)?, &|done, total| progress.set(done, total))
                .map_err(Failure::during(Kind::Verification, format!("verify {}", path.display())))?;
            drop(progress);
            ui.result(&Inspected::new(&manifest, true))
        }
        Image::List => list::list(ui, &crate::open_store(global)?),
    }
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
