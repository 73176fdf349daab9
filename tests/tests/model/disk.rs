//! A disk of a few sectors with a volatile cache: what is flushed is durable, of what is not a power cut leaves anything.
//! Must not know who writes.

use crate::random::Random;

/// Sectors of the disk. 0: MBR. 1, 2: primary table. 3: gap. 4 to 15: the body of the image, in leaves of two, with a leaf
/// of zeros and the identity's files. 16 to 19: behind the image. 20 to 23: last leaf, in it 22 and 23: backup table.
pub(crate) const SECTORS: usize = 24;
/// A bit for each sector.
pub(crate) const ALL: u32 = (1 << SECTORS) - 1;
/// Where the identity is written through the mounted root.
pub(crate) const IDENTITY: std::ops::Range<usize> = 13..15;
/// The first leaf.
pub(crate) const FIRST: std::ops::Range<usize> = 0..4;
/// The last leaf.
pub(crate) const LAST: std::ops::Range<usize> = 20..24;
/// What is compared and written at once; together all between first and last leaf.
pub(crate) const UNITS: [std::ops::Range<usize>; 4] = [4..8, 8..12, 12..16, 16..20];
/// The unit behind the image.
pub(crate) const TAIL: usize = 3;

pub(crate) const ZERO: u8 = 0;
/// The protective MBR while a rewrite goes on.
pub(crate) const INTERIM: u8 = 1;
/// A table that a job made.
pub(crate) const TENANT_TABLE: u8 = 0x7f;

/// What an image of this generation holds where it holds anything.
pub(crate) fn image(generation: u8) -> u8 {
    0x80 | generation
}

/// A file of the identity with this key.
pub(crate) fn identity(key: u8) -> u8 {
    0xc0 | (key & 0x3f)
}

/// What a rewrite with this image leaves in a sector.
pub(crate) fn wanted(generation: u8, sector: usize) -> u8 {
    match sector {
        3 | 6 | 7 | 16..=21 => ZERO,
        _ => image(generation),
    }
}

pub(crate) fn mask(range: std::ops::Range<usize>) -> u32 {
    range.fold(0, |mask, sector| mask | 1 << sector)
}

/// A claim on the disk that units of work are done. No shipped code reads or writes one; seeded faults do.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Marker {
    pub(crate) request: u8,
    pub(crate) units: u8,
    /// Whether an agent made it: a job can compute a checksum, and no message authentication code.
    pub(crate) authentic: bool,
}

#[derive(Clone, Copy)]
struct Write {
    at: u8,
    length: u8,
    bytes: [u8; 4],
}

#[derive(Clone)]
pub(crate) struct Disk {
    pub(crate) durable: [u8; SECTORS],
    /// What reads see, those past the page cache as well.
    pub(crate) cache: [u8; SECTORS],
    epoch: Vec<Write>,
    pub(crate) marker: Marker,
}

impl Disk {
    pub(crate) fn new(bytes: [u8; SECTORS]) -> Self {
        Self { durable: bytes, cache: bytes, epoch: Vec::with_capacity(64), marker: Marker::default() }
    }

    pub(crate) fn write(&mut self, at: usize, bytes: &[u8]) {
        self.cache[at..at + bytes.len()].copy_from_slice(bytes);
        let mut write = Write { at: at as u8, length: bytes.len() as u8, bytes: [0; 4] };
        write.bytes[..bytes.len()].copy_from_slice(bytes);
        self.epoch.push(write);
    }

    pub(crate) fn flush(&mut self) {
        self.epoch.clear();
        self.durable = self.cache;
    }

    /// A flush that says yes and forgets.
    pub(crate) fn vanish(&mut self) {
        self.epoch.clear();
        self.cache = self.durable;
    }

    /// The power goes: nothing, all, or some sectors of some writes in any order are left of the epoch.
    pub(crate) fn cut(&mut self, random: &mut Random) {
        match random.below(4) {
            0 => {}
            1 => self.durable = self.cache,
            _ => {
                for index in (1..self.epoch.len()).rev() {
                    self.epoch.swap(index, random.below(index + 1));
                }
                for write in &self.epoch {
                    // Whole, absent, or any of its sectors.
                    let torn = match random.below(4) {
                        0 => 0,
                        1 => 0xf,
                        _ => random.next() as u8,
                    };
                    for index in (0..usize::from(write.length)).filter(|index| torn >> index & 1 == 1) {
                        self.durable[usize::from(write.at) + index] = write.bytes[index];
                    }
                }
            }
        }
        self.epoch.clear();
        self.cache = self.durable;
    }

    /// Whether firmware would find a table: the primary one or the backup, whole.
    pub(crate) fn has_table(&self) -> bool {
        let is_table = |first: u8, second: u8| first == second && (first == TENANT_TABLE || first & 0xc0 == 0x80);
        is_table(self.durable[1], self.durable[2]) || is_table(self.durable[23], self.durable[22])
    }
}
