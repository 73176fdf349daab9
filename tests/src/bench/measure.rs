//! Measurements of whole processes: two in turns and their ratio, one alone, and the memory of one. A process that did
//! not do its work is an error, so that no time of a failure is ever taken for a good one.

use std::{
    ffi::{OsStr, OsString},
    fs,
    io::{self, Read, Seek},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

/// GNU time: the kernel's own count of a process's memory, read by a process that is small itself.
const TIME: &str = "/usr/bin/time";

/// A program, how it is called, and what shows that it did its work.
#[derive(Clone, Debug)]
pub struct Subject {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    folder: PathBuf,
    code: i32,
    expected: Vec<String>,
}

/// Two subjects in turns.
#[derive(Clone, Copy, Debug)]
pub struct Ratio {
    /// Median time of the first, in milliseconds.
    pub ours: f64,
    /// Median time of the second, in milliseconds.
    pub peer: f64,
    /// Median of the ratios of the pairs.
    pub median: f64,
    /// Lower and upper end of the 95 % confidence interval of that median.
    pub interval: (f64, f64),
    /// How many pairs.
    pub pairs: usize,
}

/// What one run of a process took.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// From its start until it has ended, in milliseconds.
    pub milliseconds: f64,
    /// User and system time of it and its children, in milliseconds.
    pub processor_milliseconds: f64,
    /// Peak of the resident pages of the largest of them, in MiB.
    pub mebibytes: f64,
}

impl Subject {
    /// `program`, to be called in `folder` with an empty environment but for `PATH`, and to end with exit code 0.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>, folder: impl Into<PathBuf>) -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        Self {
            program: program.into(),
            arguments: Vec::new(),
            environment: vec![("PATH".into(), path)],
            folder: folder.into(),
            code: 0,
            expected: Vec::new(),
        }
    }

    /// With more arguments.
    #[must_use]
    pub fn arguments<I: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = I>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// With a variable.
    #[must_use]
    pub fn variable(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// With the exit code that it ends with.
    #[must_use]
    pub const fn code(mut self, code: i32) -> Self {
        self.code = code;
        self
    }

    /// With a text that it prints, on either output.
    #[must_use]
    pub fn prints(mut self, text: impl Into<String>) -> Self {
        self.expected.push(text.into());
        self
    }

    /// Runs it once and says how long that took, in milliseconds: from the start until the process has ended.
    ///
    /// # Errors
    /// A text with the call and its outputs, when it did not do its work.
    pub fn run(&self) -> Result<f64, String> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        self.called(command)
    }

    /// Runs it once and says how much memory it had at most, in MiB: the peak of its resident pages.
    ///
    /// # Errors
    /// As [`Subject::run`], and when the memory cannot be told.
    pub fn peak(&self, scratch: &Path) -> Result<f64, String> {
        self.cost(scratch).map(|cost| cost.mebibytes)
    }

    /// Runs it once and says what that took. The time has that of starting GNU time in it, some milliseconds.
    ///
    /// # Errors
    /// As [`Subject::peak`].
    pub fn cost(&self, scratch: &Path) -> Result<Cost, String> {
        let mut command = Command::new(TIME);
        let file = scratch.join("cost");
        command.args(["--quiet", "--format=%U %S %M", "--output"]).arg(&file).arg(&self.program).args(&self.arguments);
        let milliseconds = self.called(command)?;
        let text = fs::read_to_string(&file).map_err(|error| format!("read {}: {error}", file.display()))?;
        let numbers: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [user, system, kibibytes] = numbers[..] else {
            return Err(format!("{TIME} printed {text:?}, not three numbers"));
        };
        Ok(Cost { milliseconds, processor_milliseconds: (user + system) * 1000.0, mebibytes: kibibytes / 1024.0 })
    }

    fn called(&self, mut command: Command) -> Result<f64, String> {
        command.env_clear().envs(self.environment.iter().cloned());
        // A file: a pipe would measure how often its reader is woken up as well.
        let failed = |error: io::Error| format!("start {}: {error}", self.program.display());
        let mut output = tempfile::tempfile().map_err(failed)?;
        let streams = [output.try_clone().map_err(failed)?, output.try_clone().map_err(failed)?];
        let [standard, errors] = streams.map(Stdio::from);
        command.current_dir(&self.folder).stdin(Stdio::null()).stdout(standard).stderr(errors);
        let began = Instant::now();
        let status = command.status().map_err(failed)?;
        let took = began.elapsed().as_secs_f64() * 1000.0;
        let mut bytes = Vec::new();
        output.rewind().and_then(|()| output.read_to_end(&mut bytes)).map_err(failed)?;
        let text = String::from_utf8_lossy(&bytes);
        let missing = self.expected.iter().find(|expected| !text.contains(expected.as_str()));
        if status.code() == Some(self.code) && missing.is_none() {
            return Ok(took);
        }
        let lines: Vec<&str> = text.lines().take(20).collect();
        let wanted = missing.map_or_else(|| format!("exit code {}", self.code), |text| format!("{text:?}"));
        let (program, arguments) = (self.program.display(), &self.arguments);
        Err(format!("{program} {arguments:?}: {status}, expected {wanted}\n{}", lines.join("\n")))
    }
}

