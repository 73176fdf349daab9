//! Which of a disk is read before it is written: all of it, nothing, or what a map and a sample name. Must not decide
//! by anything that a disk says of itself.

use std::sync::atomic::{AtomicU64, Ordering};

use cloud_machine_protocol::{Extent, Tier};

use super::{Options, boot_head};
use crate::{
    AlignedBuffer, ImageError, LEAF_SIZE,
    blocks::Target,
    claim, extent,
    goal::{Goal, Piece},
    layout::{UNIT, Units},
};

/// Leaves that are looked at before a disk is compared or streamed.
const PROBES: u64 = 64;
/// With more wrong ones among them than this, everything is written. On the disks that were measured that is faster from
/// 10 to 20 % on; up to here comparing costs little more, writes and fetches less, and tells what had differed.
const WRONG_PROBES: u64 = PROBES * 3 / 10;
/// One leaf of so many that follow each other is read although the map calls it clean.
const SAMPLE: u64 = 100;

/// How a disk is made equal to an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum CompareMode<'a> {
    /// Compare, unless a probe of some leaves finds many of them wrong; then stream.
    #[default]
    Auto,
    /// Compare everything.
    Scan,
    /// Write everything.
    Stream,
    /// Compare what a map names and a sample of the rest; when the sample shows that the map is wrong, everything.
    Hinted {
        /// Ranges that may differ from the image, in any order. They must come from whoever owns the disk's storage,
        /// never from the machine that used it.
        dirty: &'a [Extent],
        /// Chooses the sample.
        seed: u64,
    },
}

/// What is read before it is written, once that is decided.
#[derive(Debug)]
pub(super) enum ResolvedMode {
    Scan,
    Stream,
    Hinted(Listed),
}

impl ResolvedMode {
    pub(super) fn choose(
        options: Options<'_>,
        goal: Goal<'_>,
        target: Target<'_>,
        body: Extent,
    ) -> Result<Self, ImageError> {
        Ok(match options.compare_mode {
            CompareMode::Hinted { dirty, seed } => Self::Hinted(Listed::new(body, dirty, seed)),
            CompareMode::Auto if is_mostly_wrong(goal, target, body, options.threads)? => Self::Stream,
            CompareMode::Auto | CompareMode::Scan => Self::Scan,
            CompareMode::Stream => Self::Stream,
        })
    }

    pub(super) fn units(&self, body: Extent) -> Units<'_> {
        match self {
            Self::Hinted(listed) => Units::Listed(&listed.ranges),
            Self::Scan | Self::Stream => Units::All(body),
        }
    }

    pub(super) fn compares(&self) -> bool {
        !matches!(self, Self::Stream)
    }

    pub(super) fn tier(&self) -> Tier {
        match self {
            Self::Scan => Tier::Scan,
            Self::Stream => Tier::Stream,
            Self::Hinted(_) => Tier::Hinted,
        }
    }

    /// Whether any of `changed`, whole leaves, is one that the map calls clean.
    pub(super) fn is_contradicted_by(&self, changed: &[Extent]) -> bool {
        matches!(self, Self::Hinted(listed) if listed.is_contradicted_by(changed))
    }
}

