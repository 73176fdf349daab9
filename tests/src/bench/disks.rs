//! Writing an image to a disk, ours and the peers', from every state that a disk may be in. Each run begins with the disk
//! made what the row says, so that none profits from the one before.

use std::{
    fs::{self, File},
    io::{Read, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::measure::{Cost, Subject, interval, median, sorted};

/// Bytes of the leaves that a job dirties.
const LEAF: usize = 64 << 10;

/// What is on the disk before a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// Another tenant's bytes, everywhere.
    Old,
    /// The image.
    Clean,
    /// The image, with so many of a thousand leaves of its data changed: every nth one, or one run.
    Dirty {
        /// Leaves of a thousand.
        permille: usize,
        /// Whether they follow each other.
        run: bool,
    },
}

/// One way to write an image, on one kind of disk.
#[derive(Clone, Debug)]
pub struct Row {
    /// What is measured.
    pub name: String,
    /// State of the disk before.
    pub before: Before,
    /// The program.
    pub subject: Subject,
    /// Whether the disk holds the image afterwards, so that exactness can be judged.
    pub writes: bool,
}

/// What the runs of a row gave.
#[derive(Clone, Debug, Serialize)]
pub struct Timed {
    /// What was measured.
    pub name: String,
    /// Median of all rounds.
    pub milliseconds: f64,
    /// Processor time, user and system, median.
    pub processor_milliseconds: f64,
    /// Peak of resident pages, largest.
    pub mebibytes: f64,
    /// Whether every byte of the disk was right after the first run; `None` for a program that writes nothing.
    pub exact: Option<bool>,
    /// Wall times of all rounds, for ratios within a round.
    #[serde(skip)]
    pub rounds: Vec<f64>,
}

/// The ratio of two rows, round by round.
#[derive(Clone, Debug, Serialize)]
pub struct Ratio {
    /// What it says.
    pub name: String,
    /// Median of the ratios of the rounds.
    pub ratio: f64,
    /// Its 95 % interval.
    pub interval: (f64, f64),
    /// At most this.
    pub target: Option<f64>,
}

/// A disk of the benchmark's own: a file, or a loop device over one.
#[derive(Clone, Debug)]
pub struct Stage {
    /// The raw image.
    pub raw: PathBuf,
    /// Where the disk's bytes are.
    pub file: PathBuf,
    /// What the programs write to.
    pub disk: PathBuf,
    data: Vec<u64>,
}

impl Stage {
    /// A stage whose disk has the size of the image and is fully allocated.
    ///
    /// # Errors
    /// A text, when a file cannot be read or made.
    pub fn new(raw: &Path, file: &Path, disk: &Path) -> Result<Self, String> {
        let mut image = File::open(raw).map_err(|error| format!("open {}: {error}", raw.display()))?;
        let (mut data, mut offset, mut leaf) = (Vec::new(), 0, vec![0; LEAF]);
        while image.read_exact(&mut leaf).is_ok() {
            if leaf.iter().any(|byte| *byte != 0) {
                data.push(offset);
            }
            offset += LEAF as u64;
        }
        Ok(Self { raw: raw.to_owned(), file: file.to_owned(), disk: disk.to_owned(), data })
    }

    fn prepare(&self, before: Before) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("prepare {}: {error}", self.file.display());
        let mut disk = fs::OpenOptions::new().write(true).open(&self.disk).map_err(failed)?;
        let mut image = File::open(&self.raw).map_err(failed)?;
        let mut chunk = vec![0xa5; 4 << 20];
        loop {
            let read = image.read(&mut chunk).map_err(failed)?;
            if read == 0 {
                break;
            }
            if before == Before::Old {
                chunk[..read].fill(0xa5);
            }
            disk.write_all(&chunk[..read]).map_err(failed)?;
        }
        if let Before::Dirty { permille, run } = before {
            for offset in self.dirty(permille, run) {
                disk.write_all_at(&[0x5a; 100], offset).map_err(failed)?;
            }
        }
        disk.sync_all().map_err(failed)
    }

    /// First bytes of the leaves that are dirty.
    #[must_use]
    pub fn dirty(&self, permille: usize, run: bool) -> Vec<u64> {
        let count = self.data.len() * permille / 1000;
        if run || count == 0 {
            return self
                .data
                .iter()
                .copied()
                .skip(self.data.len() / 3)
                .chain(self.data.iter().copied())
                .take(count)
                .collect();
        }
        (0..count).map(|index| self.data[index * self.data.len() / count]).collect()
    }

    fn is_exact(&self) -> Result<bool, String> {
        let failed = |error: std::io::Error| format!("compare {}: {error}", self.file.display());
        let (mut image, mut disk) = (File::open(&self.raw).map_err(failed)?, File::open(&self.disk).map_err(failed)?);
        let (mut one, mut two) = (vec![0; 4 << 20], vec![0; 4 << 20]);
        loop {
            let read = image.read(&mut one).map_err(failed)?;
            if read == 0 {
                return Ok(true);
            }
            disk.read_exact(&mut two[..read]).map_err(failed)?;
            if one[..read] != two[..read] {
                return Ok(false);
            }
        }
    }
}

/// Runs all rows `rounds` times in turns, in the other order in every other round, after one round that only judges
/// exactness.
///
/// # Errors
/// When a program did not do its work, or a disk cannot be prepared.
pub fn measure(stage: &Stage, rows: &[Row], rounds: usize, scratch: &Path) -> Result<Vec<Timed>, String> {
    let mut costs: Vec<Vec<Cost>> = vec![Vec::new(); rows.len()];
    let mut exact = vec![None; rows.len()];
    for round in 0..=rounds {
        let mut order: Vec<usize> = (0..rows.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            let row = &rows[index];
            stage.prepare(row.before)?;
            let cost = row.subject.cost(scratch)?;
            if round == 0 {
                exact[index] = if row.writes { Some(stage.is_exact()?) } else { None };
            } else {
                costs[index].push(cost);
            }
        }
        eprintln!("bench: round {round} of {rounds}");
    }
    let timed = |((row, costs), exact): ((&Row, &Vec<Cost>), Option<bool>)| {
        let of = |value: fn(&Cost) -> f64| sorted(costs.iter().map(value));
        Timed {
            name: row.name.clone(),
            milliseconds: median(&of(|cost| cost.milliseconds)),
            processor_milliseconds: median(&of(|cost| cost.processor_milliseconds)),
            mebibytes: of(|cost| cost.mebibytes).last().copied().unwrap_or_default(),
            exact,
            rounds: costs.iter().map(|cost| cost.milliseconds).collect(),
        }
    };
    Ok(rows.iter().zip(&costs).zip(exact).map(timed).collect())
}

/// The ratio of the rows called `one` and `two`.
///
/// # Errors
/// A text, when there is no such row.
pub fn ratio(timed: &[Timed], one: &str, two: &str, target: Option<f64>) -> Result<Ratio, String> {
    let find = |name: &str| {
        timed.iter().find(|row| row.name == name).ok_or_else(|| format!("no row of the benchmark is called {name:?}"))
    };
    let (first, second) = (find(one)?, find(two)?);
    let ratios = sorted(first.rounds.iter().zip(&second.rounds).map(|(one, two)| one / two));
    Ok(Ratio { name: format!("{one} / {two}"), ratio: median(&ratios), interval: interval(&ratios), target })
}
