//! `cp`: files to a machine and from it, by the system's scp, which shows its progress on a terminal. Whoever copies logs
//! in, so the machine counts as used from then on.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{ExitCode, ExitStatus},
};

use cloud_machine_child::{ForegroundEnd, run_in_foreground};
use cloud_machine_driver::{console::Lines, drivers, ssh::on_machine};
use cloud_machine_operation::{Operations, access};
use cloud_machine_protocol::MachineName;
use cloud_machine_store::Store;

use crate::{
    arguments::{Cp, Operand},
    failure::{Failure, Kind},
    interrupted::exit_code_of,
    ui::Ui,
};

/// Bytes of what scp and its ssh say that are shown; a machine can make them say more.
const MAX_SAID: usize = 64 << 10;

/// What an end before the end leaves.
const IN_PART: &str = "a file may be there in part; the same call copies it anew";

pub(crate) fn run(ui: &Ui, store: &Store, cp: &Cp) -> Result<ExitCode, Failure> {
    let (machine, paths) = sides(&cp.operands)?;
    for path in cp.operands.iter().rev().skip(1) {
        if let Operand::Here(path) = path {
            is_there(path, cp.recursive)?;
        }
    }
    let record = Operations { store, drivers: &drivers(), observer: &() }.mark_used(&machine)?;
    let mut scp = access::copy(store, &record)?;
    let flags = [(cp.recursive, "-r"), (cp.preserve, "-p"), (!ui.shows_progress(), "-q")];
    scp.args(flags.iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag));
    scp.arg("--").args(paths);
    let mut said = Said { ui, lines: Lines::default(), left: MAX_SAID };
    // Its bar is on standard output, and only for a program in the foreground.
    let end = run_in_foreground(&mut scp, &mut |piece| said.add(piece)).map_err(Failure::failed)?;
    said.finish();
    match end {
        ForegroundEnd::Ended(status) if status.success() => Ok(ExitCode::SUCCESS),
        ForegroundEnd::Ended(status) => Err(unfinished(&machine, status)),
        ForegroundEnd::Interrupted(signal) => {
            ui.failure(None, &cut_off(&machine, signal));
            Ok(ExitCode::from(exit_code_of(signal)))
        }
    }
}

/// What scp and its ssh say on standard error, which is the machine's word in part: escaped and bounded.
struct Said<'a> {
    ui: &'a Ui,
    lines: Lines,
    /// Bytes that are shown still.
    left: usize,
}

impl Said<'_> {
    fn add(&mut self, piece: &[u8]) {
        let shown = piece.get(..self.left).unwrap_or(piece);
        self.lines.add(shown, &mut |line| self.ui.said(&line));
        let was_left = self.left > 0;
        self.left -= shown.len();
        if was_left && self.left == 0 {
            self.lines.finish(&mut |line| self.ui.said(&line));
            self.ui.said("more of what the machine says during the copy is not shown");
        }
    }

    fn finish(mut self) {
        self.lines.finish(&mut |line| self.ui.said(&line));
    }
}

/// The machine, and all paths as scp takes them.
fn sides(operands: &[Operand]) -> Result<(MachineName, Vec<OsString>), Failure> {
    let usage = |text: &str| Failure::new(Kind::Usage, text.to_owned());
    let Some((to, from)) = operands.split_last() else { return Err(usage("nothing to copy was named")) };
    let machines: Vec<&MachineName> = operands.iter().filter_map(|operand| operand.machine()).collect();
    let machine = match machines.split_first() {
        None => return Err(usage("neither side is a machine").hint("a path on a machine is NAME:PATH")),
        Some((first, rest)) if rest.iter().all(|other| other == first) => *first,
        Some(_) => return Err(usage("more than one machine is named").hint("copy to a file of this host first")),
    };
    if from.iter().any(|operand| operand.machine().is_some() == to.machine().is_some()) {
        return Err(usage("what is copied has to be on the other side than where it is copied to")
            .hint("`cloud-machine exec NAME -- cp FROM TO` copies on a machine"));
    }
    if from.iter().any(|operand| matches!(operand, Operand::On(_, path) if path.is_empty())) {
        return Err(usage("the machine's side names no file"));
    }
    Ok((machine.clone(), operands.iter().map(Operand::word).collect()))
}

impl Operand {
    fn machine(&self) -> Option<&MachineName> {
        match self {
            Self::Here(_) => None,
            Self::On(name, _) => Some(name),
        }
    }

    fn word(&self) -> OsString {
        match self {
            // Otherwise scp takes a name with a colon for another host's.
            Self::Here(path) if path.is_relative() => PathBuf::from(".").join(path).into_os_string(),
            Self::Here(path) => path.clone().into_os_string(),
            Self::On(_, path) => on_machine(path).into(),
        }
    }
}

fn is_there(path: &Path, recursive: bool) -> Result<(), Failure> {
    let found = fs::metadata(path).map_err(|error| {
        let kind = if error.kind() == io::ErrorKind::NotFound { Kind::NotFound } else { Kind::Failed };
        Failure::during(kind, format!("look at {}", path.display()))(error)
    })?;
    if found.is_dir() && !recursive {
        let text = format!("{} is a folder", path.display());
        return Err(Failure::new(Kind::Usage, text).hint("--recursive copies it with all that is in it"));
    }
    if !found.is_dir() && !found.is_file() {
        // scp would wait for a pipe, and copy a disk.
        return Err(Failure::failed(format!("{} is no ordinary file", path.display())));
    }
    Ok(())
}

fn unfinished(machine: &MachineName, status: ExitStatus) -> Failure {
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "neither".to_owned(),
    };
    Failure::failed(format!("the copy with machine {machine} was not finished: scp ended with {how}")).hint(IN_PART)
}

fn cut_off(machine: &MachineName, signal: i32) -> Failure {
    Failure::failed(format!("the copy with machine {machine} was not finished: signal {signal} ended it")).hint(IN_PART)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(words: &[&str]) -> Result<Vec<OsString>, String> {
        let operands: Vec<Operand> = words.iter().map(|word| word.parse().unwrap()).collect();
        sides(&operands).map(|(_, paths)| paths).map_err(|failure| failure.error.to_string())
    }

    #[test]
    fn one_side_is_a_machine_and_names_with_colons_stay_local() {
        assert_eq!(asked(&["./a:b", "/c", "m:/d"]).unwrap(), ["././a:b", "/c", "127.0.0.1:/d"]);
        assert_eq!(asked(&["m:/d", "m:e", "-o"]).unwrap(), ["127.0.0.1:/d", "127.0.0.1:e", "./-o"]);
        for (words, reason) in [
            (&["a", "b"][..], "neither side is a machine"),
            (&["m:a", "n:b"], "more than one machine is named"),
            (&["m:a", "m:b"], "what is copied has to be on the other side than where it is copied to"),
            (&["a", "m:b", "m:c"], "what is copied has to be on the other side than where it is copied to"),
            (&["m:", "b"], "the machine's side names no file"),
        ] {
            assert_eq!(asked(words).unwrap_err(), reason, "{words:?}");
        }
    }
}
