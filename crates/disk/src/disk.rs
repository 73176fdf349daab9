//! One open disk or disk file as blocks. Owns how bytes reach it and come back, and that nobody else writes it.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{
        fd::AsFd,
        unix::fs::{FileExt, FileTypeExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use cloud_machine_image::{ReadBlocks, SECTOR_SIZE, WriteBlocks};
use nix::{
    fcntl::{FallocateFlags, PosixFadviseAdvice, fallocate, posix_fadvise},
    libc::{self, O_CLOEXEC, O_DIRECT, O_EXCL},
};

use crate::{DiskError, error::io_error, holders, ioctl, lock};

/// What a disk is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It is only read; others may use it.
    Read,
    /// It is read and written, and nothing else may use it.
    Write,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Device,
    File,
}

/// A block device or a regular file of fixed size, read and written past the page cache (`O_DIRECT`): a read-back asks
/// the device and not the memory. Offsets, lengths and buffers must be multiples of
/// [`cloud_machine_image::ALIGNMENT`], but at the end of the disk.
#[derive(Debug)]
pub struct Disk {
    file: File,
    path: PathBuf,
    kind: Kind,
    size: u64,
    sector_size: u64,
    /// Whether `O_DIRECT` is in effect; a filesystem in memory has no device to ask.
    direct: bool,
}

impl Disk {
    /// Opens the block device or file at `path`.
    ///
    /// To be written, a block device must be in no other use that the kernel knows of (`O_EXCL`, open(2)), and a file in
    /// no loop device, swap area or lock of another process, such as QEMU's.
    ///
    /// # Errors
    /// [`DiskError`]; with `Access::Write`, [`DiskError::Held`] names who uses the disk.
    pub fn open(path: &Path, access: Access) -> Result<Self, DiskError> {
        let kind = kind(path)?;
        if access == Access::Write {
            let holders = holders(path)?;
            if !holders.is_empty() {
                return Err(DiskError::Held { path: path.to_owned(), holders });
            }
        }
        let (file, direct) = open(path, access, kind)?;
        let read = |verb| io_error(verb, path);
        let (size, sector_size) = match kind {
            Kind::Device => (
                ioctl::size(&file).map_err(read("read the size of"))?,
                ioctl::sector_size(&file).map_err(read("read the sector size of"))?,
            ),
            Kind::File => (file.metadata().map_err(read("read the size of"))?.len(), SECTOR_SIZE),
        };
        let disk = Self { file, path: path.to_owned(), kind, size, sector_size, direct };
        if access == Access::Write {
            disk.claim()?;
        }
        Ok(disk)
    }

    /// Refuses a device that cannot be written and a file that another process has locked.
    fn claim(&self) -> Result<(), DiskError> {
        let io = |verb| io_error(verb, &self.path);
        match self.kind {
            Kind::Device if ioctl::is_read_only(&self.file).map_err(io("read the state of"))? => {
                Err(DiskError::ReadOnly { path: self.path.clone() })
            }
            Kind::Device => Ok(()),
            Kind::File => {
                // A lock of the open file description over all bytes: QEMU holds such locks on single bytes of its
                // images (docs/system/qemu-block-drivers, "Disk image file locking").
                if lock::lock(&self.file).map_err(io("lock"))? {
                    Ok(())
                } else {
                    Err(DiskError::Held { path: self.path.clone(), holders: vec![crate::Holder::Lock] })
                }
            }
        }
    }

    /// Where the disk is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Checks that the disk still has the size that it had when it was opened.
    ///
    /// # Errors
    /// [`DiskError::Resized`], or [`DiskError::Io`] when its size cannot be read.
    pub fn check_size(&self) -> Result<(), DiskError> {
        let found = match self.kind {
            Kind::Device => ioctl::size(&self.file),
            Kind::File => self.file.metadata().map(|found| found.len()),
        };
        let found = found.map_err(io_error("read the size of", &self.path))?;
        if found != self.size {
            return Err(DiskError::Resized { path: self.path.clone(), expected: self.size, found });
        }
        Ok(())
    }

    /// Makes the kernel read the partition table of a block device again; a file has nobody who would.
    ///
    /// # Errors
    /// [`DiskError::Io`].
    pub fn reread_partition_table(&self) -> Result<(), DiskError> {
        match self.kind {
            Kind::Device => ioctl::reread_partition_table(&self.file)
                .map_err(io_error("read again the partition table of", &self.path)),
            Kind::File => Ok(()),
        }
    }
}

fn kind(path: &Path) -> Result<Kind, DiskError> {
    let found = match path.metadata() {
        Ok(found) => found.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(DiskError::Absent { path: path.to_owned() });
        }
        Err(error) => return Err(io_error("look at", path)(error)),
    };
    let other = |found| Err(DiskError::Kind { path: path.to_owned(), found });
    if found.is_block_device() {
        Ok(Kind::Device)
    } else if found.is_file() {
        Ok(Kind::File)
    } else if found.is_dir() {
        other("folder")
    } else if found.is_char_device() {
        other("character device")
    } else {
        other("pipe or socket")
    }
}

