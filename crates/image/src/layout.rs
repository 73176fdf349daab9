//! Cuts a disk into units that are read at once and pieces that are judged one by one, and says what each piece must
//! hold. Must not read or write.

use cloud_machine_protocol::Extent;

use crate::{
    FRAME_SIZE, LEAF_SIZE, Manifest, extent,
    tree::{self, Value},
};

/// Bytes that are read at once: a frame, so that a unit never needs more than one frame of the packed image.
pub(crate) const UNIT: u64 = FRAME_SIZE;

/// What a piece must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// A leaf with the value of the manifest's entry of this index.
    Leaf(usize),
    /// Zeros, as the manifest's entry of this index says.
    ZeroLeaf(usize),
    /// Zeros, because it is not part of the image.
    Beyond,
}

/// At most one leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) range: Extent,
    pub(crate) want: Want,
}

/// A piece that was right when it was read. Only [`Piece::look`] makes one.
#[derive(Debug)]
pub(crate) struct Sighting {
    /// What the piece had to hold.
    pub(crate) want: Want,
    /// Its bytes.
    pub(crate) length: u64,
    /// Value of a leaf as read; of zeros in the image the manifest's, since hashing gigabytes of zeros would only give
    /// it again.
    pub(crate) value: Value,
}

impl Piece {
    pub(crate) fn wants_zero(&self) -> bool {
        !matches!(self.want, Want::Leaf(_))
    }

    /// Judges `bytes`, read from the piece's range: `None` unless they are what it must hold.
    pub(crate) fn look(&self, bytes: &[u8], manifest: Option<&Manifest>) -> Option<Sighting> {
        let stated = |entry: usize| Some(manifest?.entries()[entry].value);
        let value = match self.want {
            Want::Leaf(entry) => {
                let value = tree::leaf_value(bytes, self.range.offset);
                (stated(entry)? == value).then_some(value)?
            }
            Want::ZeroLeaf(entry) => is_zero(bytes).then_some(stated(entry)?)?,
            Want::Beyond => is_zero(bytes).then_some([0; 32])?,
        };
        Some(Sighting { want: self.want, length: bytes.len() as u64, value })
    }

    /// The bytes of the piece in `bytes`, which begin at `start` and contain the piece.
    pub(crate) fn of<'a>(&self, bytes: &'a [u8], start: u64) -> &'a [u8] {
        let from = (self.range.offset - start) as usize;
        &bytes[from..from + self.range.length as usize]
    }
}

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

/// The pieces of `range`, in order. Where there is a manifest, `range` begins at a leaf and ends at one or at the end of
/// the disk.
pub(crate) fn pieces(manifest: Option<&Manifest>, range: Extent) -> Vec<Piece> {
    let mut pieces = Vec::with_capacity(range.length.div_ceil(LEAF_SIZE) as usize + 1);
    let mut offset = range.offset;
    let end = extent::end(&range);
    while offset < end {
        let grid = (offset / LEAF_SIZE + 1) * LEAF_SIZE;
        let image = manifest.filter(|manifest| offset < manifest.size());
        let (stop, want) = match image {
            Some(manifest) => {
                let entry = manifest.entry_at(offset);
                let zero = manifest.entries()[entry].zero;
                let want = if zero { Want::ZeroLeaf(entry) } else { Want::Leaf(entry) };
                (grid.min(manifest.size()), want)
            }
            None => (grid, Want::Beyond),
        };
        let length = stop.min(end) - offset;
        pieces.push(Piece { range: Extent { offset, length }, want });
        offset += length;
    }
    pieces
}

/// Joins pieces that touch and are both zeros or both data. The pieces are in order.
pub(crate) fn runs(pieces: &[Piece]) -> Vec<(Extent, bool)> {
    let mut runs: Vec<(Extent, bool)> = Vec::new();
    for piece in pieces {
        match runs.last_mut() {
            Some((run, zero)) if extent::end(run) == piece.range.offset && *zero == piece.wants_zero() => {
                run.length += piece.range.length;
            }
            _ => runs.push((piece.range, piece.wants_zero())),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
                for piece in pieces(None, unit) {
                    prop_assert_eq!(piece.range.offset, next);
                    prop_assert!(piece.range.length > 0 && piece.range.length <= LEAF_SIZE);
                    next = extent::end(&piece.range);
                }
            }
            prop_assert_eq!(next, offset + length);
        }
    }
}
