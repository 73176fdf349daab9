//! The kernel that machines are started with: given on the command line, or the image's own, with the way out where it has
//! none. Must not look for it itself.

use std::{path::Path, sync::Arc};

use cloud_machine_image::{Partition, find_partitions};
use cloud_machine_packing::{
    input::RawImage,
    kernel::{KernelError, OwnKernel, find},
};
use cloud_machine_store::Content;

use crate::{
    arguments::Packing,
    command::image::{boot::ModuleFolder, input::unpackable},
    failure::{Failure, Kind},
    ui::Ui,
};

/// The way out when the image has no kernel that can be taken.
pub(super) const GIVE: &str = "--kernel FILE and --modules FOLDER give both from this host";

/// A kernel.
pub(super) enum Kernel<'a> {
    /// A file of the host.
    Given(&'a Path),
    /// Out of the image.
    Own(OwnKernel),
}

impl Kernel<'_> {
    pub(super) fn content(&self) -> Content<'_> {
        match self {
            Self::Given(path) => Content::File(path),
            Self::Own(own) => Content::Bytes(&own.bytes),
        }
    }
}

/// The image's own kernel; says which one, where there are several.
pub(super) fn own(ui: &Ui, raw: &Arc<RawImage>, arguments: &Packing, shown: &Path) -> Result<OwnKernel, Failure> {
    let (partitions, root) =
        find_partitions(&**raw, arguments.root_partition).map_err(|error| unpackable(error, shown))?;
    of_partitions(ui, raw, (&partitions, root), arguments.kernel_release.as_deref(), "machines start")
}

/// The image's own kernel on its partitions, of which one has the root; says what `starts` with it, where there are several.
pub(super) fn of_partitions(
    ui: &Ui,
    raw: &Arc<RawImage>,
    (partitions, root): (&[Partition], u32),
    release: Option<&str>,
    starts: &str,
) -> Result<OwnKernel, Failure> {
    let kernel = find(raw, partitions, root, release).map_err(failure)?;
    if !kernel.others.is_empty() && release.is_none() {
        let (place, others) = (&kernel.place, kernel.others.join(", "));
        ui.note(&format!("{starts} with {place}; --kernel-release takes another: {others}"));
    }
    Ok(kernel)
}

/// Refuses modules that were built for another kernel than the one in whose folder they are.
pub(super) fn check_release(kernel: &OwnKernel, release: &str) -> Result<(), Failure> {
    if kernel.release == release {
        return Ok(());
    }
    let (modules, own) = (kernel.modules(""), &kernel.release);
    Err(Failure::new(
        Kind::Refused,
        format!("cannot use {modules}: its modules are for {release}, the kernel is {own}"),
    )
    .hint(GIVE))
}

impl ModuleFolder for OwnKernel {
    fn shown(&self, path: &str) -> String {
        self.modules(path)
    }

    fn read(&self, path: &str, most: u64) -> Result<Vec<u8>, Failure> {
        self.module_file(path, most).map_err(failure)
    }
}

fn failure(error: KernelError) -> Failure {
    match &error {
        KernelError::OtherRelease { .. } => {
            Failure::new(Kind::NotFound, error).hint("--kernel-release RELEASE takes one of these")
        }
        KernelError::Absent { .. } => Failure::new(Kind::NotFound, error).hint(GIVE),
        KernelError::Read { .. } => Failure::failed(error)
            .hint("the image is damaged, or its filesystem has a feature that is not read")
            .hint(GIVE),
        _ => Failure::failed(error).hint(GIVE),
    }
}
