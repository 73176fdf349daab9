//! The entries of a manifest: single leaves with data, and runs of zero leaves that share one value. Owns which runs
//! may be collapsed; must not hash bytes.

#[cfg(test)]
use crate::tree;
use crate::{
    ImageError, LEAF_SIZE,
    tree::{Node, Value},
};

/// What was seen of one leaf.
#[cfg(test)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leaf {
    pub(crate) value: Value,
    pub(crate) zero: bool,
}

/// One subtree of the image: a leaf with data, or 2^n leaves of zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Number of its first leaf.
    pub(crate) first: u32,
    /// How many leaves; a power of two, and 1 when it is not zero.
    pub(crate) leaves: u32,
    /// Whether all its bytes are zero.
    pub(crate) zero: bool,
    /// Chaining value of the subtree.
    pub(crate) value: Value,
}

impl Entry {
    pub(crate) fn offset(&self) -> u64 {
        u64::from(self.first) * LEAF_SIZE
    }

    /// Bytes that it covers in an image of `size` bytes: the last leaf may be shorter.
    pub(crate) fn length(&self, size: u64) -> u64 {
        (u64::from(self.leaves) * LEAF_SIZE).min(size.saturating_sub(self.offset()))
    }

    pub(crate) fn node(&self, size: u64) -> Node {
        Node { offset: self.offset(), length: self.length(size), value: self.value }
    }
}

/// Makes the entries of an image of `size` bytes, more than one leaf, from all its leaves. Packing makes the same from
/// runs, without a value for each leaf; tests hold one against the other.
#[cfg(test)]
pub(crate) fn collect(leaves: &[Leaf], size: u64) -> Result<Vec<Entry>, ImageError> {
    let mut entries = Vec::new();
    let mut first = 0;
    while first < leaves.len() {
        let run = zero_run(leaves, first, size);
        let entry = match run {
            0 | 1 => Entry { first: first as u32, leaves: 1, zero: run == 1, value: leaves[first].value },
            _ => Entry { first: first as u32, leaves: run as u32, zero: true, value: merged(leaves, first, run)? },
        };
        first += entry.leaves as usize;
        entries.push(entry);
    }
    Ok(entries)
}

/// Leaves of the largest zero subtree that begins at leaf `first`; 0 when that leaf is not a whole leaf of zeros.
#[cfg(test)]
fn zero_run(leaves: &[Leaf], first: usize, size: u64) -> usize {
    let whole = (size / LEAF_SIZE) as usize;
    let is_zero = |from: usize, count: usize| {
        from + count <= whole && leaves.get(from..from + count).is_some_and(|run| run.iter().all(|leaf| leaf.zero))
    };
    if !is_zero(first, 1) {
        return 0;
    }
    let mut run = 1;
    while first.is_multiple_of(run * 2) && is_zero(first + run, run) {
        // The whole tree is finalised as a root, so nothing may stand for it.
        if run * 2 == leaves.len() {
            break;
        }
        run *= 2;
    }
    run
}

#[cfg(test)]
fn merged(leaves: &[Leaf], first: usize, count: usize) -> Result<Value, ImageError> {
    let node = |index: usize| Node { offset: index as u64 * LEAF_SIZE, length: LEAF_SIZE, value: leaves[index].value };
    let nodes = (first..first + count).map(node);
    let value = tree::subtree(first as u64 * LEAF_SIZE, count as u64 * LEAF_SIZE, nodes);
    value.ok_or_else(|| ImageError::ManifestInvalid {
        reason: format!("leaves {first} to {} are no subtree", first + count - 1),
    })
}

