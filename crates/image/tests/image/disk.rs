//! A disk in memory with a volatile cache. Owns the faults: it fails, stops, lies and forgets where a test says so.
//! Must not know what is written to it.

use std::{
    io,
    sync::{Mutex, MutexGuard},
};

use cloud_machine_image::{ReadBlocks, WriteBlocks};

use crate::epoch::{Epoch, Random, Survival, torn};

/// One operation as the disk saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Read { offset: u64, length: u64 },
    Write { offset: u64, length: u64 },
    Zero { offset: u64, length: u64 },
    Discard { offset: u64, length: u64 },
    Flush,
}

/// The kinds of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
    Write,
    Zero,
    Discard,
    Flush,
}

impl Operation {
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Read { .. } => Kind::Read,
            Self::Write { .. } => Kind::Write,
            Self::Zero { .. } => Kind::Zero,
            Self::Discard { .. } => Kind::Discard,
            Self::Flush => Kind::Flush,
        }
    }
}

/// A flush that says yes and did not do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// What was written since the flush before is gone at once: reads see what was there before.
    Vanish,
    /// It stays in the cache, where reads find it until the power goes.
    Volatile,
}

/// What goes wrong. Everything is counted from 0.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    /// This operation of any kind fails, once. Of a write or zeroing that fails, any part may be done.
    pub(crate) fail: Option<u64>,
    /// From this operation of the kind on, counted within the kind, every one of them fails; without a kind, all do.
    pub(crate) broken_from: Option<(Option<Kind>, u64)>,
    /// The power goes after that many writes and zeroings, at the next one or at the flush that comes before it:
    /// everything later fails.
    pub(crate) cut_after: Option<u64>,
    /// This write or zeroing reports success and does nothing.
    pub(crate) lose: Option<u64>,
    /// And so does this one.
    pub(crate) lose_too: Option<u64>,
    /// From this write or zeroing on, all report success and do nothing.
    pub(crate) lose_from: Option<u64>,
    /// This flush lies.
    pub(crate) lie: Option<(u64, Lie)>,
    /// The disk has no way to zero but writing.
    pub(crate) no_zeroing: bool,
}

impl Faults {
    /// Whether this write or zeroing is lost.
    fn loses(&self, number: u64) -> bool {
        [self.lose, self.lose_too].contains(&Some(number)) || self.lose_from.is_some_and(|from| number >= from)
    }
}

struct State {
    durable: Vec<u8>,
    cache: Vec<u8>,
    /// What was written since the last flush.
    epoch: Epoch,
    log: Vec<Operation>,
    faults: Faults,
    changes: u64,
    flushes: u64,
    /// Changes that came before a flush that was done.
    flushed: u64,
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
                epoch: Epoch::default(),
                log: Vec::new(),
                faults: Faults::default(),
                changes: 0,
                flushes: 0,
                flushed: 0,
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
        state.flushes = 0;
        state.flushed = 0;
    }

    /// Power goes and comes back: of what was not flushed, each write is there, torn or absent, in any order, as `seed`
    /// has it.
    pub(crate) fn power_cycle(&self, seed: u64) {
        self.lose_power(Survival::Reordered(seed));
    }

    /// Power goes and comes back, and of what was not flushed survives what `survival` says. Nothing goes wrong
    /// afterwards.
    pub(crate) fn lose_power(&self, survival: Survival) {
        let mut state = self.state();
        let epoch = std::mem::take(&mut state.epoch);
        epoch.land(&mut state.durable, survival);
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

    /// Flushes that were done since [`Disk::set`].
    pub(crate) fn flushes(&self) -> u64 {
        self.state().flushes
    }

    /// Whether anything that was written since [`Disk::set`] was flushed.
    pub(crate) fn is_durably_changed(&self) -> bool {
        self.state().flushed > 0
    }

    fn begin(&self, operation: Operation) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        if state.dark {
            return Err(io::Error::other("no power"));
        }
        let number = state.log.len() as u64;
        state.log.push(operation);
        if state.faults.fail == Some(number) || state.is_broken(operation.kind()) {
            state.fail_halfway(operation, number);
            return Err(io::Error::other("injected"));
        }
        Ok(state)
    }

    fn change(&self, operation: Operation, offset: u64, bytes: Vec<u8>) -> io::Result<()> {
        let mut state = self.begin(operation)?;
        state.cut_off()?;
        let number = state.changes;
        state.changes += 1;
        if state.faults.loses(number) {
            return Ok(());
        }
        state.write(offset as usize, bytes);
        Ok(())
    }
}

impl State {
    /// Whether an operation of this kind, already in the log, fails for good.
    fn is_broken(&self, kind: Kind) -> bool {
        let Some((broken, from)) = self.faults.broken_from else { return false };
        let is = |one: Kind| broken.is_none_or(|broken| one == broken);
        // The log has this operation already.
        is(kind) && self.log.iter().filter(|one| is(one.kind())).count() as u64 > from
    }

    /// Of a write that fails some sectors may be written.
    fn fail_halfway(&mut self, operation: Operation, number: u64) {
        let (Operation::Write { offset, length } | Operation::Zero { offset, length }) = operation else { return };
        let mut random = Random::new(number);
        for run in torn(&mut random, length as usize) {
            // What the sectors hold after a failed write nobody knows; zeros are as wrong as anything else.
            self.write(offset as usize + run.start, vec![0; run.len()]);
        }
    }

    /// The power goes here, if it is time.
    fn cut_off(&mut self) -> io::Result<()> {
        if self.faults.cut_after == Some(self.changes) {
            self.dark = true;
            return Err(io::Error::other("no power"));
        }
        Ok(())
    }

    fn write(&mut self, at: usize, bytes: Vec<u8>) {
        self.cache[at..at + bytes.len()].copy_from_slice(&bytes);
        self.epoch.push(at, bytes);
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

    /// As real ones: some of the range reads as zero afterwards, some as something else, and some is as it was.
    fn discard(&self, offset: u64, length: u64) -> io::Result<()> {
        if self.state().faults.no_zeroing {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let mut bytes = self.bytes()[offset as usize..(offset + length) as usize].to_vec();
        for (index, piece) in bytes.chunks_mut(4096).enumerate() {
            match index % 3 {
                0 => piece.fill(0),
                1 => piece.fill(0xff),
                _ => {}
            }
        }
        self.change(Operation::Discard { offset, length }, offset, bytes)
    }

    fn flush(&self) -> io::Result<()> {
        let mut state = self.begin(Operation::Flush)?;
        state.cut_off()?;
        let number = state.flushes;
        state.flushes += 1;
        state.flushed = state.changes;
        let epoch = std::mem::take(&mut state.epoch);
        match state.faults.lie {
            Some((lie, Lie::Vanish)) if lie == number => state.cache = state.durable.clone(),
            Some((lie, Lie::Volatile)) if lie == number => {}
            _ => epoch.land(&mut state.durable, Survival::All),
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
