//! The proof that what a manifest calls zero has the values of zeros. Owns the hashing of zeros at their place; must not
//! read anything.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    thread,
};

use blake3::{Hasher, hazmat::HasherExt};

use super::Entry;
use crate::{
    ImageError, LEAF_SIZE, Progress,
    blocks::Meter,
    claim,
    tree::{self, Node, Value},
};

/// What one thread looks at at once: a subtree, some milliseconds of hashing. Longer runs are put together from several.
const SPAN: u64 = 16 << 20;

/// Checks the value of every zero entry of an image of `size` bytes. The value of zeros depends on where they are, so
/// each is hashed in its place.
pub(super) fn prove(entries: &[Entry], size: u64, progress: Progress<'_>) -> Result<(), ImageError> {
    let threads = thread::available_parallelism().map_or(2, |count| count.get());
    let zeros = entries.iter().filter(|entry| entry.zero).map(|entry| entry.length(size)).sum();
    let meter = Meter::new(zeros, progress);
    let spans = Mutex::new(BTreeMap::new());
    claim::each(
        threads,
        size.div_ceil(SPAN),
        || (),
        |(), index| {
            let start = index * SPAN;
            for entry in touching(entries, start) {
                if entry.length(size) <= SPAN {
                    let length = entry.length(size);
                    compare(entry, size, Some(value_of_zeros(entry.offset(), length)))?;
                    meter.add(length);
                } else {
                    // It is aligned to its own length, so all of the span is in it.
                    let node = Node { offset: start, length: SPAN, value: value_of_zeros(start, SPAN) };
                    spans.lock().unwrap_or_else(PoisonError::into_inner).insert(start, node);
                    meter.add(SPAN);
                }
            }
            Ok(())
        },
    )?;
    let spans = spans.into_inner().unwrap_or_else(PoisonError::into_inner);
    for entry in entries.iter().filter(|entry| entry.zero && entry.length(size) > SPAN) {
        let (offset, length) = (entry.offset(), entry.length(size));
        let nodes = spans.range(offset..offset + length).map(|(_, node)| *node);
        compare(entry, size, tree::subtree(offset, length, nodes))?;
    }
    Ok(())
}

/// The zero entries that have a byte in the span from `start`.
fn touching(entries: &[Entry], start: u64) -> impl Iterator<Item = &Entry> {
    let first = entries.partition_point(|entry| entry.offset() <= start).saturating_sub(1);
    let inside = entries.get(first..).unwrap_or_default().iter();
    inside.take_while(move |entry| entry.offset() < start + SPAN).filter(|entry| entry.zero)
}

fn compare(entry: &Entry, size: u64, found: Option<Value>) -> Result<(), ImageError> {
    if found == Some(entry.value) {
        return Ok(());
    }
    Err(ImageError::ManifestZeros { offset: entry.offset(), length: entry.length(size) })
}

/// The value of the subtree over `length` zeros from `offset`, both multiples of a leaf.
fn value_of_zeros(offset: u64, length: u64) -> Value {
    static ZEROS: [u8; LEAF_SIZE as usize] = [0; LEAF_SIZE as usize];
    let mut hasher = Hasher::new();
    hasher.set_input_offset(offset);
    for _ in 0..length / LEAF_SIZE {
        hasher.update(&ZEROS);
    }
    hasher.finalize_non_root()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Leaf, collect};

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
    fn runs_shorter_and_longer_than_a_span_are_proved_and_every_wrong_one_is_found() {
        // From 64 KiB to 64 MiB of zeros in one entry, and a shorter last leaf.
        let size = 128 * (1 << 20) + 4096;
        let entries = entries(size, &[0, 3, 300]);
        assert!(entries.iter().any(|entry| entry.length(size) == 4 * SPAN));
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
    fn zeros_elsewhere_have_another_value() {
        assert_ne!(value_of_zeros(0, LEAF_SIZE), value_of_zeros(LEAF_SIZE, LEAF_SIZE));
        assert_eq!(value_of_zeros(LEAF_SIZE, LEAF_SIZE), tree::leaf_value(&[0; LEAF_SIZE as usize], LEAF_SIZE));
    }
}