/// Checks that the entries cover an image of `size` bytes in order, and that each may stand for what it covers.
pub(crate) fn check(entries: &[Entry], size: u64) -> Result<(), ImageError> {
    let invalid = |reason| Err(ImageError::ManifestInvalid { reason });
    let mut next = 0;
    for (index, entry) in entries.iter().enumerate() {
        let leaves = u64::from(entry.leaves);
        if u64::from(entry.first) != next {
            return invalid(format!("entry {index} begins at leaf {} instead of {next}", entry.first));
        }
        let subtree = leaves.is_power_of_two() && next.is_multiple_of(leaves);
        if !subtree || (!entry.zero && leaves != 1) {
            return invalid(format!("entry {index} of {leaves} leaves at leaf {next} is no subtree"));
        }
        next += leaves;
        if entry.zero && next * LEAF_SIZE > size {
            return invalid(format!("zero entry {index} reaches beyond the image"));
        }
    }
    let expected = size.div_ceil(LEAF_SIZE);
    if next != expected {
        return invalid(format!("its entries cover {next} leaves instead of {expected}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::manifest::digest_of_entries;

    fn leaves_of(image: &[u8]) -> Vec<Leaf> {
        let leaf = |(index, bytes): (usize, &[u8])| Leaf {
            value: tree::leaf_value(bytes, index as u64 * LEAF_SIZE),
            zero: bytes.iter().all(|byte| *byte == 0),
        };
        image.chunks(LEAF_SIZE as usize).enumerate().map(leaf).collect()
    }

    fn image(pattern: &[bool], last: usize) -> Vec<u8> {
        let mut image = vec![0; pattern.len() * LEAF_SIZE as usize];
        for (leaf, data) in image.chunks_mut(LEAF_SIZE as usize).zip(pattern) {
            leaf[4000] = u8::from(*data);
        }
        image.truncate(image.len() - LEAF_SIZE as usize + last);
        image
    }

    #[test]
    fn an_all_zero_image_is_never_collapsed_to_its_root() {
        for count in 2..=33 {
            let image = image(&vec![false; count], LEAF_SIZE as usize);
            let entries = collect(&leaves_of(&image), image.len() as u64).unwrap();
            check(&entries, image.len() as u64).unwrap();
            let digest = digest_of_entries(image.len() as u64, &entries).unwrap();
            assert_eq!(digest.bytes(), blake3::hash(&image).as_bytes(), "{count}");
            assert!(entries.len() <= 6, "{count} leaves gave {} entries", entries.len());
        }
        let image = image(&[false; 16], LEAF_SIZE as usize);
        let entries = collect(&leaves_of(&image), image.len() as u64).unwrap();
        assert_eq!(entries.iter().map(|entry| entry.leaves).collect::<Vec<_>>(), [8, 8]);
    }

    #[test]
    fn a_partial_last_leaf_is_a_leaf_even_when_it_is_zero() {
        let image = image(&[false, false, false, false], 4096);
        let entries = collect(&leaves_of(&image), image.len() as u64).unwrap();
        let shape: Vec<_> = entries.iter().map(|entry| (entry.leaves, entry.zero)).collect();
        assert_eq!(shape, [(2, true), (1, true), (1, false)]);
    }

    #[test]
    fn entries_that_stand_for_something_else_are_refused() {
        let entry = |first, leaves, zero| Entry { first, leaves, zero, value: [0; 32] };
        let size = 8 * LEAF_SIZE;
        let cases = [
            (vec![], "cover 0 leaves instead of 8"),
            (vec![entry(1, 1, false)], "entry 0 begins at leaf 1 instead of 0"),
            (vec![entry(0, 2, false)], "entry 0 of 2 leaves at leaf 0 is no subtree"),
            (vec![entry(0, 0, true)], "entry 0 of 0 leaves at leaf 0 is no subtree"),
            (vec![entry(0, 3, true)], "entry 0 of 3 leaves at leaf 0 is no subtree"),
            (vec![entry(0, 1, true), entry(1, 2, true)], "entry 1 of 2 leaves at leaf 1 is no subtree"),
            (vec![entry(0, 16, true)], "zero entry 0 reaches beyond the image"),
            (vec![entry(0, 4, true), entry(3, 1, true)], "entry 1 begins at leaf 3 instead of 4"),
        ];
        for (entries, expected) in cases {
            let error = check(&entries, size).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn entries_cover_every_image_and_give_its_digest(
            pattern in prop::collection::vec(prop::bool::weighted(0.15), 2..70),
            blocks in 1_usize..=16,
        ) {
            let image = image(&pattern, blocks * 4096);
            let size = image.len() as u64;
            let entries = collect(&leaves_of(&image), size).unwrap();
            check(&entries, size).unwrap();
            let digest = digest_of_entries(size, &entries).unwrap();
            let expected = blake3::hash(&image);
            prop_assert_eq!(digest.bytes(), expected.as_bytes());
            for entry in &entries {
                let range = entry.offset() as usize..(entry.offset() + entry.length(size)) as usize;
                prop_assert!(!entry.zero || image[range].iter().all(|byte| *byte == 0));
            }
        }
    }
}
