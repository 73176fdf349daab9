//! Golden disks: an image on a disk of the host, made and compared by the engine that also makes machines' disks. Must
//! not give out one that is not known to be right.

use std::{
    fs::{self, OpenOptions, Permissions},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use cloud_machine_disk::{Access, Disk, DiskError};
use cloud_machine_image::{CompareMode, ImageError, Manifest, Options, Progress, SECTOR_SIZE, Table, compare, rewrite};
use cloud_machine_store::{GoldenFolder, GoldenRecord, Stamp, Store, StoreError};

use crate::FileBlocks;

/// Threads that compare and write.
const THREADS: usize = 4;

/// Why there is no golden disk that could be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GoldenError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The packed image cannot be opened.
    #[error("cannot open {}", path.display())]
    Packed {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// The file cannot be used as a disk.
    #[error("cannot use the golden disk {}", path.display())]
    Disk {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: DiskError,
    },
    /// The image could not be written to it, or not be compared with it.
    #[error("cannot {verb} the golden disk {}", path.display())]
    Engine {
        /// `make` or `compare`.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: ImageError,
    },
    /// The file has another size than the disks that shall stand on it.
    #[error("the golden disk {} has {found} bytes instead of {expected}", path.display())]
    Size {
        /// The file.
        path: PathBuf,
        /// Bytes found.
        found: u64,
        /// Bytes expected.
        expected: u64,
    },
    /// It is not the image.
    #[error("the golden disk {} differs from its image in {count} ranges, {bytes} bytes, the first at {first}", path.display())]
    Differs {
        /// The file.
        path: PathBuf,
        /// Ranges.
        count: usize,
        /// Their bytes.
        bytes: u64,
        /// First byte of the first of them.
        first: u64,
    },
}

/// What was done before a golden disk was given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// It was made: written and fully read back.
    Made,
    /// All of it was compared.
    Compared,
    /// Its file looks as it did when all of it was last right.
    Unchanged,
}

/// When a golden disk that is there is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// When its file does not look as it did.
    IfChanged,
    /// In any case.
    Always,
}

/// Makes sure that the golden disk of the image is there and right, and says what that took.
///
/// # Errors
/// [`GoldenError`]; a disk that differs is left as it is, since machines may stand on it.
pub fn ensure(
    store: &Store,
    golden: &GoldenFolder,
    size: u64,
    manifest: &Manifest,
    packed: &Path,
    when: Compare,
    progress: Progress<'_>,
) -> Result<Checked, GoldenError> {
    let _lock = store.lock_golden(golden)?;
    if !golden.exists()? {
        make(golden, size, manifest, packed, progress)?;
        return Ok(Checked::Made);
    }
    let stamp = Stamp::of(&golden.disk())?;
    if stamp.size != size {
        return Err(GoldenError::Size { path: golden.disk(), found: stamp.size, expected: size });
    }
    let is_known = |record: GoldenRecord| record.proved && record.image == manifest.digest() && record.stamp == stamp;
    let known = golden.record()?.is_some_and(is_known);
    if known && when == Compare::IfChanged {
        return Ok(Checked::Unchanged);
    }
    compare_all(golden, size, manifest, packed, progress)?;
    // Whoever wrote to it while it was compared changed its looks after `stamp` was taken.
    golden.write_record(manifest.digest(), stamp)?;
    Ok(Checked::Compared)
}

fn make(
    golden: &GoldenFolder,
    size: u64,
    manifest: &Manifest,
    packed: &Path,
    progress: Progress<'_>,
) -> Result<(), GoldenError> {
    let source = open(packed)?;
    let new = golden.prepare()?;
    let path = new.disk();
    let io = |operation| StoreError::io(operation, &path);
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(io("make"))?;
    file.set_len(size).map_err(io("set the size of"))?;
    drop(file);
    let target = Disk::open(&path, Access::Write).map_err(disk_error(&path))?;
    // A new file reads as zero, so comparing first leaves the holes of the image holes.
    let options = Options { threads: THREADS, compare_mode: CompareMode::Scan };
    rewrite(manifest, &source, &target, options, progress).map_err(engine_error("make", &path))?;
    drop(target);
    fs::set_permissions(&path, Permissions::from_mode(0o444)).map_err(io("protect"))?;
    fs::File::open(&path).and_then(|file| file.sync_all()).map_err(io("flush"))?;
    new.write_record(manifest.digest(), Stamp::of(&path)?)?;
    golden.put_in_place(&new)?;
    Ok(())
}

fn compare_all(
    golden: &GoldenFolder,
    size: u64,
    manifest: &Manifest,
    packed: &Path,
    progress: Progress<'_>,
) -> Result<(), GoldenError> {
    let path = golden.disk();
    let target = Disk::open(&path, Access::Read).map_err(disk_error(&path))?;
    let table = Table::for_disk(manifest, &open(packed)?, size, SECTOR_SIZE).map_err(engine_error("compare", &path))?;
    let differing = compare(manifest, table.as_ref(), &target, THREADS, progress);
    let differing = differing.map_err(engine_error("compare", &path))?;
    match differing.first() {
        None => Ok(()),
        Some(first) => Err(GoldenError::Differs {
            path,
            count: differing.len(),
            bytes: differing.iter().map(|extent| extent.length).sum(),
            first: first.offset,
        }),
    }
}

fn open(packed: &Path) -> Result<FileBlocks, GoldenError> {
    FileBlocks::open(packed).map_err(|source| GoldenError::Packed { path: packed.to_owned(), source })
}

fn disk_error(path: &Path) -> impl FnOnce(DiskError) -> GoldenError {
    let path = path.to_owned();
    move |source| GoldenError::Disk { path, source }
}

fn engine_error(verb: &'static str, path: &Path) -> impl FnOnce(ImageError) -> GoldenError {
    let path = path.to_owned();
    move |source| GoldenError::Engine { verb, path, source }
}

#[cfg(test)]
#[path = "golden_tests.rs"]
mod tests;
