//! A disk as a stream that goes one way: what is not zero of it, and at the end a digest of all that was sent, without which
//! nothing of it counts. Must not open a disk, nor a file.

use std::io::{self, Write};

use blake3::Hasher;
use serde::{Deserialize, Serialize};

use crate::{FRAME_SIZE, LEAF_SIZE, ReadBlocks};

/// Version of the stream.
const VERSION: u32 = 1;
/// Most bytes of its first line.
const MAX_HEADER: usize = 8 << 10;
/// Bytes in front of an extent: its offset and its length, the lowest byte first.
const HEAD: usize = 12;
/// In the place of the last extent's offset: the digest follows.
const END: u64 = u64::MAX;
/// After so many bytes that are zero a piece of them is sent, so that whoever waits sees that the sender is still there.
const SIGN: u64 = 64 << 20;
/// Bytes of the digest.
const DIGEST: usize = 32;

/// What a disk is, in the words of who sends it: the first line, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SentDisk {
    /// Version of the stream.
    pub version: u32,
    /// Bytes.
    pub size: u64,
    /// Kernel name.
    pub name: String,
    /// Serial number, where it says one.
    pub serial: Option<String>,
    /// What uses it while it is read.
    pub holders: Vec<String>,
}

impl SentDisk {
    /// A disk of this version of the stream.
    #[must_use]
    pub fn new(size: u64, name: String, serial: Option<String>, holders: Vec<String>) -> Self {
        Self { version: VERSION, size, name, serial, holders }
    }
}

/// Sends `disk`, which is described by `about`. Pieces of 64 KiB that are zero are not sent, but one of them every 64 MiB.
///
/// # Errors
/// When it cannot be read, or nobody takes what is sent.
pub fn send_disk(disk: &dyn ReadBlocks, about: &SentDisk, sink: &mut dyn Write) -> io::Result<()> {
    let mut sender = Sender { sink, hasher: Hasher::new() };
    let mut header = serde_json::to_vec(about)?;
    header.push(b'\n');
    sender.send(&header)?;
    let mut buffer = vec![0; FRAME_SIZE as usize];
    let (mut offset, mut last) = (disk.next_data(0), 0);
    while offset < about.size {
        let length = FRAME_SIZE.min(about.size - offset);
        let frame = buffer.get_mut(..length as usize).unwrap_or_default();
        disk.read_at(frame, offset)?;
        let mut at = offset;
        for piece in frame.chunks(LEAF_SIZE as usize) {
            if !is_zero(piece) || at - last >= SIGN {
                sender.extent(at, piece)?;
                last = at;
            }
            at += piece.len() as u64;
        }
        offset = disk.next_data(offset + length);
    }
    let digest = *sender.hasher.finalize().as_bytes();
    sender.extent(END, &digest)?;
    sender.sink.flush()
}

fn is_zero(piece: &[u8]) -> bool {
    piece.iter().all(|byte| *byte == 0)
}

struct Sender<'a> {
    sink: &'a mut dyn Write,
    hasher: Hasher,
}

impl Sender<'_> {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.sink.write_all(bytes)
    }

    fn extent(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.send(&offset.to_le_bytes())?;
        self.send(&u32::try_from(bytes.len()).unwrap_or_default().to_le_bytes())?;
        self.send(bytes)
    }
}

/// Why a disk did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum DiskStreamError {
    /// What came is no such stream.
    #[error("what was sent is no disk: {0}")]
    Invalid(String),
    /// It ended before its end.
    #[error("the disk was cut off after {received} bytes of {size}")]
    Cut {
        /// Where on the disk it ended.
        received: u64,
        /// Bytes of the disk; 0 when not even that was said.
        size: u64,
    },
    /// The digest at its end is that of something else.
    #[error("the disk arrived damaged: the digest at its end is that of something else")]
    Damaged,
    /// It is larger than allowed.
    #[error("the disk has {size} bytes, and at most {limit} are taken")]
    TooLarge {
        /// Bytes of the disk.
        size: u64,
        /// Most bytes.
        limit: u64,
    },
    /// It could not be kept.
    #[error("cannot keep what was sent")]
    Keep(#[source] io::Error),
}

/// Where the extents of a disk that is received go: offset and bytes.
pub type Keep<'a> = &'a mut dyn FnMut(u64, &[u8]) -> io::Result<()>;

/// Takes a stream apart, in pieces of any length.
pub struct DiskReceiver<'a> {
    keep: Keep<'a>,
    limit: u64,
    about: Option<SentDisk>,
    held: Vec<u8>,
    hasher: Hasher,
    /// All before it has arrived.
    position: u64,
    is_whole: bool,
}

