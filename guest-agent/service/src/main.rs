//! `cloud-machine-agentd`: says over D-Bus, in the booted system, what the agent did when the machine started. Chooses by its
//! arguments what to do; the initramfs never has it.

mod caller;
mod error;
mod interface;
mod ready;
mod serve;
mod watch;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use cloud_machine_boot_report::PATH;
use cloud_machine_protocol::{causes, escaped};

const USAGE: &str = "\
cloud-machine-agentd says over D-Bus what cloud-machine-agent did when this machine started. It is org.cloud_machine.Agent1 on the
system bus, answers root alone, and is started by systemd when somebody asks for it.

usage: cloud-machine-agentd [--report FILE]
       cloud-machine-agentd --version
       cloud-machine-agentd --help

  --report FILE  another report than /run/cloud-machine/report.json; for tests

examples:
  busctl introspect org.cloud_machine.Agent1 /org/cloud_machine/Agent1 org.cloud_machine.Agent1
  busctl get-property org.cloud_machine.Agent1 /org/cloud_machine/Agent1 org.cloud_machine.Agent1 Status
  busctl --json=short call org.cloud_machine.Agent1 /org/cloud_machine/Agent1 org.cloud_machine.Agent1 Report \\
    | jq -r '.data[0] | fromjson | .value.steps[] | [.id, .outcome] | @tsv'

exit codes: 1 the bus went away, or the name is another program's; 2 wrong usage
";

#[derive(Debug, PartialEq, Eq)]
enum Order {
    Help,
    Version,
    Serve(PathBuf),
}

fn main() -> ExitCode {
    match order(std::env::args().skip(1)) {
        Ok(Order::Help) => print(USAGE),
        Ok(Order::Version) => print(&format!("cloud-machine-agentd {}\n", env!("CARGO_PKG_VERSION"))),
        Ok(Order::Serve(report)) => match serve::serve(report) {
            Ok(never) => match never {},
            Err(error) => {
                tell(&format!("error: {}\n", escaped(&causes(&error))));
                ExitCode::FAILURE
            }
        },
        Err(wrong) => {
            tell(&format!("error: {}\n\n{USAGE}", escaped(&wrong)));
            ExitCode::from(2)
        }
    }
}

fn order(mut arguments: impl Iterator<Item = String>) -> Result<Order, String> {
    let mut report = PathBuf::from(PATH);
    while let Some(argument) = arguments.next() {
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (argument.as_str(), None),
        };
        match (name, &value) {
            ("--help" | "-h", None) => return Ok(Order::Help),
            ("--version", None) => return Ok(Order::Version),
            ("--report", _) => match value.or_else(|| arguments.next()) {
                Some(file) if file.starts_with('/') => report = PathBuf::from(file),
                Some(file) => return Err(format!("--report needs an absolute path, not {file}")),
                None => return Err("--report needs a file".to_owned()),
            },
            _ => return Err(format!("unknown argument {argument}")),
        }
    }
    Ok(Order::Serve(report))
}

fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
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
        assert_eq!(of(&[]), Ok(Order::Serve("/run/cloud-machine/report.json".into())));
        assert_eq!(of(&["--report", "/a"]), Ok(Order::Serve("/a".into())));
        assert_eq!(of(&["--report=/a"]), Ok(Order::Serve("/a".into())));
        assert_eq!((of(&["--help"]), of(&["--version"])), (Ok(Order::Help), Ok(Order::Version)));
        for (words, expected) in [
            (&["--report"][..], "--report needs a file"),
            (&["--report", "a"], "--report needs an absolute path, not a"),
            (&["--version=1"], "unknown argument --version=1"),
            (&["x"], "unknown argument x"),
        ] {
            assert_eq!(of(words), Err(expected.to_owned()));
        }
    }
}
