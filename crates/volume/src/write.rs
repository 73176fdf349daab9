//! FAT filesystems that the host makes, the same bytes for the same content: the volume of an attempt, labelled `CLOUD-INIT`, and
//! a system partition that UEFI firmware starts from. Owns layout and limits; must not read one, nor know what the files mean.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Cursor, Write},
};

use cloud_machine_protocol::{Algorithm, Digest, volume};
use fatfs::{Date, DateTime, FatType, FileSystem, FormatVolumeOptions, FsOptions, Time, TimeProvider};
use sha2::{Digest as _, Sha256};

/// Most parts of a path, as the reader in the machine has it.
pub const MAX_DEPTH: usize = 8;
/// What sizes are a multiple of: small documents make a small volume, which is read whole at every start.
const GRAIN: u64 = 128 << 10;
/// "CMCI". Fixed, since the id is part of the pinned bytes.
const VOLUME_ID: u32 = 0x434d_4349;
/// Largest system partition, in bytes: twice the most that a kernel with its initramfs has.
const MAX_SYSTEM_PARTITION: u64 = 1 << 30;
/// Bytes of the smallest FAT32 in clusters of 512 bytes: 65,525 of them (Microsoft's FAT specification 1.03, page 15) and two tables.
const MIN_FAT32: u64 = 35 << 20;
/// Label of a system partition. Never that of a volume, which the agent looks for.
const SYSTEM_LABEL: &str = "RECOVERY";

/// Why a volume could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VolumeError {
    /// A path is not made of plain parts.
    #[error(
        "path {path:?} on the volume is invalid: expected up to 8 parts of 1 to 255 of A-Z, a-z, 0-9, ., _ and -, no part beginning or ending in a dot"
    )]
    InvalidPath {
        /// The path.
        path: String,
    },
    /// Two paths are the same to a filesystem that ignores case, or one is a folder of another.
    #[error("path {path:?} is twice on the volume")]
    Duplicate {
        /// The path.
        path: String,
    },
    /// A file is larger than the reader in the machine takes.
    #[error("file {path:?} on the volume has {size} bytes, at most {most} are allowed")]
    FileTooLarge {
        /// The path.
        path: String,
        /// Bytes.
        size: u64,
        /// The limit.
        most: u64,
    },
    /// More files than the reader in the machine takes.
    #[error("the volume would have {count} files, at most {} are allowed", volume::MAX_FILES)]
    TooManyFiles {
        /// How many.
        count: usize,
    },
    /// All files together do not fit into the largest volume.
    #[error("the volume's files need more than {most} bytes")]
    TooLarge {
        /// The limit.
        most: u64,
    },
    /// The filesystem could not be written.
    #[error("cannot write {what} on the volume")]
    Write {
        /// A path, or a part of the filesystem.
        what: String,
        /// The FAT writer's answer.
        #[source]
        source: io::Error,
    },
}

/// Builds a volume with `files`, each a path with `/` between its parts and the content. The order of `files` does
/// not matter. The size is a multiple of 128 KiB, at most 64 MiB.
///
/// # Errors
/// Any [`VolumeError`].
pub fn build(files: &[(&str, &[u8])]) -> Result<Vec<u8>, VolumeError> {
    Shape { label: volume::LABEL, least: 0, most: volume::MAX_SIZE, largest_file: volume::MAX_FILE }.build(files)
}

/// Builds an EFI system partition with `files`, which are given as to [`build`]: FAT32, as the UEFI Specification 2.10 wants it on
/// disks that stay (section 13.3), in sectors of 512 bytes. The size is a multiple of 128 KiB, at least 35 MiB and at most 1 GiB.
///
/// # Errors
/// Any [`VolumeError`].
pub fn system_partition(files: &[(&str, &[u8])]) -> Result<Vec<u8>, VolumeError> {
    let most = MAX_SYSTEM_PARTITION;
    Shape { label: SYSTEM_LABEL, least: MIN_FAT32, most, largest_file: most }.build(files)
}

/// What differs between the filesystems that are made. Sizes are in bytes.
struct Shape {
    label: &'static str,
    /// From [`MIN_FAT32`] it is FAT32; else the size says which FAT it is.
    least: u64,
    most: u64,
    largest_file: u64,
}

