//! A disk image as people have it (raw, qcow2 or compressed; a file or a pipe) as blocks of a raw image. Owns the
//! temporary files, which have no name and so end with the program; must not judge what is in the image.

mod error;
mod foreign;
mod gzip;
mod own;
mod qcow2;
mod sparse;
mod spool;
mod temporary;
mod window;

use std::{
    fs::File,
    io::{self, Cursor, IsTerminal, Read},
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
};

pub use error::InputError;
pub use sparse::RawImage;
pub use spool::Limits;

/// A form of disk images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The bytes of the disk.
    Raw,
    /// QEMU's image format, version 2 or 3.
    Qcow2,
    /// A raw image as zstd frames (RFC 8878).
    Zstd,
    /// A raw image as gzip members (RFC 1952).
    Gzip,
    /// A raw image as .xz streams.
    Xz,
}

/// Formats with the bytes that they begin with.
const MAGIC: [(Format, &[u8]); 5] = [
    (Format::Qcow2, b"QFI\xfb"),
    (Format::Zstd, &[0x28, 0xb5, 0x2f, 0xfd]),
    // A frame that decoders skip may stand before all others; the lowest byte is one of sixteen.
    (Format::Zstd, &[0x2a, 0x4d, 0x18]),
    (Format::Gzip, &[0x1f, 0x8b]),
    (Format::Xz, &[0xfd, b'7', b'z', b'X', b'Z', 0]),
];
/// Bytes that tell the format.
const HEAD: usize = 6;

impl Format {
    /// The format of a file that begins with `head`; raw when it begins like no other.
    #[must_use]
    pub fn of(head: &[u8]) -> Self {
        let begins = |magic: &[u8]| match (magic, head) {
            ([0x2a, ..], [first, rest @ ..]) => first >> 4 == 5 && rest.starts_with(magic),
            _ => head.starts_with(magic),
        };
        MAGIC.iter().find(|(_, magic)| begins(magic)).map_or(Self::Raw, |(format, _)| *format)
    }

    /// Its name, as on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
            Self::Xz => "xz",
        }
    }
}

/// Where an image comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file, a block device or a named pipe.
    Path(PathBuf),
    /// Standard input, which must not be a terminal.
    Standard,
}

/// What is being done before an image can be read at any offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// A pipe is copied to a temporary file, by bytes of the pipe.
    Spool,
    /// A compressed image is decompressed to a temporary file, by bytes of the input.
    Decompress,
    /// A qcow2 image is converted to a temporary file, by bytes of the disk.
    Convert,
    /// A raw image is copied to a temporary file, by bytes of its data.
    Copy,
    /// A temporary file becomes a qcow2 image, by bytes of the disk.
    ConvertBack,
}

/// Called with the phase, the bytes that are done, and the bytes in total; 0 where nobody knows them.
pub type Progress<'a> = &'a dyn Fn(Phase, u64, u64);

/// How images are read.
pub struct Input<'a> {
    /// Folder on the filesystem of the temporary files.
    pub folder: &'a Path,
    /// The format; `None` to tell it by the first bytes.
    pub format: Option<Format>,
    /// Most bytes that the raw image may have.
    pub max_size: u64,
    /// Name or path of `qemu-img`.
    pub qemu_img: &'a Path,
    /// Told of everything that takes time.
    pub progress: Progress<'a>,
}

impl Input<'_> {
    /// Opens an image. What it takes to read it at any offset has been done when this returns.
    ///
    /// # Errors
    /// An [`InputError`]; temporary files are gone then.
    pub fn open(&self, source: &Source) -> Result<RawImage, InputError> {
        match source {
            Source::Path(path) => self.open_path(path),
            Source::Standard if io::stdin().is_terminal() => Err(InputError::Terminal),
            Source::Standard => self.stream(&mut io::stdin().lock(), "standard input", None),
        }
    }

    fn open_path(&self, path: &Path) -> Result<RawImage, InputError> {
        let name = path.display().to_string();
        let open = |source| InputError::Open { name: name.clone(), source };
        let mut file = File::open(path).map_err(open)?;
        let metadata = file.metadata().map_err(open)?;
        if metadata.is_dir() {
            return Err(InputError::Folder { name });
        }
        if !metadata.is_file() && !metadata.file_type().is_block_device() {
            return self.stream(&mut file, &name, None);
        }
        let size = io::Seek::seek(&mut file, io::SeekFrom::End(0)).map_err(open)?;
        io::Seek::rewind(&mut file).map_err(open)?;
        let head = head(&mut file, &name)?;
        match self.format_of(&head, &name)? {
            Format::Raw if size > self.max_size => Err(InputError::TooLarge { name, max: self.max_size }),
            Format::Raw => self.raw(file, name, Format::Raw),
            Format::Qcow2 => qcow2::convert(self, &file, &name),
            _ => {
                io::Seek::rewind(&mut file).map_err(open)?;
                self.stream(&mut file, &name, Some(size))
            }
        }
    }

    /// Reads to the end of `input`, of which `total` bytes are known to be there.
    fn stream(&self, input: &mut dyn Read, name: &str, total: Option<u64>) -> Result<RawImage, InputError> {
        let mut input = input;
        let head = head(&mut input, name)?;
        let format = self.format_of(&head, name)?;
        let whole = Cursor::new(head).chain(input);
        let limits = Limits { max_size: self.max_size, total: total.unwrap_or_default() };
        let spooled = spool::spool(self.folder, format, whole, name, limits, self.progress)?;
        match format {
            Format::Qcow2 => qcow2::convert(self, &spooled, name),
            _ => self.raw(spooled, name.to_owned(), format),
        }
    }

    /// The bytes of a disk, which came out of `outer`, unless they are seen to be something else. Who says that they are the
    /// disk is believed.
    fn raw(&self, file: File, name: String, outer: Format) -> Result<RawImage, InputError> {
        let image = RawImage::of(file, name)?;
        if self.format != Some(Format::Raw) {
            foreign::refuse(&image, outer)?;
        }
        Ok(image)
    }

    fn format_of(&self, head: &[u8], name: &str) -> Result<Format, InputError> {
        if head.is_empty() {
            return Err(InputError::Empty { name: name.to_owned() });
        }
        Ok(self.format.unwrap_or_else(|| Format::of(head)))
    }
}

/// The first bytes of an image.
fn head(input: &mut dyn Read, name: &str) -> Result<Vec<u8>, InputError> {
    let mut head = Vec::new();
    let read = input.take(HEAD as u64).read_to_end(&mut head);
    read.map_err(|source| InputError::Read { name: name.to_owned(), source })?;
    Ok(head)
}

#[cfg(test)]
mod tests;
