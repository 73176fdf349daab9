//! The disk image that `image pack` reads, with a bar for each phase and a way out for each error. Must not read it
//! itself.

use std::{cell::RefCell, io, path::Path};

use cloud_machine_image::ImageError;
use cloud_machine_packing::input::{Format, Input, InputError, Phase, RawImage, Source};
use cloud_machine_store::Store;

use crate::{
    arguments::{InputFormat, Pack},
    failure::{Failure, Kind},
    ui::{Progress, Ui},
};

/// Opens the disk image as raw blocks; temporary files lie on the filesystem of the store.
pub(super) fn open(ui: &Ui, store: &Store, arguments: &Pack) -> Result<RawImage, Failure> {
    let source =
        if arguments.input == Path::new("-") { Source::Standard } else { Source::Path(arguments.input.clone()) };
    let shown: RefCell<Option<(Phase, Progress)>> = RefCell::new(None);
    let progress = |phase, done, total| {
        let mut shown = shown.borrow_mut();
        if shown.as_ref().is_none_or(|(current, _)| *current != phase) {
            *shown = Some((phase, ui.progress(&format!("{} {}", verb(phase), arguments.name))));
        }
        if let Some((_, progress)) = &*shown {
            progress.set(done, total);
        }
    };
    let input = Input {
        folder: store.root(),
        format: format(arguments.format),
        max_size: arguments.packing.max_size.bytes().min(cloud_machine_image::MAX_IMAGE_SIZE),
        qemu_img: Path::new("qemu-img"),
        progress: &progress,
    };
    input.open(&source).map_err(failure)
}

/// An error of a disk that is no image, or could not be packed, with what helps.
pub(super) fn unpackable(error: ImageError, shown: &Path) -> Failure {
    let hint = match &error {
        ImageError::Sink { .. } => Some(FULL),
        ImageError::RootUnclear { .. } => Some("--root-partition NUMBER names it"),
        ImageError::FilesystemUnknown { .. } => Some(
            "the root of an image has to be ext4, whether or not --kernel and --modules are given; no other is reimaged yet",
        ),
        error => error.way_out(),
    };
    let failure = Failure::during(Kind::Failed, format!("pack {}", shown.display()))(error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

pub(super) fn verb(phase: Phase) -> &'static str {
    match phase {
        Phase::Spool => "spool",
        Phase::Decompress => "decompress",
        Phase::Convert | Phase::ConvertBack => "convert",
        Phase::Copy => "copy",
    }
}

fn format(format: InputFormat) -> Option<Format> {
    match format {
        InputFormat::Auto => None,
        InputFormat::Raw => Some(Format::Raw),
        InputFormat::Qcow2 => Some(Format::Qcow2),
        InputFormat::Zstd => Some(Format::Zstd),
        InputFormat::Gzip => Some(Format::Gzip),
        InputFormat::Xz => Some(Format::Xz),
    }
}

/// An error with what helps.
pub(super) fn failure(error: InputError) -> Failure {
    if let InputError::Foreign { way_out, .. } = &error {
        let way_out = way_out.clone();
        return Failure::failed(error).hint(way_out);
    }
    let absent = |source: &io::Error| source.kind() == io::ErrorKind::NotFound;
    let (kind, hint) = match &error {
        InputError::Open { source, .. } if absent(source) => (Kind::NotFound, None),
        InputError::Terminal => (Kind::Failed, Some("give a file with --input, or a pipe")),
        InputError::TooLarge { .. } => (Kind::Failed, Some("--max-size SIZE allows more, up to 16 TiB")),
        InputError::Changed { .. } => (Kind::Failed, Some("stop what writes it, then try again")),
        InputError::Run { source, .. } if absent(source) => {
            (Kind::Failed, Some("`apt-get install qemu-utils` brings it; it converts qcow2 images"))
        }
        error if error.is_full() => (Kind::Failed, Some(FULL)),
        InputError::Decompress { .. } => (
            Kind::Failed,
            Some("the image is damaged, cut off or followed by something else; --format raw takes it as it is"),
        ),
        _ => (Kind::Failed, None),
    };
    let failure = Failure::new(kind, error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// What helps when there is no space.
pub(super) const FULL: &str =
    "nothing is left of it; make space where the state folder lies, or name another with --state";
