//! What is written between two flushes, and what of it a power cut leaves. Must not know why the power went.

use std::ops::Range;

const SECTOR: usize = 512;

/// What is left of an epoch that was not flushed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Survival {
    /// None of its writes.
    Nothing,
    /// All of them.
    All,
    /// In their order, each of them whole, torn or absent, as the seed has it.
    Torn(u64),
    /// In any order, each of them whole, torn or absent, as the seed has it.
    Reordered(u64),
}

/// The writes of one epoch, in their order.
#[derive(Default)]
pub(crate) struct Epoch(Vec<(usize, Vec<u8>)>);

impl Epoch {
    pub(crate) fn push(&mut self, at: usize, bytes: Vec<u8>) {
        self.0.push((at, bytes));
    }

    /// Puts on the medium what survives.
    pub(crate) fn land(mut self, medium: &mut [u8], survival: Survival) {
        let mut random = match survival {
            Survival::Nothing => return,
            Survival::All => {
                for (at, bytes) in self.0 {
                    medium[at..at + bytes.len()].copy_from_slice(&bytes);
                }
                return;
            }
            Survival::Torn(seed) => Random::new(seed),
            Survival::Reordered(seed) => {
                let mut random = Random::new(seed);
                for index in (1..self.0.len()).rev() {
                    self.0.swap(index, random.below(index + 1));
                }
                random
            }
        };
        for (at, bytes) in self.0 {
            for run in torn(&mut random, bytes.len()) {
                medium[at + run.start..at + run.end].copy_from_slice(&bytes[run]);
            }
        }
    }
}

/// The parts of a write of so many bytes that reach the medium: all of it, nothing, its beginning, its end, or runs of
/// sectors. Disks write sectors whole.
pub(crate) fn torn(random: &mut Random, length: usize) -> Vec<Range<usize>> {
    let sectors = length / SECTOR;
    let at = random.below(sectors + 1) * SECTOR;
    let only = |start, end| Vec::from([Range { start, end }]);
    match random.below(6) {
        0 => Vec::new(),
        1 => only(0, length),
        2 => only(0, at),
        3 => only(at, length),
        _ => runs(random, sectors, length),
    }
}

fn runs(random: &mut Random, sectors: usize, length: usize) -> Vec<Range<usize>> {
    let longest = 1 + random.below(sectors.max(1));
    let (mut runs, mut next) = (Vec::new(), random.below(longest) * SECTOR);
    while next < length {
        let end = (next + (1 + random.below(longest)) * SECTOR).min(length);
        runs.push(next..end);
        next = end + (1 + random.below(longest)) * SECTOR;
    }
    runs
}

/// Numbers that nobody chose, the same for the same seed.
pub(crate) struct Random(blake3::OutputReader);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof())
    }

    /// Any of the numbers below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        (u64::from_le_bytes(bytes) % bound as u64) as usize
    }
}

#[test]
fn a_torn_write_is_whole_absent_a_beginning_an_end_or_runs_and_always_sectors() {
    let mut random = Random::new(1);
    let mut seen = [0; 5];
    for _ in 0..2000 {
        let runs = torn(&mut random, 8 * SECTOR);
        assert!(runs.iter().all(|run| run.start % SECTOR == 0 && run.end % SECTOR == 0 && run.end <= 8 * SECTOR));
        assert!(runs.windows(2).all(|pair| pair[0].end < pair[1].start));
        let written: usize = runs.iter().map(Range::len).sum();
        let kind = match (written, runs.first()) {
            (0, _) => 0,
            (4096, _) => 1,
            _ if runs.len() > 1 => 4,
            (_, Some(run)) if run.start == 0 => 2,
            _ => 3,
        };
        seen[kind] += 1;
    }
    assert!(seen.iter().all(|count| *count > 50), "{seen:?}");
}

#[test]
fn a_later_write_over_an_earlier_one_may_land_first() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..64 {
        let mut epoch = Epoch::default();
        epoch.push(0, vec![1; SECTOR]);
        epoch.push(0, vec![2; SECTOR]);
        let mut medium = vec![0; SECTOR];
        epoch.land(&mut medium, Survival::Reordered(seed));
        seen.insert(medium[0]);
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [0, 1, 2]);
}
