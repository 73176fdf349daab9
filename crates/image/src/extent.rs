//! Ranges of bytes on a disk: merged lists of them and the digest of a list. Must not know what the ranges mean.

use blake3::Hasher;
use cloud_machine_protocol::{Algorithm, Digest, Extent};

pub(crate) fn end(extent: &Extent) -> u64 {
    extent.offset + extent.length
}

/// Sorts and joins extents that touch. The extents must not overlap.
pub(crate) fn merge(mut extents: Vec<Extent>) -> Vec<Extent> {
    extents.sort_unstable();
    let mut merged: Vec<Extent> = Vec::with_capacity(extents.len());
    for extent in extents {
        match merged.last_mut() {
            Some(last) if end(last) == extent.offset => last.length += extent.length,
            _ => merged.push(extent),
        }
    }
    merged
}

/// BLAKE3 over all extents in the order given, each as two little-endian u64: offset, length.
#[must_use]
pub fn digest_of_extents(extents: &[Extent]) -> Digest {
    let mut hasher = Hasher::new();
    for extent in extents {
        hasher.update(&extent.offset.to_le_bytes());
        hasher.update(&extent.length.to_le_bytes());
    }
    Digest::new(Algorithm::Blake3, *hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extents(list: &[(u64, u64)]) -> Vec<Extent> {
        let extent = |&(offset, length)| Extent { offset, length };
        list.iter().map(extent).collect()
    }

    #[test]
    fn what_touches_is_joined_and_the_rest_sorted() {
        assert_eq!(merge(extents(&[(8, 2), (0, 4), (4, 3), (20, 1)])), extents(&[(0, 7), (8, 2), (20, 1)]));
        assert_eq!(merge(Vec::new()), []);
    }

    #[test]
    fn the_digest_is_over_the_little_endian_pairs() {
        let mut bytes = Vec::new();
        for number in [1_u64, 2, 300, 4] {
            bytes.extend(number.to_le_bytes());
        }
        let digest = digest_of_extents(&extents(&[(1, 2), (300, 4)]));
        assert_eq!(digest.bytes(), blake3::hash(&bytes).as_bytes());
    }
}
