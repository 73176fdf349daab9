//! Values of zeros in the BLAKE3 tree. They depend on the place, so they have to be hashed: a list that belongs to this
//! program has those of the first 4 TiB, everything else is hashed here; must not read anything.

use std::sync::{Mutex, PoisonError};

use blake3::{Hasher, hazmat::HasherExt};

use crate::{
    ImageError, LEAF_SIZE, claim,
    tree::{self, Node, Value},
};

/// Bytes of a subtree that the list has a value for.
const CELL: u64 = 4 << 30;
/// The values of the first 1024 subtrees of this size, 32 bytes each. `examples/zeros.rs` makes
/// the file anew, all of it.
static CELLS: &[u8] = include_bytes!("zeros.bin");
/// Most bytes that one thread hashes at once.
const SPAN: u64 = 64 << 20;

/// The value of a subtree from the list.
fn known(offset: u64, length: u64) -> Option<Value> {
    if length != CELL || !offset.is_multiple_of(CELL) {
        return None;
    }
    let index = usize::try_from(offset / CELL).ok()?;
    CELLS.as_chunks().0.get(index).copied()
}

/// Hashes a subtree of zeros.
fn hashed(offset: u64, length: u64) -> Value {
    static ZEROS: [u8; LEAF_SIZE as usize] = [0; LEAF_SIZE as usize];
    let mut hasher = Hasher::new();
    hasher.set_input_offset(offset);
    for _ in 0..length / LEAF_SIZE {
        hasher.update(&ZEROS);
    }
    hasher.finalize_non_root()
}

/// Cuts a subtree into parts of which the value is known, or that are hashed at once. A known value is there already.
fn cut(offset: u64, length: u64, parts: &mut Vec<(u64, u64, Option<Value>)>) {
    let known = known(offset, length);
    if known.is_some() || length <= SPAN {
        parts.push((offset, length, known));
    } else {
        cut(offset, length / 2, parts);
        cut(offset + length / 2, length / 2, parts);
    }
}

/// The values of subtrees of zeros, each given by its offset and its length: 2^n leaves at a multiple of that.
pub(crate) fn values(subtrees: &[(u64, u64)], threads: usize) -> Result<Vec<Value>, ImageError> {
    let mut parts = Vec::new();
    let mut ends = Vec::new();
    for (offset, length) in subtrees {
        cut(*offset, *length, &mut parts);
        ends.push(parts.len());
    }
    let todo: Vec<usize> = (0..parts.len()).filter(|index| parts[*index].2.is_none()).collect();
    let done = Mutex::new(Vec::new());
    claim::each(
        threads,
        todo.len() as u64,
        || (),
        |(), index| {
            let part = todo[index as usize];
            let value = hashed(parts[part].0, parts[part].1);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((part, value));
            Ok(())
        },
    )?;
    for (part, value) in done.into_inner().unwrap_or_else(PoisonError::into_inner) {
        parts[part].2 = Some(value);
    }
    let mut start = 0;
    let mut values = Vec::new();
    for ((offset, length), end) in subtrees.iter().zip(ends) {
        let node = |(offset, length, value): &(u64, u64, Option<Value>)| {
            value.map(|value| Node { offset: *offset, length: *length, value })
        };
        let value = tree::subtree(*offset, *length, parts[start..end].iter().filter_map(node));
        values.push(value.ok_or_else(|| ImageError::ManifestInvalid {
            reason: format!("{length} bytes of zeros at byte {offset} are no subtree"),
        })?);
        start = end;
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_has_the_values_of_zeros() {
        assert_eq!(CELLS.len() as u64, 32 * ((4 << 40) / CELL));
        let hashed_in_parts = |offset: u64| {
            let parts: Vec<(u64, u64)> = (0..CELL / SPAN).map(|part| (offset + part * SPAN, SPAN)).collect();
            let nodes = parts.iter().zip(values(&parts, 4).unwrap());
            let nodes = nodes.map(|((offset, length), value)| Node { offset: *offset, length: *length, value });
            tree::subtree(offset, CELL, nodes)
        };
        for index in [0, 321, 1023] {
            assert_eq!(known(index * CELL, CELL), hashed_in_parts(index * CELL), "value {index}");
        }
        for (offset, length) in [(1024 * CELL, CELL), (0, CELL / 2), (CELL / 2, CELL)] {
            assert_eq!(known(offset, length), None);
        }
    }

    #[test]
    fn parts_of_any_length_have_the_value_of_their_leaves() {
        for (offset, length) in [(0, LEAF_SIZE), (3 * LEAF_SIZE, LEAF_SIZE), (2 * SPAN, 2 * SPAN), (4 * SPAN, 4 * SPAN)]
        {
            let leaves = (offset / LEAF_SIZE..(offset + length) / LEAF_SIZE).map(|leaf| {
                let offset = leaf * LEAF_SIZE;
                Node { offset, length: LEAF_SIZE, value: tree::leaf_value(&[0; LEAF_SIZE as usize], offset) }
            });
            let expected = tree::subtree(offset, length, leaves).unwrap();
            assert_eq!(values(&[(offset, length)], 2).unwrap(), [expected]);
        }
    }

    #[test]
    fn a_large_subtree_is_put_together_from_the_list() {
        let [all] = values(&[(0, 4 << 40)], 1).unwrap()[..] else { panic!("one value for one subtree") };
        let halves = values(&[(0, 2 << 40), (2 << 40, 2 << 40)], 1).unwrap();
        let nodes = [(0, halves[0]), (2 << 40, halves[1])];
        let nodes = nodes.map(|(offset, value)| Node { offset, length: 2 << 40, value });
        assert_eq!(Some(all), tree::subtree(0, 4 << 40, nodes));
    }
}
