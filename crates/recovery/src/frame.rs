//! A record with its own length and digest, so that one that was cut off while it was written is no record. Must not know what is in it.

use cloud_machine_image::{ALIGNMENT, ReadBlocks, WriteBlocks};

use crate::{
    RecoveryError,
    blocks::{read, write},
};

/// What a record begins with.
const MAGIC: &[u8; 16] = b"cloud-machine/1\n";
/// Bytes before the record: magic, sequence, length, digest.
const HEADER: usize = 64;

/// A record and its number.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) sequence: u64,
    pub(crate) bytes: Vec<u8>,
}

impl Frame {
    /// Reads the record at `offset`, in at most `limit` bytes; `None` where there is none that is whole.
    pub(crate) fn read(disk: &dyn ReadBlocks, offset: u64, limit: u64) -> Result<Option<Self>, RecoveryError> {
        let start = read(disk, offset, ALIGNMENT)?;
        let Some((header, _)) = start.split_first_chunk::<HEADER>() else { return Ok(None) };
        let number = |at: usize| crate::number(header, at, 8);
        let (sequence, length) = (number(16), number(24));
        let whole = (HEADER as u64).checked_add(length).filter(|whole| header.starts_with(MAGIC) && *whole <= limit);
        let Some(whole) = whole else { return Ok(None) };
        let bytes = read(disk, offset, whole.next_multiple_of(ALIGNMENT))?;
        let record = bytes.get(HEADER..usize::try_from(whole).unwrap_or(usize::MAX)).unwrap_or_default();
        let right = header.get(32..) == Some(digest(sequence, record).as_slice());
        Ok(right.then(|| Self { sequence, bytes: record.to_vec() }))
    }

    /// Writes the record at `offset`, with zeros behind it up to `limit` bytes.
    pub(crate) fn write(&self, disk: &dyn WriteBlocks, offset: u64, limit: u64) -> Result<(), RecoveryError> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.sequence.to_le_bytes());
        bytes.extend((self.bytes.len() as u64).to_le_bytes());
        bytes.extend(digest(self.sequence, &self.bytes));
        bytes.extend(&self.bytes);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        if bytes.len() > limit {
            return Err(RecoveryError::TooLong { length: self.bytes.len(), limit });
        }
        // A longer one that was there before may have held what is to be forgotten.
        bytes.resize(limit, 0);
        write(disk, offset, &bytes)
    }
}

fn digest(sequence: u64, bytes: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&sequence.to_le_bytes());
    hasher.update(bytes);
    *hasher.finalize().as_bytes()
}