impl Shape {
    fn build(&self, files: &[(&str, &[u8])]) -> Result<Vec<u8>, VolumeError> {
        let files = check(files, self.largest_file)?;
        let mut size = self.estimate(&files).max(self.least);
        while size <= self.most {
            if let Some(image) = self.write(&files, size)? {
                return Ok(image);
            }
            size += GRAIN;
        }
        Err(VolumeError::TooLarge { most: self.most })
    }

    /// A first guess: contents in whole clusters, and room for the tables.
    fn estimate(&self, files: &BTreeMap<&str, &[u8]>) -> u64 {
        let content: u64 = files.values().map(|content| (content.len() as u64).next_multiple_of(4096)).sum();
        // Two tables of FAT32 have 8 bytes for each cluster of 512.
        let tables = content / if self.is_fat32() { 60 } else { 128 };
        (content + tables + 64 * 1024).next_multiple_of(GRAIN)
    }

    fn is_fat32(&self) -> bool {
        self.least >= MIN_FAT32
    }

    /// `None` when the files do not fit into `size` bytes.
    fn write(&self, files: &BTreeMap<&str, &[u8]>, size: u64) -> Result<Option<Vec<u8>>, VolumeError> {
        let failed = |source| VolumeError::Write { what: "the filesystem".to_owned(), source };
        let length = usize::try_from(size).map_err(|_| VolumeError::TooLarge { most: self.most })?;
        let mut image = Cursor::new(vec![0; length]);
        let mut label = [b' '; 11];
        label.iter_mut().zip(self.label.bytes()).for_each(|(place, byte)| *place = byte);
        let mut options = FormatVolumeOptions::new()
            .volume_id(VOLUME_ID)
            .volume_label(label)
            .max_root_dir_entries(root_entries(files));
        if self.is_fat32() {
            options = options.fat_type(FatType::Fat32);
        }
        fatfs::format_volume(&mut image, options).map_err(failed)?;
        // Folders first, in a filesystem that holds nothing else: see `repair_folders`.
        if !fill(&mut image, files, write_folders)? {
            return Ok(None);
        }
        repair_folders(image.get_mut(), self.is_fat32());
        Ok(fill(&mut image, files, write_file)?.then(|| image.into_inner()))
    }
}

/// SHA-256 of a whole volume, which the kernel command line carries as `cloudmachine.pin`.
#[must_use]
pub fn pin(volume: &[u8]) -> Digest {
    Digest::new(Algorithm::Sha256, Sha256::digest(volume).into())
}

fn check<'a>(files: &[(&'a str, &'a [u8])], most: u64) -> Result<BTreeMap<&'a str, &'a [u8]>, VolumeError> {
    if files.len() > volume::MAX_FILES {
        return Err(VolumeError::TooManyFiles { count: files.len() });
    }
    let mut sorted = BTreeMap::new();
    let (mut names, mut folders) = (BTreeSet::new(), BTreeSet::new());
    for (path, content) in files {
        let parts: Vec<&str> = path.split('/').collect();
        if parts.len() > MAX_DEPTH || !parts.iter().all(|part| is_plain(part)) {
            return Err(VolumeError::InvalidPath { path: (*path).to_owned() });
        }
        let size = content.len() as u64;
        if size > most {
            return Err(VolumeError::FileTooLarge { path: (*path).to_owned(), size, most });
        }
        let folded = path.to_ascii_lowercase();
        folders.extend(folded.match_indices('/').filter_map(|(index, _)| folded.get(..index)).map(str::to_owned));
        if !names.insert(folded) {
            return Err(VolumeError::Duplicate { path: (*path).to_owned() });
        }
        sorted.insert(*path, *content);
    }
    match names.intersection(&folders).next() {
        Some(path) => Err(VolumeError::Duplicate { path: path.clone() }),
        None => Ok(sorted),
    }
}

fn is_plain(part: &str) -> bool {
    let byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=255).contains(&part.len()) && part.bytes().all(byte) && !part.starts_with('.') && !part.ends_with('.')
}