fn open(path: &Path, access: Access, kind: Kind) -> Result<(File, bool), DiskError> {
    let write = access == Access::Write;
    let exclusive = if write && kind == Kind::Device { O_EXCL } else { 0 };
    let with =
        |flags| OpenOptions::new().read(true).write(write).custom_flags(flags | exclusive | O_CLOEXEC).open(path);
    let opened = match with(O_DIRECT) {
        Ok(file) => return Ok((file, true)),
        // A filesystem that cannot do it says so when the file is opened (open(2)).
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) && kind == Kind::File => with(0),
        Err(error) => Err(error),
    };
    opened.map(|file| (file, false)).map_err(|error| match error.raw_os_error() {
        Some(libc::EBUSY) => DiskError::Held { path: path.to_owned(), holders: Vec::new() },
        Some(libc::EROFS | libc::EACCES) if write && File::open(path).is_ok() => {
            DiskError::ReadOnly { path: path.to_owned() }
        }
        _ => io_error(if write { "open for writing" } else { "open" }, path)(error),
    })
}

impl ReadBlocks for Disk {
    fn size(&self) -> u64 {
        self.size
    }

    fn sector_size(&self) -> u64 {
        self.sector_size
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}

impl WriteBlocks for Disk {
    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(buffer, offset)
    }

    /// A block device zeroes by its own command or by writing, as the kernel sees fit; a file gets a hole, which reads as
    /// zero and takes no space.
    fn zero(&self, offset: u64, length: u64) -> io::Result<()> {
        match self.kind {
            Kind::Device => ioctl::zero_out(&self.file, offset, length),
            Kind::File => {
                let range = |bytes: u64| i64::try_from(bytes).map_err(io::Error::other);
                let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
                Ok(fallocate(self.file.as_fd(), hole, range(offset)?, range(length)?)?)
            }
        }
    }

    fn discard(&self, offset: u64, length: u64) -> io::Result<()> {
        match self.kind {
            Kind::Device => ioctl::discard(&self.file, offset, length),
            // A hole is what a file has for it.
            Kind::File => self.zero(offset, length),
        }
    }

    fn flush(&self) -> io::Result<()> {
        // fsync on the device's own descriptor: sync(2) sends no cache flush to a raw block device.
        self.file.sync_all()?;
        if !self.direct {
            // What is clean now leaves the cache, so that a read-back asks whatever is below the filesystem.
            posix_fadvise(self.file.as_fd(), 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use cloud_machine_image::AlignedBuffer;

    use super::*;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    fn refused(path: &Path, access: Access) -> String {
        Disk::open(path, access).unwrap_err().to_string()
    }

    #[test]
    fn what_is_written_is_read_and_what_is_zeroed_is_zero() {
        let file = file(&[7; 32_768]);
        let disk = Disk::open(file.path(), Access::Write).unwrap();
        assert_eq!((disk.size(), disk.sector_size()), (32_768, 512));
        disk.write_at(&AlignedBuffer::from(&[9; 4096][..]), 8192).unwrap();
        disk.zero(4096, 4096).unwrap();
        disk.flush().unwrap();
        let mut found = AlignedBuffer::new(32_768);
        disk.read_at(&mut found, 0).unwrap();
        let expected = [[7; 4096], [0; 4096], [9; 4096]].concat();
        assert!(found[..12_288] == expected && found[12_288..].iter().all(|byte| *byte == 7));
        disk.check_size().unwrap();
    }

    #[test]
    fn a_disk_that_shrinks_is_an_error_and_never_short_bytes() {
        let file = file(&[7; 32_768]);
        let disk = Disk::open(file.path(), Access::Write).unwrap();
        file.as_file().set_len(8192).unwrap();
        let error = disk.read_at(&mut AlignedBuffer::new(8192), 4096).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        let error = disk.check_size().unwrap_err().to_string();
        assert!(error.ends_with("has 8192 bytes now, it had 32768 when it was opened"), "{error}");
    }

    #[test]
    fn only_disks_and_files_are_opened_and_each_refusal_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let absent = folder.path().join("absent");
        for access in [Access::Read, Access::Write] {
            assert!(matches!(Disk::open(&absent, access), Err(DiskError::Absent { .. })));
            assert!(refused(folder.path(), access).ends_with("is a folder, neither a block device nor a file"));
            assert!(refused(Path::new("/dev/null"), access).contains("is a character device"));
        }
    }

    #[test]
    fn one_writer_at_a_time_and_readers_always() {
        let file = file(&[0; 8192]);
        let first = Disk::open(file.path(), Access::Write).unwrap();
        let error = refused(file.path(), Access::Write);
        assert!(error.ends_with("is in use: another process has locked it, such as a virtual machine"), "{error}");
        Disk::open(file.path(), Access::Read).unwrap();
        drop(first);
        Disk::open(file.path(), Access::Write).unwrap();
    }
}
