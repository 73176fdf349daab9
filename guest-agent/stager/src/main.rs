//! `cloud-machine-recovery`: the recovery partition of the machine that runs, for its host. Chooses by its arguments what to do.

use std::{
    io::{self, BufReader, Write},
    os::fd::AsFd,
    process::ExitCode,
};

use cloud_machine_protocol::{causes, escaped};
use cloud_machine_stager::{Found, SILENCE, StagerError, Stream};

const USAGE: &str = "\
cloud-machine-recovery puts a request to reimage this machine into its recovery partition, and says what became of it. The agent in
the machine's initramfs begins with a staged request at the next start. `cloud-machine reimage` on the host calls this program.

usage: cloud-machine-recovery [--disk NAME] show
       cloud-machine-recovery [--disk NAME] stage <REQUEST
       cloud-machine-recovery [--disk NAME] cancel TOKEN
       cloud-machine-recovery [--disk NAME] report TOKEN
       cloud-machine-recovery --version | --help

  show         where the partition is and what is staged, as JSON; a request that this version does not understand is a warning alone
  stage        stages the request on standard input: a line of JSON, then the boot files, the volume and the packed image;
               ends with an error when nothing of it comes for a minute
  cancel       takes the request with this token away before the machine has begun with it, or where nothing goes on with it: the
               machine's own system was started, and its agent is not there; one that is written but for that is done then
  report       the report of the request with this token, as JSON
  --disk NAME  that of this disk, such as vda; else that of the disk with the root filesystem, and where that is not one disk
               the only one that there is; one on a loop device counts only by its name

examples:
  cloud-machine-recovery show | jq .staged
  cloud-machine-recovery cancel \"$(cloud-machine-recovery show | jq -r .staged.token)\"

exit codes: 1 it was not done, and standard error says why; 2 wrong usage
";
/// Bytes of the request that are read at once.
const PIECE: usize = 1 << 20;

#[derive(Debug, PartialEq, Eq)]
enum Order {
    Help,
    Version,
    Do(Option<String>, Task),
}

#[derive(Debug, PartialEq, Eq)]
enum Task {
    Show,
    Stage,
    Cancel(String),
    Report(String),
}

fn main() -> ExitCode {
    let answer = match order(std::env::args().skip(1)) {
        Ok(Order::Help) => Ok(USAGE.as_bytes().to_vec()),
        Ok(Order::Version) => Ok(format!("cloud-machine-recovery {}\n", env!("CARGO_PKG_VERSION")).into_bytes()),
        Ok(Order::Do(disk, task)) => answer(disk.as_deref(), &task),
        Err(wrong) => {
            tell(&format!("error: {}\n\n{USAGE}", escaped(&wrong)));
            return ExitCode::from(2);
        }
    };
    let written = answer.and_then(|bytes| io::stdout().write_all(&bytes).map_err(StagerError::Write));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&format!("error: {}\n", escaped(&causes(&error))));
            ExitCode::FAILURE
        }
    }
}

fn answer(disk: Option<&str>, task: &Task) -> Result<Vec<u8>, StagerError> {
    let found = Found::find(disk)?;
    let mut answer = match task {
        Task::Show => {
            if let Some(error) = found.not_understood()? {
                tell(&format!("warning: {}; the next request takes its place\n", escaped(&causes(&error))));
            }
            serde_json::to_vec(&found.tell()?).map_err(StagerError::Encode)?
        }
        Task::Stage => {
            let stream = io::stdin().as_fd().try_clone_to_owned().map_err(StagerError::Read)?;
            let staged = found.stage(&mut BufReader::with_capacity(PIECE, Stream::new(stream, SILENCE)))?;
            serde_json::to_vec(&staged).map_err(StagerError::Encode)?
        }
        Task::Cancel(token) => {
            found.cancel(token)?;
            return Ok(Vec::new());
        }
        Task::Report(token) => found.report(token)?,
    };
    answer.push(b'\n');
    Ok(answer)
}

fn order(arguments: impl Iterator<Item = String>) -> Result<Order, String> {
    let (mut disk, mut words, mut arguments) = (None, Vec::new(), arguments);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--help" | "-h" => return Ok(Order::Help),
            "--version" => return Ok(Order::Version),
            "--disk" => match arguments.next().filter(|name| is_name(name)) {
                Some(name) => disk = Some(name),
                None => return Err("--disk needs the kernel's name of a disk, such as vda".to_owned()),
            },
            option if option.starts_with('-') => return Err(format!("unknown argument {option}")),
            _ => words.push(argument),
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let task = match words.as_slice() {
        ["show"] => Task::Show,
        ["stage"] => Task::Stage,
        ["cancel", token] => Task::Cancel((*token).to_owned()),
        ["report", token] => Task::Report((*token).to_owned()),
        ["cancel" | "report"] => return Err(format!("{} needs the token of a request", words.join(" "))),
        [] => return Err("there is nothing to do".to_owned()),
        _ => return Err(format!("unknown arguments {}", words.join(" "))),
    };
    Ok(Order::Do(disk, task))
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with(['.', '-']) && !name.contains('/')
}

/// Without standard error there is nobody to tell.
fn tell(text: &str) {
    io::stderr().write_all(text.as_bytes()).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_say_what_to_do() {
        let of = |words: &[&str]| order(words.iter().map(ToString::to_string));
        assert_eq!(of(&["show"]), Ok(Order::Do(None, Task::Show)));
        assert_eq!(of(&["--disk", "loop1", "stage"]), Ok(Order::Do(Some("loop1".to_owned()), Task::Stage)));
        assert_eq!(of(&["cancel", "ab"]), Ok(Order::Do(None, Task::Cancel("ab".to_owned()))));
        assert_eq!(of(&["report", "ab"]), Ok(Order::Do(None, Task::Report("ab".to_owned()))));
        assert_eq!((of(&["--help"]), of(&["show", "--version"])), (Ok(Order::Help), Ok(Order::Version)));
        for (words, expected) in [
            (&[][..], "nothing to do"),
            (&["cancel"], "cancel needs the token"),
            (&["show", "x"], "unknown arguments show x"),
            (&["--disk"], "--disk needs"),
            (&["--disk", "../sda", "show"], "--disk needs"),
            (&["--force", "stage"], "unknown argument --force"),
        ] {
            let error = of(words).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