impl<'a> DiskReceiver<'a> {
    /// Of a disk of at most `limit` bytes.
    pub fn new(limit: u64, keep: Keep<'a>) -> Self {
        let (about, held, hasher) = (None, Vec::new(), Hasher::new());
        Self { keep, limit, about, held, hasher, position: 0, is_whole: false }
    }

    /// What the disk is, once that has arrived.
    #[must_use]
    pub const fn about(&self) -> Option<&SentDisk> {
        self.about.as_ref()
    }

    /// Bytes of the disk of which it is known what they are.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`DiskStreamError`]: nothing that was kept counts then.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(), DiskStreamError> {
        self.held.extend_from_slice(bytes);
        let mut used = 0;
        while let Some(length) = self.next(used)? {
            used += length;
        }
        self.held.drain(..used);
        Ok(())
    }

    /// Takes one part of what is held behind `used`, and says how long it was; `None` when it has not arrived.
    fn next(&mut self, used: usize) -> Result<Option<usize>, DiskStreamError> {
        let rest = self.held.get(used..).unwrap_or_default();
        let Some(about) = &self.about else { return self.header(used) };
        if self.is_whole {
            return if rest.is_empty() { Ok(None) } else { Err(invalid("something follows its end")) };
        }
        let Some((offset, length)) = head(rest) else { return Ok(None) };
        let is_end = offset == END;
        if if is_end { length != DIGEST } else { length == 0 || length > FRAME_SIZE as usize } {
            return Err(invalid("an extent has a length that none has"));
        }
        let Some(data) = rest.get(HEAD..HEAD + length) else { return Ok(None) };
        if is_end {
            if self.hasher.finalize().as_bytes() != data {
                return Err(DiskStreamError::Damaged);
            }
            (self.position, self.is_whole) = (about.size, true);
            return Ok(Some(HEAD + length));
        }
        let end = offset.checked_add(length as u64).filter(|end| offset >= self.position && *end <= about.size);
        let end = end.ok_or_else(|| invalid("an extent lies behind the disk's end, or before another one"))?;
        // What nobody keeps is zero.
        if !is_zero(data) {
            (self.keep)(offset, data).map_err(DiskStreamError::Keep)?;
        }
        self.hasher.update(rest.get(..HEAD + length).unwrap_or_default());
        self.position = end;
        Ok(Some(HEAD + length))
    }

    fn header(&mut self, used: usize) -> Result<Option<usize>, DiskStreamError> {
        let rest = self.held.get(used..).unwrap_or_default();
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
            return if rest.len() > MAX_HEADER { Err(invalid("its first line has no end")) } else { Ok(None) };
        };
        let line = rest.get(..=end).unwrap_or_default();
        let about: SentDisk = serde_json::from_slice(line).map_err(|error| invalid(&error.to_string()))?;
        if about.version != VERSION {
            return Err(invalid(&format!("it has version {}, and this program reads {VERSION}", about.version)));
        }
        if about.size > self.limit {
            return Err(DiskStreamError::TooLarge { size: about.size, limit: self.limit });
        }
        self.hasher.update(line);
        self.about = Some(about);
        Ok(Some(end + 1))
    }

    /// Ends the stream: all of it was received, and is what was sent.
    ///
    /// # Errors
    /// [`DiskStreamError::Cut`].
    pub fn end(self) -> Result<SentDisk, DiskStreamError> {
        match self.about {
            Some(about) if self.is_whole => Ok(about),
            about => {
                let size = about.map(|about| about.size).unwrap_or_default();
                Err(DiskStreamError::Cut { received: self.position, size })
            }
        }
    }
}

fn head(bytes: &[u8]) -> Option<(u64, usize)> {
    let offset = u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?);
    let length = u32::from_le_bytes(bytes.get(8..HEAD)?.try_into().ok()?);
    Some((offset, usize::try_from(length).ok()?))
}

