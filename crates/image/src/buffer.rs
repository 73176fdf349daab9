//! A byte buffer whose first byte lies on an address that unbuffered disk access accepts. Must not grow or move.

use std::ops::{Deref, DerefMut};

use crate::ALIGNMENT;

/// Zero-filled bytes of a fixed length, the first at a multiple of [`ALIGNMENT`].
#[derive(Debug)]
pub struct AlignedBuffer {
    // Longer than asked for, so that an aligned start exists inside; never resized, so the start stays aligned.
    bytes: Vec<u8>,
    start: usize,
    length: usize,
}

impl AlignedBuffer {
    /// A buffer of `length` bytes.
    #[must_use]
    pub fn new(length: usize) -> Self {
        let alignment = ALIGNMENT as usize;
        let bytes = vec![0; length + alignment];
        let start = bytes.as_ptr().addr().next_multiple_of(alignment) - bytes.as_ptr().addr();
        Self { bytes, start, length }
    }
}

impl From<&[u8]> for AlignedBuffer {
    fn from(bytes: &[u8]) -> Self {
        let mut buffer = Self::new(bytes.len());
        buffer.copy_from_slice(bytes);
        buffer
    }
}

impl Deref for AlignedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.length]
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_aligned_zero_and_stays_in_place_when_moved() {
        for length in [0, 1, 511, 4096, 65_536, 1 << 20] {
            let mut buffer = AlignedBuffer::new(length);
            assert_eq!(buffer.len(), length);
            assert!(buffer.iter().all(|byte| *byte == 0));
            buffer.fill(7);
            let moved = Box::new(buffer);
            assert_eq!(moved.as_ptr().addr() % 4096, 0);
            assert!(moved.iter().all(|byte| *byte == 7));
        }
    }
}
