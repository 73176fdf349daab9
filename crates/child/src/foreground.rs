//! A program that draws on this program's terminal, such as a bar: it stays in the foreground group, what it says on standard error
//! is handed to the caller, and it ends with this program. Must not know what a line of it means.

use std::process::{Command, ExitStatus, Stdio};

use super::{ChildError, Group, Stream, interrupt::Held, wait};

/// Pieces that a pipe holds at most, as it is made.
const PIECES: usize = 64;

/// How a program in the foreground ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForegroundEnd {
    /// By itself.
    Ended(ExitStatus),
    /// By this signal, which came to this program.
    Interrupted(i32),
}

/// Runs a program with this program's terminal and in its group, to its end or until a signal asks this program to end. `errors`
/// gets what it says on standard error, piece by piece. Its own children are its own to end when it is asked to by SIGTERM.
///
/// # Errors
/// [`ChildError::Run`] when it cannot be started or watched.
pub fn run_in_foreground(command: &mut Command, errors: &mut dyn FnMut(&[u8])) -> Result<ForegroundEnd, ChildError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |source| ChildError::Run { program: program.clone(), source };
    // Before the start, so that no signal can end this program and leave the child.
    let held = Held::begin().map_err(failed)?;
    let mut group = Group::spawn(command.stderr(Stdio::piped()), true).map_err(failed)?;
    let mut said = [Stream::new(group.child.stderr.take()).map_err(failed)?];
    loop {
        let has_ended = wait(&group, &held, &said, None).map_err(failed)?;
        // Once it has ended, what lies in the pipe is all that counts: somebody else may hold it open and write on.
        let pieces = if has_ended { PIECES } else { 1 };
        for stream in &mut said {
            for _ in 0..pieces {
                let goes_on = stream.read().map_err(failed)?;
                errors(&std::mem::take(&mut stream.received));
                if !goes_on {
                    break;
                }
            }
        }
        // A terminal's ctrl-c reaches both: what ended it is the signal, not its own exit code.
        if let Some(signal) = held.take() {
            group.end().map_err(failed)?;
            return Ok(ForegroundEnd::Interrupted(signal));
        }
        if has_ended {
            return group.end().map(ForegroundEnd::Ended).map_err(failed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> (ForegroundEnd, String) {
        let mut said = Vec::new();
        let ended =
            run_in_foreground(Command::new("sh").args(["-c", script]), &mut |piece| said.extend_from_slice(piece));
        (ended.unwrap(), String::from_utf8(said).unwrap())
    }

    #[test]
    fn it_stays_in_the_group_of_this_program_and_what_it_says_is_handed_over() {
        let (ended, said) = shell("cut -d' ' -f5 /proc/self/stat >&2; echo end >&2; exit 3");
        let own = rustix::process::getpgrp().as_raw_nonzero();
        assert_eq!(said, format!("{own}\nend\n"));
        assert!(matches!(ended, ForegroundEnd::Ended(status) if status.code() == Some(3)), "{ended:?}");
    }

    #[test]
    fn what_it_leaves_behind_does_not_hold_the_caller() {
        let (ended, said) = shell("sleep 1000 & echo $! >&2");
        assert!(matches!(ended, ForegroundEnd::Ended(status) if status.success()), "{ended:?}");
        let left = said.trim().parse().ok().and_then(rustix::process::Pid::from_raw).unwrap();
        rustix::process::kill_process(left, rustix::process::Signal::KILL).unwrap();
    }
}
