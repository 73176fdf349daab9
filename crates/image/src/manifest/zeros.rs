//! The proof that what a manifest calls zero has the values of zeros. Owns which are asked for and when; must not hash
//! anything itself.

use std::thread;

use super::Entry;
use crate::{ImageError, Progress, blocks::Meter, tree::Value, zeros};

/// Bytes of zeros after which the progress is told, and what was asked for is compared.
const BATCH: u64 = 4 << 30;

/// Checks the value of every zero entry of an image of `size` bytes. The value of zeros depends on where they are, so
/// each is asked for in its place.
pub(super) fn prove(entries: &[Entry], size: u64, progress: Progress<'_>) -> Result<(), ImageError> {
    let threads = thread::available_parallelism().map_or(2, |count| count.get());
    let zeros: Vec<&Entry> = entries.iter().filter(|entry| entry.zero).collect();
    let meter = Meter::new(zeros.iter().map(|entry| entry.length(size)).sum(), progress);
    let mut rest = &zeros[..];
    while !rest.is_empty() {
        let mut bytes = 0;
        let begins = |entry: &&Entry| {
            bytes += entry.length(size);
            bytes <= BATCH
        };
        let (batch, after) = rest.split_at(rest.iter().copied().take_while(begins).count().max(1));
        let places: Vec<(u64, u64)> = batch.iter().map(|entry| (entry.offset(), entry.length(size))).collect();
        for (entry, value) in batch.iter().zip(zeros::values(&places, threads)?) {
            compare(entry, size, &value)?;
            meter.add(entry.length(size));
        }
        rest = after;
    }
    Ok(())
}

fn compare(entry: &Entry, size: u64, found: &Value) -> Result<(), ImageError> {
    if *found == entry.value {
        return Ok(());
    }
    Err(ImageError::ManifestZeros { offset: entry.offset(), length: entry.length(size) })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::{
        LEAF_SIZE,
        manifest::{Leaf, collect},
        tree,
    };

    /// The entries of an image of which only these leaves have data.
    fn entries(size: u64, data: &[u64]) -> Vec<Entry> {
        let leaf = |index: u64| {
            let mut bytes = vec![0; LEAF_SIZE.min(size - index * LEAF_SIZE) as usize];
            bytes[5] = u8::from(data.contains(&index));
            Leaf { value: tree::leaf_value(&bytes, index * LEAF_SIZE), zero: !data.contains(&index) }
        };
        let leaves: Vec<Leaf> = (0..size.div_ceil(LEAF_SIZE)).map(leaf).collect();
        collect(&leaves, size).unwrap()
    }

    #[test]
    fn runs_of_every_length_are_proved_and_every_wrong_one_is_found() {
        // From 64 KiB to 64 MiB of zeros in one entry, and a shorter last leaf.
        let size = 128 * (1 << 20) + 4096;
        let entries = entries(size, &[0, 3, 300]);
        assert!(entries.iter().any(|entry| entry.length(size) == 64 << 20));
        let told = Mutex::new((0, 0));
        prove(&entries, size, &|done, total| *told.lock().unwrap() = (done, total)).unwrap();
        let (done, total) = *told.lock().unwrap();
        assert_eq!(done, total);
        assert_eq!(total, size - 3 * LEAF_SIZE - 4096);
        for index in 0..entries.len() {
            let mut entries = entries.clone();
            if !entries[index].zero {
                continue;
            }
            entries[index].value[31] ^= 1;
            let (offset, length) = (entries[index].offset(), entries[index].length(size));
            let error = prove(&entries, size, &|_, _| ()).unwrap_err();
            assert!(
                matches!(error, ImageError::ManifestZeros { offset: at, length: bytes } if (at, bytes) == (offset, length)),
                "{error}"
            );
        }
    }

    #[test]
    fn an_image_of_terabytes_of_zeros_is_proved_in_batches_and_a_lie_in_it_is_found() {
        let size = 1 << 41;
        let place = |exponent: u32| (LEAF_SIZE << exponent, LEAF_SIZE << exponent);
        // Runs of 32 GiB to 1 TiB, as they follow each other behind data.
        let places: Vec<(u64, u64)> = (19..25).map(place).collect();
        let values = zeros::values(&places, 2).unwrap();
        let entry = |((offset, length), value): (&(u64, u64), Value)| Entry {
            first: (offset / LEAF_SIZE) as u32,
            leaves: (length / LEAF_SIZE) as u32,
            zero: true,
            value,
        };
        let mut entries: Vec<Entry> = places.iter().zip(values).map(entry).collect();
        prove(&entries, size, &|_, _| ()).unwrap();
        entries[4].value = entries[5].value;
        let error = prove(&entries, size, &|_, _| ()).unwrap_err();
        assert!(matches!(error, ImageError::ManifestZeros { offset, .. } if offset == places[4].0), "{error}");
    }
}
