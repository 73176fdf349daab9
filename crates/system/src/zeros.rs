//! Whether there is nothing on a device but zeros, as far as can be told in the time of one look. Must not call empty what
//! was not read, and must not read more of a large device than a fixed part.

use std::{fs::File, io, os::unix::fs::FileExt};

/// Up to this size every byte is read.
const WHOLE: u64 = 64 << 20;
/// Of a larger device so much is read at each end: there lie partition tables, superblocks and what RAID and pools write.
const END: u64 = 1 << 20;
/// And so many pieces, evenly over what lies between.
const SAMPLES: u64 = 256;
/// Bytes of a piece.
const SAMPLE: u64 = 64 << 10;
/// Bytes that are read at once.
const CHUNK: usize = 64 << 10;
/// They are held against this: two slices are compared as fast as memory can be read, also by a program that was built for a
/// test. No larger than that takes, since it is a part of the agent.
static ZEROS: [u8; 4 << 10] = [0; 4 << 10];

/// Whether the `length` bytes of `device` from `offset` on are zeros, wherever they are looked at.
pub(crate) fn are_zero(device: &File, offset: u64, length: u64) -> io::Result<bool> {
    for (at, count) in places(length) {
        if !is_zero(device, offset + at, count)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Where it is looked in `length` bytes: first byte and bytes of each place.
fn places(length: u64) -> Vec<(u64, u64)> {
    if length <= WHOLE {
        return vec![(0, length)];
    }
    let between = length - 2 * END - SAMPLE;
    // Divided first, so that no size overflows.
    let (step, rest) = (between / (SAMPLES - 1), between % (SAMPLES - 1));
    let at = |index: u64| step * index + rest * index / (SAMPLES - 1);
    let samples = (0..SAMPLES).map(|index| (END + at(index), SAMPLE));
    [(0, END)].into_iter().chain(samples).chain([(length - END, END)]).collect()
}

fn is_zero(device: &File, offset: u64, length: u64) -> io::Result<bool> {
    let mut chunk = vec![0; CHUNK];
    let mut done = 0;
    while done < length {
        let count = usize::try_from(length - done).unwrap_or(usize::MAX).min(chunk.len());
        let Some(part) = chunk.get_mut(..count) else { break };
        device.read_exact_at(part, offset + done)?;
        if !part.chunks(ZEROS.len()).all(|bytes| ZEROS.get(..bytes.len()) == Some(bytes)) {
            return Ok(false);
        }
        done += count as u64;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(size: u64) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(size).unwrap();
        file
    }

    #[test]
    fn a_byte_anywhere_on_a_small_device_is_found() {
        for at in [0, 1 << 20, (8 << 20) - 1] {
            let small = device(8 << 20);
            assert!(are_zero(&small, 0, 8 << 20).unwrap());
            small.write_all_at(&[1], at).unwrap();
            assert!(!are_zero(&small, 0, 8 << 20).unwrap(), "{at}");
            // Of a range, only what lies in it.
            assert_eq!(are_zero(&small, 4096, 4096).unwrap(), !(4096..8192).contains(&at), "{at}");
        }
    }

    #[test]
    fn ends_of_a_large_device_and_anything_of_some_size_are_found() {
        let size = 1 << 40;
        let large = device(size);
        assert!(are_zero(&large, 0, size).unwrap());
        for at in [0, END - 1, size - END, size - 1] {
            let large = device(size);
            large.write_all_at(&[1], at).unwrap();
            assert!(!are_zero(&large, 0, size).unwrap(), "{at}");
        }
        // No gap between two places is larger than the samples lie apart.
        let mut end = 0;
        for (at, count) in places(size) {
            assert!(at <= end + size / (SAMPLES - 1), "{at}");
            end = at + count;
        }
        assert_eq!(end, size);
    }

    #[test]
    fn what_cannot_be_read_is_not_empty() {
        are_zero(&device(1 << 20), 0, 2 << 20).unwrap_err();
    }
}
