//! The packed image for an agent that has only the connection: the ranges that it asks for, and no more than it can need. Must
//! not choose them.

use std::{fs::File, os::unix::fs::FileExt, path::Path};

use cloud_machine_protocol::{MAX_READ, Read};

use crate::error::{ErrorKind, OperationError};

/// How many times the bytes of the whole image one attempt may ask for: reads of the index and of frames, and frames that are
/// read again.
const MOST: u64 = 4;
/// Bytes of the image for each of which one read is allowed, besides [`FREE_READS`]: frames are 64 times as large.
const PER_READ: u64 = 16 << 10;
const FREE_READS: u64 = 1024;

/// An image that is served.
#[derive(Debug)]
pub(crate) struct ServedImage {
    file: File,
    size: u64,
    served: u64,
    reads: u64,
}

impl ServedImage {
    /// The packed image in `file`.
    ///
    /// # Errors
    /// Of [`ErrorKind::Failed`] when it cannot be opened.
    pub(crate) fn open(file: &Path) -> Result<Self, OperationError> {
        let failed = || OperationError::during(ErrorKind::Failed, format!("open {}", file.display()));
        let opened = File::open(file).map_err(failed())?;
        let size = opened.metadata().map_err(failed())?.len();
        Ok(Self { file: opened, size, served: 0, reads: 0 })
    }

    /// What `read` asks for.
    ///
    /// # Errors
    /// Of [`ErrorKind::Verification`] for a range that is not the image's, or one too many; of [`ErrorKind::Failed`] when it
    /// cannot be read.
    pub(crate) fn bytes(&mut self, read: Read) -> Result<Vec<u8>, OperationError> {
        let Read { offset, length } = read;
        let refuse = |why: &str| {
            let text = format!("the agent asked for {length} bytes of the image at {offset}: {why}");
            Err(OperationError::new(ErrorKind::Verification, text))
        };
        if length == 0 || length > MAX_READ {
            return refuse("that is no range of the protocol");
        }
        if offset.checked_add(length).is_none_or(|end| end > self.size) {
            return refuse("the image ends before");
        }
        self.served = self.served.saturating_add(length);
        self.reads = self.reads.saturating_add(1);
        if self.reads > FREE_READS.saturating_add(self.size / PER_READ) {
            return refuse("it has asked more often than an image has pieces");
        }
        if self.served > self.size.saturating_mul(MOST) {
            return refuse("it has read all of the image several times");
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        self.file
            .read_exact_at(&mut bytes, offset)
            .map_err(OperationError::during(ErrorKind::Failed, "read the packed image"))?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ranges_of_the_image_are_served_and_not_for_ever() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"0123456789").unwrap();
        let mut image = ServedImage::open(file.path()).unwrap();
        assert_eq!(image.bytes(Read { offset: 3, length: 4 }).unwrap(), b"3456");
        assert_eq!(image.bytes(Read { offset: 0, length: 10 }).unwrap(), b"0123456789");
        for (offset, length, why) in [
            (0, 0, "no range of the protocol"),
            (0, MAX_READ + 1, "no range of the protocol"),
            (9, 2, "ends before"),
            (u64::MAX, 1, "ends before"),
        ] {
            let error = image.bytes(Read { offset, length }).unwrap_err();
            assert!(error.kind == ErrorKind::Verification && error.error.to_string().contains(why), "{}", error.error);
        }
        assert_eq!(image.served, 14);
        for _ in 0..2 {
            image.bytes(Read { offset: 0, length: 10 }).unwrap();
        }
        let error = image.bytes(Read { offset: 0, length: 10 }).unwrap_err();
        assert!(error.error.to_string().contains("several times"), "{}", error.error);

        std::fs::write(file.path(), vec![1; 64 << 10]).unwrap();
        let mut image = ServedImage::open(file.path()).unwrap();
        for _ in 0..1024 + 4 {
            image.bytes(Read { offset: 0, length: 1 }).unwrap();
        }
        let error = image.bytes(Read { offset: 0, length: 1 }).unwrap_err();
        assert!(error.error.to_string().contains("more often"), "{}", error.error);
    }
}
