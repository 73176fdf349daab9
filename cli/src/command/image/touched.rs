//! A disk that remembers whether anything was done to it, so that a failure can say in which state it left the disk. Must
//! not change what is done.

use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
};

use cloud_machine_image::{ReadBlocks, WriteBlocks};

/// The disk behind it, and what came to it.
pub(super) struct Touched<'a> {
    disk: &'a dyn WriteBlocks,
    touched: AtomicBool,
}

impl<'a> Touched<'a> {
    pub(super) fn new(disk: &'a dyn WriteBlocks) -> Self {
        Self { disk, touched: AtomicBool::new(false) }
    }

    /// Whether anything was asked of the disk that can change it; it may have failed.
    pub(super) fn is_touched(&self) -> bool {
        self.touched.load(Ordering::SeqCst)
    }

    fn touch(&self) -> &dyn WriteBlocks {
        self.touched.store(true, Ordering::SeqCst);
        self.disk
    }
}

impl ReadBlocks for Touched<'_> {
    fn size(&self) -> u64 {
        self.disk.size()
    }

    fn sector_size(&self) -> u64 {
        self.disk.sector_size()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.disk.read_at(buffer, offset)
    }

    fn next_data(&self, offset: u64) -> u64 {
        self.disk.next_data(offset)
    }
}

impl WriteBlocks for Touched<'_> {
    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<()> {
        self.touch().write_at(buffer, offset)
    }

    fn zero(&self, offset: u64, length: u64) -> io::Result<()> {
        self.touch().zero(offset, length)
    }

    fn discard(&self, offset: u64, length: u64) -> io::Result<()> {
        self.touch().discard(offset, length)
    }

    fn flush(&self) -> io::Result<()> {
        self.disk.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk that reads as zeros and takes nothing.
    struct Broken;

    impl ReadBlocks for Broken {
        fn size(&self) -> u64 {
            1 << 20
        }

        fn read_at(&self, buffer: &mut [u8], _: u64) -> io::Result<()> {
            buffer.fill(0);
            Ok(())
        }
    }

    impl WriteBlocks for Broken {
        fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
            Err(io::ErrorKind::Other.into())
        }

        fn zero(&self, _: u64, _: u64) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn whatever_could_change_the_disk_touches_it_and_reading_does_not() {
        type Act = fn(&Touched<'_>) -> io::Result<()>;
        let cases: [(Act, bool); 5] = [
            (|disk| disk.read_at(&mut [1; 512], 0), false),
            (|disk| disk.flush(), false),
            (|disk| disk.write_at(&[1; 512], 0), true),
            (|disk| disk.zero(0, 512), true),
            (|disk| disk.discard(0, 512), true),
        ];
        for (act, touches) in cases {
            let disk = Touched::new(&Broken);
            assert_eq!((act(&disk).is_err(), disk.is_touched()), (touches, touches));
        }
    }
}
