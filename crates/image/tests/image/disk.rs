//! A disk in memory with a volatile cache. Owns the faults: it fails, stops, lies and forgets where a test says so.

use std::{
    io,
    sync::{Mutex, MutexGuard},
};

use cloud_machine_image::{ReadBlocks, WriteBlocks};

/// One operation as the disk saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Read { offset: u64, length: u64 },
    Write { offset: u64, length: u64 },
    Zero { offset: u64, length: u64 },
    Flush,
}

/// What goes wrong. Operations are counted from 0.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    /// This operation of any kind fails, once.
    pub(crate) fail: Option<u64>,
    /// The power goes after that many writes and zeroings: everything later fails.
    pub(crate) cut_after: Option<u64>,
    /// This write or zeroing reports success and does nothing.
    pub(crate) lose: Option<u64>,
    /// From this write or zeroing on, all report success and do nothing.
    pub(crate) lose_from: Option<u64>,
    /// The disk has no way to zero but writing.
    pub(crate) no_zeroing: bool,
}

struct State {
    durable: Vec<u8>,
    cache: Vec<u8>,
    pending: Vec<(usize, Vec<u8>)>,
    log: Vec<Operation>,
    faults: Faults,
    changes: u64,
    dark: bool,
}

pub(crate) struct Disk {
    size: u64,
    sector_size: u64,
    state: Mutex<State>,
}

impl Disk {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self::with_sectors(bytes, 512)
    }

    pub(crate) fn with_sectors(bytes: Vec<u8>, sector_size: u64) -> Self {
        Self {
            size: bytes.len() as u64,
            sector_size,
            state: Mutex::new(State {
                durable: bytes.clone(),
                cache: bytes,
                pending: Vec::new(),
                log: Vec::new(),
                faults: Faults::default(),
                changes: 0,
                dark: false,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Forgets the log and sets what goes wrong from now on.
    pub(crate) fn set(&self, faults: Faults) {
        let mut state = self.state();
        state.faults = faults;
        state.log.clear();
        state.changes = 0;
    }

    /// Power comes back: of what was not flushed, each sector is there or not, as `seed` has it.
    pub(crate) fn power_cycle(&self, seed: u64) {
        let mut state = self.state();
        let mut random = blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof();
        for (offset, bytes) in std::mem::take(&mut state.pending) {
            // Each write is torn with its own probability, so that none, all and some of its sectors survive.
            let mut share = [0];
            random.fill(&mut share);
            for (index, sector) in bytes.chunks(512).enumerate() {
                let mut dice = [0];
                random.fill(&mut dice);
                if dice[0] < share[0] {
                    let at = offset + index * 512;
                    state.durable[at..at + sector.len()].copy_from_slice(sector);
                }
            }
        }
        state.cache = state.durable.clone();
        state.dark = false;
        state.faults = Faults::default();
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.state().cache.clone()
    }

    /// Changes bytes behind the back of whoever uses the disk.
    pub(crate) fn mutate(&self, offset: usize, bytes: &[u8]) {
        let mut state = self.state();
        state.cache[offset..offset + bytes.len()].copy_from_slice(bytes);
        state.durable[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    pub(crate) fn log(&self) -> Vec<Operation> {
        self.state().log.clone()
    }

    /// Writes and zeroings since [`Disk::set`].
    pub(crate) fn changes(&self) -> u64 {
        self.state().changes
    }

    fn begin(&self, operation: Operation) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        if state.dark {
            return Err(io::Error::other("no power"));
        }
        let number = state.log.len() as u64;
        state.log.push(operation);
        if state.faults.fail == Some(number) {
            return Err(io::Error::other("injected"));
        }
        Ok(state)
    }

    fn change(&self, operation: Operation, offset: u64, bytes: Vec<u8>) -> io::Result<()> {
        let mut state = self.begin(operation)?;
        let number = state.changes;
        if state.faults.cut_after == Some(number) {
            state.dark = true;
            return Err(io::Error::other("no power"));
        }
        state.changes += 1;
        if state.faults.lose == Some(number) || state.faults.lose_from.is_some_and(|from| number >= from) {
            return Ok(());
        }
        let at = offset as usize;
        state.cache[at..at + bytes.len()].copy_from_slice(&bytes);
        state.pending.push((at, bytes));
        Ok(())
    }
}

impl ReadBlocks for Disk {
    fn size(&self) -> u64 {
        self.size
    }

    fn sector_size(&self) -> u64 {
        self.sector_size
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let length = buffer.len() as u64;
        assert_access(buffer, offset, self.size);
        let state = self.begin(Operation::Read { offset, length })?;
        let at = offset as usize;
        buffer.copy_from_slice(&state.cache[at..at + buffer.len()]);
        Ok(())
    }
}

impl WriteBlocks for Disk {
    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<()> {
        let length = buffer.len() as u64;
        assert_access(buffer, offset, self.size);
        self.change(Operation::Write { offset, length }, offset, buffer.to_vec())
    }

    fn zero(&self, offset: u64, length: u64) -> io::Result<()> {
        assert!((offset | length).is_multiple_of(512));
        if self.state().faults.no_zeroing {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.change(Operation::Zero { offset, length }, offset, vec![0; length as usize])
    }

    fn flush(&self) -> io::Result<()> {
        let mut state = self.begin(Operation::Flush)?;
        for (at, bytes) in std::mem::take(&mut state.pending) {
            state.durable[at..at + bytes.len()].copy_from_slice(&bytes);
        }
        Ok(())
    }
}

/// What unbuffered access asks for: aligned address and offset, and an aligned length but at the end of the disk.
fn assert_access(buffer: &[u8], offset: u64, size: u64) {
    let length = buffer.len() as u64;
    assert_eq!(buffer.as_ptr().addr() % 512, 0, "address");
    assert_eq!(offset % 512, 0, "offset {offset}");
    assert_eq!(length % 512, 0, "length {length}");
    let block = offset.is_multiple_of(4096) && (length.is_multiple_of(4096) || offset + length == size);
    assert!(block, "{length} bytes at {offset}");
}