type Filesystem<'a> = FileSystem<&'a mut Cursor<Vec<u8>>>;
/// Writes something of one file, given by path and content.
type WriteOne = fn(&Filesystem<'_>, &str, &[u8]) -> io::Result<()>;

/// Does `one` for every file; `false` when the filesystem is full.
fn fill(image: &mut Cursor<Vec<u8>>, files: &BTreeMap<&str, &[u8]>, one: WriteOne) -> Result<bool, VolumeError> {
    let failed = |source| VolumeError::Write { what: "the filesystem".to_owned(), source };
    let options = FsOptions::new().time_provider(&Fixed);
    // fatfs asserts that it is given its storage at the first byte.
    image.set_position(0);
    let filesystem = FileSystem::new(image, options).map_err(failed)?;
    for (path, content) in files {
        match one(&filesystem, path, content) {
            Ok(()) => {}
            Err(error) if is_full(&error) => return Ok(false),
            Err(source) => return Err(VolumeError::Write { what: format!("{path:?}"), source }),
        }
    }
    if filesystem.fat_type() == FatType::Fat32 {
        // Counts the free clusters, which are unknown from the start and stay so otherwise.
        filesystem.stats().map_err(failed)?;
    }
    filesystem.unmount().map_err(failed)?;
    Ok(true)
}

fn write_folders(filesystem: &Filesystem<'_>, path: &str, _content: &[u8]) -> io::Result<()> {
    for (index, _) in path.match_indices('/') {
        // Opens the folder when a file before it has made it.
        filesystem.root_dir().create_dir(path.get(..index).unwrap_or_default())?;
    }
    Ok(())
}

fn write_file(filesystem: &Filesystem<'_>, path: &str, content: &[u8]) -> io::Result<()> {
    let mut file = filesystem.root_dir().create_file(path)?;
    file.write_all(content)?;
    file.flush()
}

/// Entries of the root folder, which has a fixed size in FAT12 and FAT16: the label, and for each name its short
/// entry and one long entry for 13 characters. One folder counted per file is more than enough.
fn root_entries(files: &BTreeMap<&str, &[u8]>) -> u16 {
    let needed = |path: &&str| 1 + path.split('/').next().unwrap_or_default().len().div_ceil(13);
    let entries = (1 + files.keys().map(needed).sum::<usize>()).next_multiple_of(16).max(512);
    u16::try_from(entries).unwrap_or(u16::MAX)
}

/// Puts `.` and `..` into the first two entries of every folder, where the FAT specification wants them. fatfs 0.3.6
/// writes a long-name entry before each (rafalh/rust-fatfs#117), which `fsck.vfat` calls a fault, and in FAT32 the root folder's
/// cluster into a `..` that leads there, where the specification wants 0. The search is safe
/// only as long as no file has content: then nothing but a folder can look like one.
fn repair_folders(image: &mut [u8], is_fat32: bool) {
    const ENTRY: usize = 32;
    const DELETED: u8 = 0xe5;
    const LONG_NAME: u8 = 0x0f;
    for slot in 0..image.len() / ENTRY {
        let start = slot * ENTRY;
        let Some(folder) = image.get_mut(start..start + 4 * ENTRY) else { break };
        let long = |index: usize| folder.get(index * ENTRY + 11) == Some(&LONG_NAME);
        let named = |index: usize, name: &[u8; 11]| folder.get(index * ENTRY..index * ENTRY + 11) == Some(name);
        if long(0) && named(1, b".          ") && long(2) && named(3, b"..         ") {
            folder.copy_within(ENTRY..2 * ENTRY, 0);
            folder.copy_within(3 * ENTRY..4 * ENTRY, ENTRY);
            let (kept, rest) = folder.split_at_mut(2 * ENTRY);
            rest.fill(0);
            if let Some(parent) = kept.get_mut(ENTRY + 20..ENTRY + 28).filter(|_| is_fat32) {
                clear_root(parent);
            }
            rest.iter_mut().step_by(ENTRY).for_each(|first| *first = DELETED);
        }
    }
}

/// Bytes 20 to 28 of a folder's entry: the upper half of its first cluster, time and date, the lower half.
fn clear_root(entry: &mut [u8]) {
    if let [0, 0, _, _, _, _, cluster @ 2, 0] = entry {
        *cluster = 0;
    }
}

/// fatfs 0.3 has no error kind of its own for a full volume. A root folder that is full ends in `WriteZero`.
fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WriteZero || error.to_string() == "No space left on device"
}

/// Always the same moment, so that the same content gives the same bytes.
#[derive(Debug)]
struct Fixed;

impl TimeProvider for Fixed {
    fn get_current_date(&self) -> Date {
        Date { year: 2000, month: 1, day: 1 }
    }

    fn get_current_date_time(&self) -> DateTime {
        DateTime { date: self.get_current_date(), time: Time { hour: 0, min: 0, sec: 0, millis: 0 } }
    }
}
