//! The BLAKE3 tree over leaves of 64 KiB, so that the root is what `b3sum` prints and every leaf has its own value.
//! Follows section 2.1 of the BLAKE3 paper; must not read anything itself.

use blake3::{
    Hasher,
    hazmat::{HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root},
};

use crate::LEAF_SIZE;

/// The chaining value of a subtree that is not the whole tree.
pub(crate) type Value = [u8; 32];

/// A subtree with a known value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// First byte of the image that it covers, a multiple of [`LEAF_SIZE`].
    pub(crate) offset: u64,
    /// Bytes that it covers.
    pub(crate) length: u64,
    /// Its chaining value.
    pub(crate) value: Value,
}

/// Value of the leaf that begins at `offset`, a multiple of [`LEAF_SIZE`]. `bytes` are 1 to [`LEAF_SIZE`] bytes; only
/// the last leaf of an image is shorter.
pub(crate) fn leaf_value(bytes: &[u8], offset: u64) -> Value {
    let mut hasher = Hasher::new();
    hasher.set_input_offset(offset);
    hasher.update(bytes).finalize_non_root()
}

/// The digest of an image of `size` bytes, more than one leaf, from the values of `nodes`.
///
/// `None` when the nodes are not, in order and without gap, subtrees of the tree of that size, or are the root itself:
/// the root is finalised in another way, so its value can stand for no subtree.
pub(crate) fn root(size: u64, nodes: impl IntoIterator<Item = Node>) -> Option<[u8; 32]> {
    if size <= LEAF_SIZE {
        return None;
    }
    let mut nodes = nodes.into_iter().peekable();
    let left = left_subtree_len(size);
    let left_value = subtree_of(0, left, &mut nodes)?;
    let right_value = subtree_of(left, size - left, &mut nodes)?;
    if nodes.next().is_some() {
        return None;
    }
    Some(*merge_subtrees_root(&left_value, &right_value, Mode::Hash).as_bytes())
}

/// The value of the subtree over `length` bytes from `offset`, which must be one of the tree's own subtrees; `None`
/// when the nodes do not build exactly it.
pub(crate) fn subtree(offset: u64, length: u64, nodes: impl IntoIterator<Item = Node>) -> Option<Value> {
    let mut nodes = nodes.into_iter().peekable();
    let value = subtree_of(offset, length, &mut nodes)?;
    nodes.next().is_none().then_some(value)
}

// At most 28 levels deep: the leaves of the largest image are 2^28.
fn subtree_of(offset: u64, length: u64, nodes: &mut std::iter::Peekable<impl Iterator<Item = Node>>) -> Option<Value> {
    let node = *nodes.peek()?;
    if node.offset != offset || node.length > length {
        return None;
    }
    if node.length == length {
        nodes.next();
        return Some(node.value);
    }
    if length <= LEAF_SIZE {
        return None;
    }
    let left = left_subtree_len(length);
    let left_value = subtree_of(offset, left, nodes)?;
    let right_value = subtree_of(offset + left, length - left, nodes)?;
    Some(merge_subtrees_non_root(&left_value, &right_value, Mode::Hash))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(length: usize, seed: u64) -> Vec<u8> {
        let mut output = vec![0; length];
        Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut output);
        output
    }

    fn leaves(image: &[u8]) -> Vec<Node> {
        let node = |(index, leaf): (usize, &[u8])| {
            let offset = index as u64 * LEAF_SIZE;
            Node { offset, length: leaf.len() as u64, value: leaf_value(leaf, offset) }
        };
        image.chunks(LEAF_SIZE as usize).enumerate().map(node).collect()
    }

    /// Merges some sibling pairs, as `choices` says, into the subtree above them.
    fn collapse(nodes: Vec<Node>, size: u64, choices: &[bool]) -> Vec<Node> {
        let mut output: Vec<Node> = Vec::new();
        let mut choices = choices.iter().cycle();
        for node in nodes {
            output.push(node);
            while let [.., left, right] = output[..] {
                let length = left.length + right.length;
                let siblings = left.length == right.length
                    && left.offset % length == 0
                    && length < size
                    && right.length.is_multiple_of(LEAF_SIZE);
                if !siblings || !choices.next().copied().unwrap_or_default() {
                    break;
                }
                let value = subtree(left.offset, length, [left, right]).unwrap();
                output.truncate(output.len() - 2);
                output.push(Node { offset: left.offset, length, value });
            }
        }
        output
    }

    #[test]
    fn root_is_what_b3sum_prints_at_every_edge() {
        let leaf = LEAF_SIZE as usize;
        for leaves_count in 1..=17 {
            for extra in [1, 1023, 1024, 1025, 4096, leaf - 4096, leaf - 1, leaf] {
                let image = bytes(leaves_count * leaf + extra, 1);
                let expected = *blake3::hash(&image).as_bytes();
                assert_eq!(root(image.len() as u64, leaves(&image)), Some(expected), "{leaves_count}+{extra}");
            }
        }
    }

    #[test]
    fn one_leaf_has_no_tree() {
        assert_eq!(root(LEAF_SIZE, leaves(&bytes(LEAF_SIZE as usize, 1))), None);
        assert_eq!(root(0, []), None);
    }

    #[test]
    fn the_root_does_not_stand_for_itself() {
        let value = [7; 32];
        assert_eq!(root(4 * LEAF_SIZE, [Node { offset: 0, length: 4 * LEAF_SIZE, value }]), None);
    }

    #[test]
    fn gaps_overlaps_foreign_subtrees_and_leftovers_are_refused() {
        let all = leaves(&bytes(6 * LEAF_SIZE as usize, 2));
        let size = 6 * LEAF_SIZE;
        assert!(root(size, all.clone()).is_some());
        let mut gap = all.clone();
        gap.remove(3);
        assert_eq!(root(size, gap), None);
        let mut more = all.clone();
        more.push(all[5]);
        assert_eq!(root(size, more), None);
        let mut swapped = all.clone();
        swapped.swap(0, 1);
        assert_eq!(root(size, swapped), None);
        // Leaves 1 and 2 are neighbours, but no subtree of the tree.
        let mut crossing = all.clone();
        crossing.splice(1..3, [Node { offset: LEAF_SIZE, length: 2 * LEAF_SIZE, value: [0; 32] }]);
        assert_eq!(root(size, crossing), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn any_mix_of_leaves_and_subtrees_gives_the_digest_of_the_bytes(
            length in LEAF_SIZE as usize + 1..40 * LEAF_SIZE as usize,
            seed: u64,
            choices in prop::collection::vec(any::<bool>(), 1..64),
        ) {
            let image = bytes(length, seed);
            let nodes = collapse(leaves(&image), length as u64, &choices);
            prop_assert_eq!(root(length as u64, nodes), Some(*blake3::hash(&image).as_bytes()));
        }
    }
}
