//! What was seen of an image while it was packed, leaf by leaf: values of those with data, runs of zeros without. Owns how
//! runs become entries of a manifest; must not read the image.

use crate::{ImageError, LEAF_SIZE, manifest::Entry, tree::Value, zeros};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Run {
    /// One leaf with data, or a short last one.
    Data(Value),
    /// So many whole leaves of zeros.
    Zeros(u64),
}

/// All leaves of an image from its beginning. A run of zeros costs nothing however long it is.
#[derive(Debug, Default)]
pub(super) struct Seen {
    runs: Vec<Run>,
    leaves: u64,
}

impl Seen {
    pub(super) fn data(&mut self, value: Value) {
        self.runs.push(Run::Data(value));
        self.leaves += 1;
    }

    pub(super) fn zeros(&mut self, leaves: u64) {
        self.leaves += leaves;
        match self.runs.last_mut() {
            _ if leaves == 0 => {}
            Some(Run::Zeros(before)) => *before += leaves,
            _ => self.runs.push(Run::Zeros(leaves)),
        }
    }

    /// The entries of the manifest: leaves with data, and for zeros the largest subtrees that have nothing else.
    pub(super) fn entries(&self, threads: usize) -> Result<Vec<Entry>, ImageError> {
        let mut entries = Vec::new();
        let mut first = 0;
        for run in &self.runs {
            match run {
                Run::Data(value) => {
                    entries.push(Entry { first: first as u32, leaves: 1, zero: false, value: *value });
                    first += 1;
                }
                Run::Zeros(leaves) => {
                    let end = first + leaves;
                    while first < end {
                        let leaves = self.largest(first, end);
                        entries.push(Entry { first: first as u32, leaves: leaves as u32, zero: true, value: [0; 32] });
                        first += leaves;
                    }
                }
            }
        }
        let zeros: Vec<&mut Entry> = entries.iter_mut().filter(|entry| entry.zero).collect();
        let places: Vec<(u64, u64)> =
            zeros.iter().map(|entry| (entry.offset(), u64::from(entry.leaves) * LEAF_SIZE)).collect();
        for (entry, value) in zeros.into_iter().zip(zeros::values(&places, threads)?) {
            entry.value = value;
        }
        Ok(entries)
    }

    /// Leaves of the largest subtree that begins at leaf `first` and ends at leaf `end` at most.
    fn largest(&self, first: u64, end: u64) -> u64 {
        let mut leaves = 1;
        // The whole tree is finalised as a root, so nothing may stand for it.
        while first.is_multiple_of(leaves * 2) && first + leaves * 2 <= end && leaves * 2 != self.leaves {
            leaves *= 2;
        }
        leaves
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        manifest::{Leaf, collect},
        tree,
    };

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn runs_give_the_entries_that_single_leaves_give(
            pattern in prop::collection::vec(prop::bool::weighted(0.15), 1..70),
            blocks in 1_u64..16,
        ) {
            let mut leaves: Vec<Leaf> = pattern.iter().enumerate().map(|(index, data)| {
                let bytes = vec![u8::from(*data); LEAF_SIZE as usize];
                Leaf { value: tree::leaf_value(&bytes, index as u64 * LEAF_SIZE), zero: !data }
            }).collect();
            let mut seen = Seen::default();
            for leaf in &leaves {
                if leaf.zero { seen.zeros(1) } else { seen.data(leaf.value) }
            }
            let whole = leaves.len() as u64 * LEAF_SIZE;
            let more = blocks * 4096;
            let value = tree::leaf_value(&vec![0; more as usize], whole);
            leaves.push(Leaf { value, zero: true });
            seen.data(value);
            prop_assert_eq!(seen.entries(2).unwrap(), collect(&leaves, whole + more).unwrap());
        }
    }

    #[test]
    fn zeros_alone_are_never_one_entry() {
        for leaves in 2..=33 {
            let mut seen = Seen::default();
            seen.zeros(leaves);
            let unknown =
                |index| Leaf { value: tree::leaf_value(&[0; LEAF_SIZE as usize], index * LEAF_SIZE), zero: true };
            let all: Vec<Leaf> = (0..leaves).map(unknown).collect();
            assert_eq!(seen.entries(1).unwrap(), collect(&all, leaves * LEAF_SIZE).unwrap(), "{leaves}");
        }
    }
}