fn invalid(why: &str) -> DiskStreamError {
    DiskStreamError::Invalid(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Disk(Vec<u8>);

    impl ReadBlocks for Disk {
        fn size(&self) -> u64 {
            self.0.len() as u64
        }

        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
            let start = offset as usize;
            buffer.copy_from_slice(&self.0[start..start + buffer.len()]);
            Ok(())
        }
    }

    /// Data at both ends and in the middle, which is no whole number of frames.
    fn disk() -> Disk {
        let mut bytes = vec![0; (3 << 20) + 512];
        for at in [0, 70_000, 1 << 20, (3 << 20) + 511] {
            bytes[at] = 7;
        }
        Disk(bytes)
    }

    fn sent() -> Vec<u8> {
        let disk = disk();
        let about = SentDisk::new(disk.size(), "vda".to_owned(), Some("S1".to_owned()), Vec::new());
        let mut stream = Vec::new();
        send_disk(&disk, &about, &mut stream).unwrap();
        stream
    }

    /// What arrives of a stream in pieces, and how it ends.
    fn received(stream: &[u8], piece: usize, limit: u64) -> (Vec<u8>, Result<SentDisk, DiskStreamError>) {
        let mut kept = vec![0; (3 << 20) + 512];
        let mut keep = |offset: u64, bytes: &[u8]| {
            kept[offset as usize..offset as usize + bytes.len()].copy_from_slice(bytes);
            Ok(())
        };
        let mut receiver = DiskReceiver::new(limit, &mut keep);
        let taken = stream.chunks(piece).try_for_each(|piece| receiver.take(piece));
        let ended = taken.and_then(|()| receiver.end());
        (kept, ended)
    }

    #[test]
    fn a_disk_arrives_as_it_was_however_it_is_cut_into_pieces() {
        let stream = sent();
        assert!(stream.len() < 5 * LEAF_SIZE as usize, "zeros were sent: {}", stream.len());
        for piece in [1000, 65_537, stream.len()] {
            let (kept, ended) = received(&stream, piece, 4 << 20);
            assert_eq!((ended.unwrap().serial.as_deref(), kept == disk().0), (Some("S1"), true), "{piece}");
        }
    }

    #[test]
    fn a_disk_of_zeros_shows_that_its_sender_is_there_and_is_not_kept() {
        struct Zeros;
        impl ReadBlocks for Zeros {
            fn size(&self) -> u64 {
                4 * SIGN
            }

            fn read_at(&self, buffer: &mut [u8], _: u64) -> io::Result<()> {
                buffer.fill(0);
                Ok(())
            }
        }
        let about = SentDisk::new(Zeros.size(), "vda".to_owned(), None, Vec::new());
        let mut stream = Vec::new();
        send_disk(&Zeros, &about, &mut stream).unwrap();
        let pieces = stream.len() / LEAF_SIZE as usize;
        assert_eq!(pieces, 3);
        let mut keep = |_: u64, _: &[u8]| Err(io::ErrorKind::StorageFull.into());
        let mut receiver = DiskReceiver::new(Zeros.size(), &mut keep);
        receiver.take(&stream).unwrap();
        assert_eq!(receiver.end().unwrap(), about);
    }

    #[test]
    fn a_stream_that_is_cut_off_or_damaged_is_no_disk() {
        let stream = sent();
        for length in [0, 10, 200, stream.len() / 2, stream.len() - 1] {
            let (_, ended) = received(&stream[..length], 65_536, 4 << 20);
            assert!(matches!(ended, Err(DiskStreamError::Cut { .. })), "{length}: {ended:?}");
        }
        // In a name, in a piece of data, in the digest.
        for at in [40, stream.len() / 2, stream.len() - 1] {
            let mut changed = stream.clone();
            changed[at] ^= 1;
            let (_, ended) = received(&changed, 65_536, 4 << 20);
            assert!(ended.is_err(), "{at}");
        }
        let (_, ended) = received(&[stream.as_slice(), b"x"].concat(), 65_536, 4 << 20);
        assert!(matches!(&ended, Err(DiskStreamError::Invalid(why)) if why.contains("follows")), "{ended:?}");
        let (_, ended) = received(&stream, 65_536, 1 << 20);
        assert!(matches!(ended, Err(DiskStreamError::TooLarge { limit: 1_048_576, .. })), "{ended:?}");
    }

    #[test]
    fn a_hostile_stream_is_refused_and_holds_no_memory() {
        let header = |size: u64| {
            let mut line = serde_json::to_vec(&SentDisk::new(size, "vda".to_owned(), None, Vec::new())).unwrap();
            line.push(b'\n');
            line
        };
        let extent = |offset: u64, length: u32| [&offset.to_le_bytes()[..], &length.to_le_bytes()].concat();
        for (stream, why) in [
            (vec![b'x'; MAX_HEADER + 1], "no end"),
            (b"{}\n".to_vec(), "missing field"),
            ([header(4096), extent(0, u32::MAX)].concat(), "length that none has"),
            ([header(4096), extent(0, 0)].concat(), "length that none has"),
            ([header(4096), extent(END, 31)].concat(), "length that none has"),
            ([header(4096), extent(4095, 2), vec![1; 2]].concat(), "behind the disk's end"),
            ([header(4096), extent(END - 1, 2), vec![1; 2]].concat(), "behind the disk's end"),
            ([header(4096), extent(8, 2), vec![1; 2], extent(9, 1), vec![1]].concat(), "before another one"),
        ] {
            let (_, ended) = received(&stream, 65_536, 1 << 20);
            assert!(matches!(&ended, Err(DiskStreamError::Invalid(found)) if found.contains(why)), "{why}: {ended:?}");
        }
    }
}