/// Whether so many of some leaves with data are wrong that comparing the rest would only cost time.
fn is_mostly_wrong(goal: Goal<'_>, target: Target<'_>, body: Extent, threads: usize) -> Result<bool, ImageError> {
    let Some(manifest) = goal.image else { return Ok(false) };
    let data: Vec<u64> = manifest.entries().iter().filter(|entry| !entry.zero).map(|entry| entry.offset()).collect();
    let count = data.len() as u64;
    // Of a few leaves each would be read twice.
    if count < 4 * PROBES {
        return Ok(false);
    }
    let wrong = AtomicU64::new(0);
    let buffer = || AlignedBuffer::new(LEAF_SIZE as usize);
    claim::each(threads, PROBES, buffer, |buffer, probe| {
        // Anywhere in its part of the disk, so that no regular pattern escapes.
        let part = count / PROBES;
        let offset = data[(probe * part + pseudorandom(0, probe) % part) as usize];
        let length = LEAF_SIZE.min(extent::end(&body).saturating_sub(offset));
        if offset < body.offset || length == 0 {
            return Ok(());
        }
        let bytes = &mut buffer[..length as usize];
        target.read(bytes, offset)?;
        let right = |piece: &Piece| goal.look(piece, piece.of(bytes, offset)).is_some();
        if !goal.pieces(Extent { offset, length }).iter().all(right) {
            wrong.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    })?;
    Ok(wrong.into_inner() > WRONG_PROBES)
}

/// What a map and a sample name of `body`.
#[derive(Debug)]
pub(super) struct Listed {
    /// Ranges within units, sorted, apart from each other.
    ranges: Vec<Extent>,
    /// Leaves that the map does not name, by their first byte.
    sample: Vec<u64>,
}

impl Listed {
    fn new(body: Extent, dirty: &[Extent], seed: u64) -> Self {
        let mut leaves: Vec<u64> = Vec::new();
        for range in dirty {
            let end = range.offset.saturating_add(range.length).min(extent::end(&body));
            let start = (range.offset / LEAF_SIZE * LEAF_SIZE).max(body.offset);
            leaves.extend((start..end.max(start)).step_by(LEAF_SIZE as usize));
        }
        leaves.sort_unstable();
        leaves.dedup();
        let groups = 0..body.length.div_ceil(SAMPLE * LEAF_SIZE);
        let mut sample: Vec<u64> = groups.map(|group| body.offset + sampled(group, seed) * LEAF_SIZE).collect();
        sample.retain(|leaf| *leaf < extent::end(&body) && leaves.binary_search(leaf).is_err());
        leaves.extend(&sample);
        leaves.sort_unstable();
        Self { ranges: within_units(&leaves, extent::end(&body)), sample }
    }

    fn is_contradicted_by(&self, changed: &[Extent]) -> bool {
        let leaves = |range: &Extent| (range.offset..extent::end(range)).step_by(LEAF_SIZE as usize);
        changed.iter().flat_map(leaves).any(|leaf| self.sample.binary_search(&leaf).is_ok())
    }
}

/// Bytes of the sample that is read of a disk of `size` bytes of which a map names nothing, without the boot head. `seed`
/// chose it.
#[must_use]
pub fn sampled_bytes(size: u64, seed: u64) -> u64 {
    let [first, last] = boot_head(size);
    let body = Extent { offset: first.length, length: last.offset.saturating_sub(first.length) };
    Listed::new(body, &[], seed).ranges.iter().map(|range| range.length).sum()
}

/// The leaf of a group of [`SAMPLE`] that is read, counted from the first of all groups.
fn sampled(group: u64, seed: u64) -> u64 {
    group * SAMPLE + pseudorandom(seed, group) % SAMPLE
}

fn pseudorandom(seed: u64, index: u64) -> u64 {
    let mut number = [0; 8];
    blake3::Hasher::new().update(&seed.to_le_bytes()).update(&index.to_le_bytes()).finalize_xof().fill(&mut number);
    u64::from_le_bytes(number)
}

/// Joins leaves that follow each other in one unit. The last leaf may be cut off by `end`.
fn within_units(leaves: &[u64], end: u64) -> Vec<Extent> {
    let mut ranges: Vec<Extent> = Vec::new();
    for leaf in leaves {
        let length = LEAF_SIZE.min(end - leaf);
        match ranges.last_mut() {
            Some(last) if extent::end(last) == *leaf && last.offset / UNIT == leaf / UNIT => last.length += length,
            _ => ranges.push(Extent { offset: *leaf, length }),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: Extent = Extent { offset: LEAF_SIZE, length: 1000 * LEAF_SIZE + 512 };

    #[test]
    fn dirty_ranges_are_rounded_out_to_leaves_inside_the_body() {
        let dirty = [
            Extent { offset: 0, length: 3 },
            Extent { offset: 5 * LEAF_SIZE + 7, length: 1 },
            Extent { offset: 5 * LEAF_SIZE, length: LEAF_SIZE + 1 },
            Extent { offset: 15 * LEAF_SIZE, length: 2 * LEAF_SIZE },
            Extent { offset: 1001 * LEAF_SIZE, length: u64::MAX },
            Extent { offset: u64::MAX, length: u64::MAX },
        ];
        let listed = Listed::new(BODY, &dirty, 1);
        let sampled = |range: &Extent| listed.sample.binary_search(&range.offset).is_ok();
        let dirty: Vec<Extent> = listed.ranges.iter().filter(|range| !sampled(range)).copied().collect();
        // Leaves 15 and 16 lie in two units; the last leaf is cut off where the body ends.
        let expected = [(5, 2 * LEAF_SIZE), (15, LEAF_SIZE), (16, LEAF_SIZE), (1001, 512)]
            .map(|(leaf, length)| Extent { offset: leaf * LEAF_SIZE, length });
        assert_eq!(dirty, expected);
    }

    #[test]
    fn about_a_hundredth_of_the_rest_is_sampled_and_another_seed_takes_others() {
        let first = Listed::new(BODY, &[], 1);
        let second = Listed::new(BODY, &[], 2);
        for listed in [&first, &second] {
            assert!((2..30).contains(&listed.sample.len()), "{}", listed.sample.len());
        }
        assert_ne!(first.sample, second.sample);
        assert!(first.is_contradicted_by(&[Extent { offset: first.sample[0], length: LEAF_SIZE }]));
        assert!(!first.is_contradicted_by(&[]));
    }

    #[test]
    fn what_the_map_names_is_no_sample() {
        let listed = Listed::new(BODY, &[BODY], 1);
        assert!(listed.sample.is_empty());
        assert_eq!(listed.ranges.iter().map(|range| range.length).sum::<u64>(), BODY.length);
    }
}
