//! The image of a machine as it is installed on this host, checked against the machine's record. Must not choose an image.

use std::{fs, io::ErrorKind as Io, path::Path};

use cloud_machine_fetch::FetchError;
use cloud_machine_image::{ImageError, Manifest, read_manifest_unless};
use cloud_machine_packing::FileBlocks;
use cloud_machine_store::{ImageFolder, MachineRecord, Store};

use crate::{
    error::{ErrorKind, OperationError},
    hint::Hint,
};

/// The installed image of a machine, checked against its record.
pub(crate) fn image(store: &Store, record: &MachineRecord) -> Result<(ImageFolder, Manifest), OperationError> {
    let folder = store.image(&record.image.name)?;
    let manifest = manifest(&folder)?;
    if manifest.digest() != record.image.digest {
        let (name, image) = (&record.name, &record.image.name);
        let text = format!("image {image} was replaced since machine {name} was last reimaged");
        let hint = Hint::ReimageWith { machine: name.clone(), image: image.clone() };
        return Err(OperationError::failed(text).hint(hint));
    }
    folder.verify_boot_files()?;
    Ok((folder, manifest))
}

/// Opens a packed or raw image; that it is absent is told apart from that it cannot be opened.
///
/// # Errors
/// Of [`ErrorKind::NotFound`] or [`ErrorKind::Failed`].
pub fn open_blocks(path: &Path) -> Result<FileBlocks, OperationError> {
    FileBlocks::open(path).map_err(|error| {
        let kind = if error.kind() == Io::NotFound { ErrorKind::NotFound } else { ErrorKind::Failed };
        OperationError::during(kind, format!("open {}", path.display()))(error)
    })
}

/// Reads the manifest of an installed image. Its zeros are hashed only where they are not known already.
///
/// # Errors
/// Those of [`open_blocks`], and of [`ErrorKind::Verification`] for an image that is wrong.
pub fn manifest(folder: &ImageFolder) -> Result<Manifest, OperationError> {
    let path = folder.packed();
    read_manifest_unless(&open_blocks(&path)?, folder.proved_manifest(), &|_, _| ())
        .map_err(|error| unreadable(error, format!("read the image {}", path.display())))
}

/// A failure of the image engine: that an image cannot be read is told apart from that it is wrong.
pub fn unreadable(error: ImageError, operation: String) -> OperationError {
    let unread = matches!(error, ImageError::Io { .. });
    let (kind, hint) = match (unread, fetch_error(&error)) {
        (true, found) => (ErrorKind::Failed, found.and_then(Hint::of_fetch)),
        (false, _) => (ErrorKind::Verification, None),
    };
    let failure = OperationError::during(kind, operation)(error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// The error of the network below one of the image engine. An I/O error names the source of what it carries, but not
/// what it carries.
fn fetch_error(error: &ImageError) -> Option<&FetchError> {
    let ImageError::Io { source, .. } = error else { return None };
    source.get_ref()?.downcast_ref()
}

/// Bytes of a file of this host.
pub(crate) fn file_size(path: &Path) -> Result<u64, OperationError> {
    let length = fs::metadata(path).map(|found| found.len());
    length.map_err(OperationError::during(ErrorKind::Failed, format!("read the size of {}", path.display())))
}
