//! A disk in memory of which only some parts exist, for writers of tables that want a whole one. Must not know what a
//! table is.

use std::io::{self, Read, Seek, SeekFrom, Write};

use cloud_machine_protocol::Extent;

/// A part that exists.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) offset: u64,
    pub(crate) bytes: Vec<u8>,
}

/// The disk; what lies outside its cells cannot be read or written.
#[derive(Debug)]
pub(crate) struct Sparse {
    pub(crate) size: u64,
    pub(crate) cells: Vec<Cell>,
    position: u64,
}

impl Sparse {
    pub(crate) fn new(size: u64, cells: Vec<Cell>) -> Self {
        Self { size, cells, position: 0 }
    }

    /// Makes `range`, all of which exists, zero.
    pub(crate) fn zero(&mut self, range: Extent) -> io::Result<()> {
        self.seek(SeekFrom::Start(range.offset))?;
        io::copy(&mut io::repeat(0).take(range.length), self).map(drop)
    }

    /// The bytes from the position to the end of its cell.
    fn here(&mut self) -> io::Result<&mut [u8]> {
        let position = self.position;
        let inside = |cell: &&mut Cell| (cell.offset..cell.offset + cell.bytes.len() as u64).contains(&position);
        let cell = self.cells.iter_mut().find(inside).ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(&mut cell.bytes[(position - cell.offset) as usize..])
    }
}

impl Read for Sparse {
    fn read(&mut self, output: &mut [u8]) -> io::Result<usize> {
        let here = self.here()?;
        let count = here.len().min(output.len());
        output[..count].copy_from_slice(&here[..count]);
        self.position += count as u64;
        Ok(count)
    }
}

impl Write for Sparse {
    fn write(&mut self, input: &[u8]) -> io::Result<usize> {
        let here = self.here()?;
        let count = here.len().min(input.len());
        here[..count].copy_from_slice(&input[..count]);
        self.position += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Sparse {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(distance) => self.size.checked_add_signed(distance),
            SeekFrom::Current(distance) => self.position.checked_add_signed(distance),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