/// Runs `ours` and `peer` in turns, each first in every other pair, after two pairs that do not count. What disturbs the
/// host disturbs both of a pair, and their ratio little.
///
/// # Errors
/// As [`Subject::run`].
pub fn compare(ours: &Subject, peer: &Subject, pairs: usize) -> Result<Ratio, String> {
    let mut measured = Vec::with_capacity(pairs);
    for pair in 0..pairs + 2 {
        let (one, two) = if pair % 2 == 0 {
            let one = ours.run()?;
            (one, peer.run()?)
        } else {
            let two = peer.run()?;
            (ours.run()?, two)
        };
        if pair >= 2 {
            measured.push((one, two));
        }
    }
    let ratios = sorted(measured.iter().map(|(one, two)| one / two));
    Ok(Ratio {
        ours: median(&sorted(measured.iter().map(|(one, _)| *one))),
        peer: median(&sorted(measured.iter().map(|(_, two)| *two))),
        median: median(&ratios),
        interval: interval(&ratios),
        pairs,
    })
}

/// Median time of `runs` runs, in milliseconds, after one that does not count.
///
/// # Errors
/// As [`Subject::run`].
pub fn alone(subject: &Subject, runs: usize) -> Result<f64, String> {
    subject.run()?;
    let times: Vec<f64> = (0..runs).map(|_| subject.run()).collect::<Result<_, _>>()?;
    Ok(median(&sorted(times.into_iter())))
}

/// The values in order.
#[must_use]
pub fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// The middle of sorted values, at least one.
#[must_use]
pub fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

/// The order statistics between which the median of the population lies with a probability of 95 %: that many of `n`
/// values are below it as heads in `n` throws of a coin.
#[must_use]
pub fn interval(sorted: &[f64]) -> (f64, f64) {
    let count = sorted.len() as f64;
    let rank = (count / 2.0 - 1.96 * count.sqrt() / 2.0).floor().max(0.0) as usize;
    (sorted[rank], sorted[sorted.len() - 1 - rank])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_and_its_interval_are_values_of_the_middle() {
        let values = sorted((0..100).rev().map(f64::from));
        assert_eq!((median(&values), interval(&values)), (49.5, (40.0, 59.0)));
        assert_eq!((median(&values[..3]), interval(&values[..3])), (1.0, (0.0, 2.0)));
    }

    #[test]
    fn a_process_that_did_not_do_its_work_is_no_measurement() {
        let shell = |script: &str| Subject::new("/bin/sh", "/").arguments(["-c", script]).prints("done");
        assert!(shell("echo done").run().unwrap() > 0.0);
        assert!(shell("echo done >&2; exit 3").code(3).run().is_ok());
        for script in ["echo done; exit 1", "true", "kill -9 $$"] {
            assert!(shell(script).run().unwrap_err().contains("expected"), "{script}");
        }
        assert!(compare(&shell("echo done"), &shell("exit 0"), 1).is_err());
    }
}
