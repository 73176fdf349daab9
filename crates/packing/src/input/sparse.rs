//! A raw image in a file or on a block device, of which only the data is read. Must not write.

use std::{
    fs::{File, Metadata},
    io::{self, Seek},
    os::unix::fs::{FileExt, MetadataExt},
};

use cloud_machine_image::ReadBlocks;
use rustix::{fs::SeekFrom, io::Errno};

use super::InputError;

/// A raw image. Holes of its file are zeros that cost no reading.
#[derive(Debug)]
pub struct RawImage {
    pub(super) file: File,
    pub(super) name: String,
    pub(super) size: u64,
    // Where data begins and ends, in order, without overlap.
    data: Vec<(u64, u64)>,
    opened: Metadata,
}

impl RawImage {
    /// The bytes of `file`, which is called `name`.
    ///
    /// # Errors
    /// [`InputError::Read`].
    pub fn of(mut file: File, name: String) -> Result<Self, InputError> {
        let read = |source| InputError::Read { name: name.clone(), source };
        let opened = file.metadata().map_err(read)?;
        // A block device says its size only so.
        let size = file.seek(io::SeekFrom::End(0)).map_err(read)?;
        let data = if opened.is_file() { data(&file, size) } else { Ok(vec![(0, size)]) }.map_err(read)?;
        Ok(Self { file, name, size, data, opened })
    }

    /// Bytes that are read; the others are holes.
    #[must_use]
    pub fn data_bytes(&self) -> u64 {
        self.data.iter().map(|(start, end)| end - start).sum()
    }

    /// Checks that nobody wrote the file since it was opened, as far as its size and time tell.
    ///
    /// # Errors
    /// [`InputError::Changed`], [`InputError::Read`].
    pub fn unchanged(&self) -> Result<(), InputError> {
        let read = |source| InputError::Read { name: self.name.clone(), source };
        let now = self.file.metadata().map_err(read)?;
        let marks = |found: &Metadata| (found.len(), found.mtime(), found.mtime_nsec());
        if marks(&now) == marks(&self.opened) { Ok(()) } else { Err(InputError::Changed { name: self.name.clone() }) }
    }
}

impl ReadBlocks for RawImage {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64).filter(|end| *end <= self.size);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        let first = self.data.partition_point(|(_, data_end)| *data_end <= offset);
        let mut at = offset;
        for (data_start, data_end) in self.data.iter().skip(first).take_while(|(start, _)| *start < end) {
            let (start, stop) = ((*data_start).max(at), (*data_end).min(end));
            part(buffer, offset, at, start).fill(0);
            self.file.read_exact_at(part(buffer, offset, start, stop), start)?;
            at = stop;
        }
        part(buffer, offset, at, end).fill(0);
        Ok(())
    }

    fn next_data(&self, offset: u64) -> u64 {
        let next = self.data.partition_point(|(_, data_end)| *data_end <= offset);
        self.data.get(next).map_or(self.size, |(start, _)| (*start).max(offset))
    }
}

/// The part of a buffer that begins at `offset` of the image from one place of the image to another.
fn part(buffer: &mut [u8], offset: u64, start: u64, end: u64) -> &mut [u8] {
    buffer.get_mut((start - offset) as usize..(end - offset) as usize).unwrap_or_default()
}

/// Where a file has data (lseek(2), SEEK_DATA and SEEK_HOLE). A filesystem without holes says that all is data.
fn data(file: &File, size: u64) -> io::Result<Vec<(u64, u64)>> {
    let mut data = Vec::new();
    let mut at = 0;
    while at < size {
        let start = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            // No data beyond this place.
            Err(Errno::NXIO) => break,
            // The filesystem does not know.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(vec![(0, size)]),
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(file, SeekFrom::Hole(start))?.min(size);
        if end <= start {
            break;
        }
        data.push((start, end));
        at = end;
    }
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(bytes, 0).unwrap();
        file
    }

    #[test]
    fn what_is_no_data_is_zero_and_not_read() {
        let bytes: Vec<u8> = (0..=255).cycle().take(40_000).collect();
        let mut image = RawImage::of(file(&bytes), "x".to_owned()).unwrap();
        // Other bytes than zeros are there, so a read of them would show.
        image.data = vec![(1000, 5000), (5000, 6000), (20_000, 40_000)];
        let mut expected = vec![0; bytes.len()];
        for (start, end) in &image.data {
            expected[*start as usize..*end as usize].copy_from_slice(&bytes[*start as usize..*end as usize]);
        }
        for (offset, length) in
            [(0, 40_000), (0, 1000), (900, 200), (4999, 2), (6000, 14_000), (5999, 14_002), (39_999, 1)]
        {
            let mut buffer = vec![7; length];
            image.read_at(&mut buffer, offset as u64).unwrap();
            assert!(buffer == expected[offset..offset + length], "{offset} {length}");
        }
        assert_eq!(image.data_bytes(), 25_000);
        for (offset, next) in [(0, 1000), (1000, 1000), (4999, 4999), (5000, 5000), (6000, 20_000), (39_999, 39_999)] {
            assert_eq!(image.next_data(offset), next, "{offset}");
        }
        image.data.pop();
        assert_eq!((image.next_data(6000), image.next_data(40_000)), (40_000, 40_000));
        image.data.push((20_000, 40_000));
        let beyond = image.read_at(&mut [0; 2], 39_999).unwrap_err();
        assert_eq!(beyond.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn holes_of_a_real_file_are_found() {
        let file = file(b"");
        file.set_len(64 << 20).unwrap();
        file.write_all_at(&[1; 4096], 1 << 20).unwrap();
        file.write_all_at(&[2; 4096], 63 << 20).unwrap();
        let image = RawImage::of(file, "x".to_owned()).unwrap();
        assert!((8192..1 << 20).contains(&image.data_bytes()), "{}", image.data_bytes());
        let mut buffer = vec![9; 8192];
        image.read_at(&mut buffer, (63 << 20) - 4096).unwrap();
        assert!(buffer[..4096] == [0; 4096] && buffer[4096..] == [2; 4096]);
    }

    #[test]
    fn a_file_that_shrinks_or_is_written_is_told() {
        let shrunk = file(&[1; 1 << 20]);
        let image = RawImage::of(shrunk.try_clone().unwrap(), "x".to_owned()).unwrap();
        image.unchanged().unwrap();
        shrunk.set_len(1 << 19).unwrap();
        let error = image.read_at(&mut [0; 4096], 1 << 19).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(image.unchanged().unwrap_err().to_string(), "x was changed while it was read");
    }
}
