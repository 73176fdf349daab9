//! What every byte of a disk must hold: the image, zeros behind it, and a partition table computed for this disk where
//! the image's own does not fit; and what puts right what it does not hold. Must not read or write.

use cloud_machine_protocol::Extent;

use crate::{
    LEAF_SIZE, Manifest, extent,
    layout::is_zero,
    table::Table,
    tree::{self, Value},
};

/// The whole of a disk. Without an image all of it must be zero.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Goal<'a> {
    pub(crate) image: Option<&'a Manifest>,
    pub(crate) table: Option<&'a Table>,
}

/// What a piece must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// A leaf with the value of the manifest's entry of this index.
    Leaf(usize),
    /// Zeros, as the manifest's entry of this index says.
    ZeroLeaf(usize),
    /// The bytes of the table's cell of this index.
    Computed(usize),
    /// Zeros, because it is not part of the image.
    Beyond,
}

/// At most one leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) range: Extent,
    pub(crate) want: Want,
}

/// A piece that was right when it was read. Only [`Goal::look`] makes one.
#[derive(Debug)]
pub(crate) struct Observation {
    /// The manifest's entry that the piece is in, and the value that it contributes: of a leaf the value as read; of
    /// zeros in the image the manifest's, which was proved when it became a `Manifest`; of a computed cell
    /// the manifest's too, since the cell replaces what the image has there.
    pub(crate) entry: Option<(usize, Value)>,
    /// Its bytes.
    pub(crate) length: u64,
    /// Those of them that lie behind the image.
    pub(crate) beyond: u64,
}

impl Piece {
    pub(crate) fn wants_zero(&self) -> bool {
        matches!(self.want, Want::ZeroLeaf(_) | Want::Beyond)
    }

    pub(crate) fn is_leaf(&self) -> bool {
        matches!(self.want, Want::Leaf(_))
    }

    /// The bytes of the piece in `bytes`, which begin at `start` and contain the piece.
    pub(crate) fn of<'a>(&self, bytes: &'a [u8], start: u64) -> &'a [u8] {
        let from = (self.range.offset - start) as usize;
        &bytes[from..from + self.range.length as usize]
    }
}

impl<'a> Goal<'a> {
    /// Zeros, whatever the size.
    pub(crate) const ZERO: Goal<'static> = Goal { image: None, table: None };

    /// The image as it is.
    pub(crate) fn image(manifest: &'a Manifest) -> Self {
        Self { image: Some(manifest), table: None }
    }

    /// Bytes of the image.
    fn image_size(&self) -> u64 {
        self.image.map_or(0, Manifest::size)
    }

    /// The pieces of `range`, in order. Where there is an image, `range` begins at a leaf and ends at one or at the end
    /// of the disk.
    pub(crate) fn pieces(&self, range: Extent) -> Vec<Piece> {
        let mut pieces = Vec::with_capacity(range.length.div_ceil(LEAF_SIZE) as usize + 1);
        let mut offset = range.offset;
        let end = extent::end(&range);
        while offset < end {
            let grid = ((offset / LEAF_SIZE + 1) * LEAF_SIZE).min(end);
            let (stop, want) = self.want(offset, grid);
            pieces.push(Piece { range: Extent { offset, length: stop - offset }, want });
            offset = stop;
        }
        pieces
    }

    /// What the piece at `offset` must hold, and where it ends, at most at `grid`.
    fn want(&self, offset: u64, grid: u64) -> (u64, Want) {
        if let Some(cell) = self.table.and_then(|table| table.cell_at(offset)) {
            return (grid, Want::Computed(cell));
        }
        let Some(manifest) = self.image.filter(|manifest| offset < manifest.size()) else {
            return (grid, Want::Beyond);
        };
        let entry = manifest.entry_at(offset);
        let zero = manifest.entries()[entry].zero;
        (grid.min(manifest.size()), if zero { Want::ZeroLeaf(entry) } else { Want::Leaf(entry) })
    }

    /// Judges `bytes`, read from the piece's range: `None` unless they are what it must hold.
    pub(crate) fn look(&self, piece: &Piece, bytes: &[u8]) -> Option<Observation> {
        let length = bytes.len() as u64;
        let beyond = extent::end(&piece.range).saturating_sub(self.image_size()).min(length);
        let stated = |entry: usize| Some((entry, self.image?.entries().get(entry)?.value));
        let entry = match piece.want {
            Want::Leaf(entry) => {
                let value = tree::leaf_value(bytes, piece.range.offset);
                (stated(entry)?.1 == value).then_some(Some((entry, value)))?
            }
            Want::ZeroLeaf(entry) => is_zero(bytes).then_some(stated(entry))?,
            Want::Computed(cell) => {
                let inside = self.image.filter(|manifest| piece.range.offset < manifest.size());
                let entry = inside.and_then(|manifest| stated(manifest.entry_at(piece.range.offset)));
                (self.computed(cell) == bytes).then_some(entry)?
            }
            Want::Beyond => is_zero(bytes).then_some(None)?,
        };
        Some(Observation { entry, length, beyond })
    }

    /// The bytes of a computed cell.
    pub(crate) fn computed(&self, cell: usize) -> &'a [u8] {
        self.table.map(|table| table.cell(cell)).unwrap_or_default()
    }
}

/// What puts a run of pieces right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    Zero,
    /// Bytes of the image.
    Image,
    /// The bytes of one computed cell.
    Computed(usize),
}

impl Fill {
    fn of(piece: &Piece) -> Self {
        match piece.want {
            Want::Leaf(_) => Self::Image,
            Want::ZeroLeaf(_) | Want::Beyond => Self::Zero,
            Want::Computed(cell) => Self::Computed(cell),
        }
    }
}

/// Joins pieces that touch and are put right by the same. The pieces are in order.
pub(crate) fn runs(pieces: &[Piece]) -> Vec<(Extent, Fill)> {
    let mut runs: Vec<(Extent, Fill)> = Vec::new();
    for piece in pieces {
        let fill = Fill::of(piece);
        match runs.last_mut() {
            Some((run, last)) if extent::end(run) == piece.range.offset && *last == fill => {
                run.length += piece.range.length;
            }
            _ => runs.push((piece.range, fill)),
        }
    }
    runs
}
