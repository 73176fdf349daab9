//! Packed images that somebody changed and sealed again: every checksum in them is right, what they say is not. Owns the
//! layout of the file as `docs/reference/image.md` has it; must not use the writer of the product.

use crate::fixture::Packed;

const CHECKSUM: usize = 32;

/// The parts of a packed image that a forger can choose.
#[derive(Clone)]
pub(crate) struct Forged {
    pub(crate) header: String,
    /// Kind and value of each.
    pub(crate) entries: Vec<[u8; 33]>,
    pub(crate) frames: Vec<Vec<u8>>,
}

impl Forged {
    pub(crate) fn new(packed: &Packed) -> Self {
        let bytes = packed.manifest.to_bytes();
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
        let (header, entries, frames) = (number(8), number(16), number(24));
        let at = 32 + header;
        let mut rest = &packed.file[..];
        let mut next = || {
            let (frame, after) = rest.split_at(zstd::zstd_safe::find_frame_compressed_size(rest).unwrap());
            rest = after;
            frame.to_vec()
        };
        Self {
            header: String::from_utf8(bytes[32..at].to_vec()).unwrap(),
            entries: bytes[at..at + entries * 33].chunks(33).map(|entry| entry.try_into().unwrap()).collect(),
            frames: (0..frames).map(|_| next()).collect(),
        }
    }

    /// The bytes of the manifest without its checksum.
    fn unsealed(&self) -> Vec<u8> {
        let mut bytes = b"\x89CMIMG\r\n".to_vec();
        for count in [self.header.len(), self.entries.len(), self.frames.len()] {
            bytes.extend((count as u64).to_le_bytes());
        }
        bytes.extend(self.header.as_bytes());
        bytes.extend(self.entries.concat());
        for frame in &self.frames {
            bytes.extend((frame.len() as u32).to_le_bytes());
        }
        bytes
    }

    /// Bytes of the manifest that a checksum covers.
    pub(crate) fn covered(&self) -> usize {
        self.unsealed().len()
    }

    /// The packed file.
    pub(crate) fn file(&self) -> Vec<u8> {
        self.file_with(|_| ())
    }

    /// The packed file, with its manifest changed before it is sealed.
    pub(crate) fn file_with(&self, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut manifest = self.unsealed();
        change(&mut manifest);
        let checksum = blake3::hash(&manifest);
        manifest.extend(checksum.as_bytes());
        let mut file = self.frames.concat();
        let at = file.len() as u64 + 8;
        let padding = (at as usize + manifest.len() + 80).next_multiple_of(4096) - (at as usize + manifest.len() + 80);
        let skippable = |length: usize| [0x184D_2A5E_u32.to_le_bytes(), (length as u32).to_le_bytes()].concat();
        file.extend(skippable(manifest.len() + padding));
        file.extend(&manifest);
        file.resize(file.len() + padding, 0);
        file.extend(skippable(72));
        file.extend(b"cloud-machine image end\n");
        file.extend(at.to_le_bytes());
        file.extend((manifest.len() as u64).to_le_bytes());
        file.extend(blake3::hash(&manifest).as_bytes());
        file
    }

    /// Bytes of the manifest with its checksum, for whoever takes it alone.
    pub(crate) fn manifest(&self) -> Vec<u8> {
        let mut bytes = self.unsealed();
        let checksum = blake3::hash(&bytes);
        bytes.extend(checksum.as_bytes());
        assert_eq!(checksum.as_bytes().len(), CHECKSUM);
        bytes
    }
}

/// A zstd frame (RFC 8878, 3.1.1) of blocks that are not compressed, which states `stated` bytes of content and has those
/// of `content`.
pub(crate) fn frame(stated: Option<usize>, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x28, 0xb5, 0x2f, 0xfd];
    match stated {
        // A single segment with four bytes of content size.
        Some(stated) => {
            bytes.push(0xa0);
            bytes.extend((stated as u32).to_le_bytes());
        }
        // A window of 1 MiB.
        None => bytes.extend([0, 10 << 3]),
    }
    let blocks: Vec<&[u8]> = content.chunks(128 << 10).collect();
    for (index, block) in blocks.iter().enumerate() {
        let last = u32::from(index + 1 == blocks.len());
        bytes.extend(&((block.len() as u32) << 3 | last).to_le_bytes()[..3]);
        bytes.extend(*block);
    }
    bytes
}
