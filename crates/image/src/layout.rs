//! Cuts a disk into units that are read at once. Must not know what they must hold, and must not read or write.

use cloud_machine_protocol::Extent;

use crate::{FRAME_SIZE, extent};

/// Bytes that are read at once: a frame, so that a unit never needs more than one frame of the packed image.
pub(crate) const UNIT: u64 = FRAME_SIZE;

pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    // Comparing with zeros is a memcmp, which is fast in every build profile.
    static ZEROS: [u8; 4096] = [0; 4096];
    bytes.chunks(ZEROS.len()).all(|chunk| *chunk == ZEROS[..chunk.len()])
}

/// How many units touch `range`.
pub(crate) fn unit_count(range: Extent) -> u64 {
    if range.length == 0 {
        return 0;
    }
    extent::end(&range).div_ceil(UNIT) - range.offset / UNIT
}

/// The part of `range` in its unit number `index`.
pub(crate) fn unit(range: Extent, index: u64) -> Extent {
    let start = (range.offset / UNIT + index) * UNIT;
    let offset = start.max(range.offset);
    let end = (start + UNIT).min(extent::end(&range));
    Extent { offset, length: end - offset }
}

/// The ranges that a pass goes over, each within one unit.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Units<'a> {
    /// All units of a range.
    All(Extent),
    /// These, sorted and apart from each other.
    Listed(&'a [Extent]),
}

impl Units<'_> {
    pub(crate) fn count(&self) -> u64 {
        match self {
            Self::All(range) => unit_count(*range),
            Self::Listed(ranges) => ranges.len() as u64,
        }
    }

    /// The range number `index`.
    pub(crate) fn get(&self, index: u64) -> Extent {
        match self {
            Self::All(range) => unit(*range, index),
            Self::Listed(ranges) => ranges[index as usize],
        }
    }

    /// Bytes of all of them.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::All(range) => range.length,
            Self::Listed(ranges) => ranges.iter().map(|range| range.length).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{LEAF_SIZE, goal::Goal};

    #[test]
    fn zero_is_told_from_a_single_set_bit_anywhere() {
        for length in [0, 1, 4095, 4096, 4097, 65_536] {
            let mut bytes = vec![0; length];
            assert!(is_zero(&bytes));
            for at in [0, length / 2, length.saturating_sub(1)] {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = 0x80;
                    assert!(!is_zero(&bytes), "{at} of {length}");
                    bytes[at] = 0;
                }
            }
        }
    }

    proptest! {
        #[test]
        fn units_and_pieces_cover_a_range_once(offset in 0..4 * UNIT, length in 0..5 * UNIT) {
            let range = Extent { offset, length };
            let mut next = offset;
            for index in 0..unit_count(range) {
                let unit = unit(range, index);
                prop_assert!(unit.length > 0 && unit.length <= UNIT);
                prop_assert_eq!(unit.offset / UNIT, (extent::end(&unit) - 1) / UNIT);
                for piece in Goal::ZERO.pieces(unit) {
                    prop_assert_eq!(piece.range.offset, next);
                    prop_assert!(piece.range.length > 0 && piece.range.length <= LEAF_SIZE);
                    next = extent::end(&piece.range);
                }
            }
            prop_assert_eq!(next, offset + length);
        }
    }
}
