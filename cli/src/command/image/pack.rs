//! `image pack`: from a disk image to an installed image of the store. Must not decide what machines do with it.

use std::io::{BufWriter, Write};

use cloud_machine_driver::{
    store::{Content, ImageName, ImageSource, Store},
    volume::pin,
};
use cloud_machine_image::{Manifest, PackOptions, pack};

use crate::{
    arguments::Pack,
    command::image::boot,
    failure::{Failure, Kind},
    launch,
    ui::Ui,
};

pub(super) fn pack_image(ui: &Ui, store: &Store, arguments: &Pack) -> Result<Manifest, Failure> {
    let name: ImageName = arguments.name.parse().map_err(Failure::failed)?;
    let agent = boot::agent(arguments)?;
    let (release, initramfs) = boot::initramfs(&arguments.modules, &agent)?;
    let raw = launch::open_blocks(&arguments.raw)?;
    let options = PackOptions {
        name: name.to_string(),
        generation: arguments.generation,
        kernel_release: release.clone(),
        root_partition: None,
    };
    let packed = tempfile::NamedTempFile::new_in(store.root()).map_err(Failure::during(Kind::Failed, "make a file"))?;
    let progress = ui.progress(&format!("pack {name}"));
    let mut sink = BufWriter::new(packed.as_file());
    let manifest = pack(&raw, &mut sink, &options, &|done, total| progress.set(done, total))
        .map_err(Failure::during(Kind::Failed, format!("pack {}", arguments.raw.display())))?;
    sink.flush().map_err(Failure::during(Kind::Failed, "write the packed image"))?;
    drop(sink);
    drop(progress);
    store.install_image(
        &name,
        &ImageSource {
            packed: Content::File(packed.path()),
            kernel: Content::File(&arguments.kernel),
            initramfs: Content::Bytes(&initramfs),
            kernel_release: &release,
            agent: pin(&agent),
        },
    )?;
    Ok(manifest)
}
