//! Arguments of the commands that go over SSH: `ssh`, `exec`, `cp` and `logs`. Must not look a machine or a file up.

use std::{path::PathBuf, str::FromStr};

use clap::Args;
use cloud_machine_protocol::MachineName;

#[derive(Debug, Args)]
pub(crate) struct Ssh {
    /// Name of the machine
    pub(crate) name: MachineName,
    /// Ask for a terminal there, also for a program
    #[arg(long, short)]
    pub(crate) tty: bool,
    /// Forward a port of this host to where the machine reaches HOST, as ssh(1) has it
    #[arg(long, short = 'L', value_name = "[ADDRESS:]PORT:HOST:HOSTPORT")]
    pub(crate) forward: Vec<String>,
    /// Options of ssh(1), and a program to run on the machine
    #[arg(last = true)]
    pub(crate) arguments: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// Name of the machine
    pub(crate) name: MachineName,
    /// Seconds that the program may take; without it, as long as it likes
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    pub(crate) timeout: Option<u64>,
    /// Give the program this terminal
    #[arg(long, short, conflicts_with = "timeout")]
    pub(crate) tty: bool,
    /// Program and arguments
    #[arg(last = true, required = true)]
    pub(crate) program: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Cp {
    /// Copy folders with all that is in them
    #[arg(long, short)]
    pub(crate) recursive: bool,
    /// Keep times and modes
    #[arg(long, short)]
    pub(crate) preserve: bool,
    /// What to copy, then where to; one side is a machine
    #[arg(required = true, num_args = 2.., value_name = "FILE|NAME:PATH")]
    pub(crate) operands: Vec<Operand>,
}

/// One side of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operand {
    /// A file of this host.
    Here(PathBuf),
    /// A path on a machine; relative to the home folder of root.
    On(MachineName, String),
}

impl FromStr for Operand {
    type Err = String;

    /// A colon before the first slash makes it a machine's, as scp(1) has it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err("a path has at least one character".to_owned());
        }
        let first = text.split('/').next().unwrap_or_default();
        let Some((name, _)) = first.split_once(':') else { return Ok(Self::Here(PathBuf::from(text))) };
        let path = text.get(name.len() + 1..).unwrap_or_default().to_owned();
        match name.parse() {
            Ok(name) => Ok(Self::On(name, path)),
            Err(error) => {
                Err(format!("{name:?} before the colon is no machine: {error}; a file of this host is ./{text}"))
            }
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Name of the machine
    pub(crate) name: MachineName,
    /// Lines from the end; 0 for all
    #[arg(long, short = 'n', default_value_t = 100)]
    pub(crate) lines: usize,
    /// Go on printing what comes
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Only what this unit of systemd says
    #[arg(long, short, value_name = "UNIT")]
    pub(crate) unit: Option<String>,
    /// The console log of the host, also while the system of the machine answers
    #[arg(long, conflicts_with = "unit")]
    pub(crate) console: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colon_before_the_first_slash_names_a_machine() {
        let on = |name: &str, path: &str| Ok(Operand::On(name.parse().unwrap(), path.to_owned()));
        let here = |path: &str| Ok(Operand::Here(PathBuf::from(path)));
        for (text, operand) in [
            ("demo:/etc/hosts", on("demo", "/etc/hosts")),
            ("demo:a:b", on("demo", "a:b")),
            ("demo:", on("demo", "")),
            ("./demo:x", here("./demo:x")),
            ("/tmp/a:b", here("/tmp/a:b")),
            ("file", here("file")),
        ] {
            assert_eq!(text.parse::<Operand>(), operand, "{text}");
        }
        let refused = "no name:x".parse::<Operand>().unwrap_err();
        assert!(refused.ends_with("a file of this host is ./no name:x"), "{refused}");
        assert!("".parse::<Operand>().is_err());
    }
}
