//! A partition table that was computed for one disk: its bytes, by leaves. Must not compute it, nor write it to a disk.

use cloud_machine_protocol::{Algorithm, Digest};

use crate::sparse::Cell;

/// All leaves of a disk (the last may be shorter) that hold a part of a table and are not as they are in the image.
#[derive(Debug)]
pub struct Table {
    cells: Vec<Cell>,
}

impl Table {
    pub(crate) fn new(cells: Vec<Cell>) -> Self {
        Self { cells }
    }

    /// BLAKE3 over all cells in order, each as two little-endian u64, offset and length, and its bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        for cell in &self.cells {
            hasher.update(&cell.offset.to_le_bytes());
            hasher.update(&(cell.bytes.len() as u64).to_le_bytes());
            hasher.update(&cell.bytes);
        }
        Digest::new(Algorithm::Blake3, *hasher.finalize().as_bytes())
    }

    /// Index of the cell that begins at `offset`.
    pub(crate) fn cell_at(&self, offset: u64) -> Option<usize> {
        self.cells.binary_search_by_key(&offset, |cell| cell.offset).ok()
    }

    pub(crate) fn cell(&self, index: usize) -> &[u8] {
        self.cells.get(index).map(|cell| &cell.bytes[..]).unwrap_or_default()
    }
}
