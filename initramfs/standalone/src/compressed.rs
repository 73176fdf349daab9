//! Kernel modules as the agent can load them, from the files of the kernel's folder, which many distributions compress.
//! Owns how far a file may grow; must not judge what a module does.

use std::io::{self, Read};

use crate::{InitramfsError, Module};

/// Endings of compressed modules that kmod(8) knows.
const ENDINGS: [&str; 3] = [".xz", ".zst", ".gz"];
/// Memory of the xz decoder; kernels are built with dictionaries of at most 64 MiB.
const XZ_MEMORY: u64 = 128 << 20;

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    Xz,
    Zstd,
    Gzip,
}

impl Compression {
    /// By the first bytes, as kmod(8) tells it; a plain module begins with those of ELF.
    fn of(bytes: &[u8]) -> Option<Self> {
        let magic: [(Self, &[u8]); 3] = [
            (Self::Xz, &[0xfd, b'7', b'z', b'X', b'Z', 0]),
            (Self::Zstd, &[0x28, 0xb5, 0x2f, 0xfd]),
            (Self::Gzip, &[0x1f, 0x8b]),
        ];
        magic.iter().find(|(_, magic)| bytes.starts_with(magic)).map(|(compression, _)| *compression)
    }

    fn decoder<'a>(self, bytes: &'a [u8]) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Self::Xz => {
                use liblzma::stream::{CONCATENATED, Stream};
                let stream = Stream::new_stream_decoder(XZ_MEMORY, CONCATENATED)?;
                Box::new(liblzma::bufread::XzDecoder::new_stream(bytes, stream))
            }
            Self::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(bytes)?),
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(bytes)),
        })
    }
}

/// The name of a module's file without the ending of its compression; `None` when it is no name of a module that can be
/// read.
pub(crate) fn plain_name(file: &str) -> Option<&str> {
    let plain = ENDINGS.iter().find_map(|ending| file.strip_suffix(ending)).unwrap_or(file);
    plain.ends_with(".ko").then_some(plain)
}

impl Module {
    /// A module from a file of the kernel's folder, such as `virtio_blk.ko.xz`, decompressed where it is compressed. It
    /// has `room` bytes at most.
    ///
    /// # Errors
    /// When the name is none of a module, the content is not compressed as the name says, is damaged, or is larger than
    /// `room`.
    pub fn from_file(file: &str, bytes: Vec<u8>, room: u64) -> Result<Self, InitramfsError> {
        let module = || file.chars().take(160).collect::<String>();
        let name = plain_name(file).ok_or_else(|| InitramfsError::ModuleCompressed { module: module() })?;
        let bytes = match Compression::of(&bytes) {
            Some(compression) => {
                let mut plain = Vec::new();
                let read =
                    compression.decoder(&bytes).and_then(|decoder| decoder.take(room + 1).read_to_end(&mut plain));
                read.map_err(|source| InitramfsError::ModuleDamaged { module: module(), source })?;
                plain
            }
            None if name != file => {
                let source = io::Error::new(io::ErrorKind::InvalidData, "it begins as neither xz, zstd nor gzip");
                return Err(InitramfsError::ModuleDamaged { module: module(), source });
            }
            None => bytes,
        };
        if bytes.len() as u64 > room {
            return Err(InitramfsError::ModulesTooLarge { module: module() });
        }
        Ok(Self { name: name.to_owned(), bytes })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const PLAIN: &[u8] = b"\x7fELF and the rest of a module, the rest of a module, the rest of a module";

    fn xz(bytes: &[u8]) -> Vec<u8> {
        let mut output = Vec::new();
        liblzma::read::XzEncoder::new(bytes, 6).read_to_end(&mut output).unwrap();
        output
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zst(bytes: &[u8]) -> Vec<u8> {
        zstd::encode_all(bytes, 19).unwrap()
    }

    fn told(file: &str, bytes: Vec<u8>, room: u64) -> String {
        let error = Module::from_file(file, bytes, room).unwrap_err();
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        format!("{error}{cause}")
    }

    #[test]
    fn every_compression_of_the_kernel_gives_the_plain_module() {
        for (file, bytes) in [
            ("virtio_blk.ko", PLAIN.to_vec()),
            ("virtio_blk.ko.xz", xz(PLAIN)),
            ("virtio_blk.ko.zst", zst(PLAIN)),
            ("virtio_blk.ko.gz", gzip(PLAIN)),
            // kmod looks at the content, and so a file that was compressed in place loads there, too.
            ("virtio_blk.ko", xz(PLAIN)),
            ("virtio_blk.ko.gz", zst(PLAIN)),
        ] {
            let expected = Module { name: "virtio_blk.ko".to_owned(), bytes: PLAIN.to_vec() };
            assert_eq!(Module::from_file(file, bytes, PLAIN.len() as u64).unwrap(), expected, "{file}");
        }
    }

    #[test]
    fn a_damaged_module_is_named_with_what_is_wrong() {
        for (file, bytes) in [("a.ko.xz", xz(PLAIN)), ("a.ko.zst", zst(PLAIN)), ("a.ko.gz", gzip(PLAIN))] {
            for length in [8, bytes.len() / 2, bytes.len() - 1] {
                let text = told(file, bytes[..length].to_vec(), 1 << 20);
                assert!(text.starts_with(&format!("cannot decompress module {file:?}: ")), "{length}: {text}");
            }
            let text = told(file, PLAIN.to_vec(), 1 << 20);
            assert_eq!(text, format!("cannot decompress module {file:?}: it begins as neither xz, zstd nor gzip"));
        }
    }

    #[test]
    fn a_module_that_grows_beyond_the_room_is_refused_before_it_is_in_memory() {
        let bomb = zst(&vec![0; 64 << 20]);
        assert!(bomb.len() < 16 << 10);
        for (file, bytes) in [("a.ko.zst", bomb), ("a.ko.xz", xz(&[0; 1001])), ("a.ko", vec![0; 1001])] {
            let text = told(file, bytes, 1000);
            assert_eq!(
                text,
                format!("with {file:?} the modules have more than 256 MiB, the most that goes into an initramfs")
            );
        }
        assert_eq!(Module::from_file("a.ko.xz", xz(&[7; 1000]), 1000).unwrap().bytes.len(), 1000);
    }

    #[test]
    fn other_endings_are_no_modules() {
        for file in ["a.ko.lz4", "a.ko.bz2", "a.ko.xz.zst", "a.xz", "a"] {
            assert!(plain_name(file).is_none(), "{file}");
            assert!(told(file, PLAIN.to_vec(), 1 << 20).contains("decompress it and run depmod again"), "{file}");
        }
    }
}
