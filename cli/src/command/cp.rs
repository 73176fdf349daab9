//! `cp`: files to a machine and from it, by the system's scp, which shows its progress on a terminal. Whoever copies logs
//! in, so the machine counts as used from then on.

mod sides;

use std::{
    os::unix::process::ExitStatusExt,
    process::{ExitCode, ExitStatus},
};

use cloud_machine_child::{ForegroundEnd, run_in_foreground};
use cloud_machine_driver::{console::Lines, drivers};
use cloud_machine_operation::{Operations, access};
use cloud_machine_protocol::MachineName;
use cloud_machine_store::Store;

use self::sides::{Sides, can_be_read};
use crate::{
    arguments::{Cp, Operand},
    failure::Failure,
    interrupted::exit_code_of,
    ui::Ui,
};

/// Bytes of what scp and its ssh say that are shown; a machine can make them say more.
const MAX_SAID: usize = 64 << 10;

/// What an end before the end leaves.
const IN_PART: &str = "a file may be there in part; the same call copies it anew";

pub(crate) fn run(ui: &Ui, store: &Store, cp: &Cp) -> Result<ExitCode, Failure> {
    let Sides { machine, words } = Sides::of(&cp.operands)?;
    for path in cp.operands.iter().rev().skip(1) {
        if let Operand::Here(path) = path {
            can_be_read(path, cp.recursive)?;
        }
    }
    let record = Operations { store, drivers: &drivers(), observer: &() }.mark_used(&machine)?;
    let mut scp = access::copy(store, &record)?;
    let flags = [(cp.recursive, "-r"), (cp.preserve, "-p"), (!ui.shows_progress(), "-q")];
    scp.args(flags.iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag));
    scp.arg("--").args(words);
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
