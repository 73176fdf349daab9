//! `cloud-machine-agentd`: says over D-Bus, in the booted system, what the agent did when the machine started. Chooses by its
//! arguments what to do; the initramfs never has it.

mod ask;
mod caller;
mod error;
mod inhibitor;
mod interface;
mod ready;
mod recovery;
mod reimage;
mod serve;
mod staging;
mod turn;
mod watch;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use cloud_machine_boot_report::PATH;
use cloud_machine_protocol::{causes, escaped};
use cloud_machine_stager::Disks;

const USAGE: &str = "\
cloud-machine-agentd says over D-Bus what cloud-machine-agent did when this machine started, and puts a request for a reimage of this
machine into its recovery partition. It is org.cloud_machine.Agent1 on the system bus, answers root alone, and is started by systemd
when somebody asks for it.

usage: cloud-machine-agentd [--report FILE] [--devices FOLDER]
       cloud-machine-agentd --stage FILE
       cloud-machine-agentd --version
       cloud-machine-agentd --help

  --stage FILE      asks the service to stage the request in FILE, prints its token, and ends
  --report FILE     another report than /run/cloud-machine/report.json; for tests
  --devices FOLDER  the folders block and dev in FOLDER in place of /sys/block and /dev; for tests

examples:
  busctl introspect org.cloud_machine.Agent1 /org/cloud_machine/Agent1 org.cloud_machine.Agent1
  busctl get-property org.cloud_machine.Agent1 /org/cloud_machine/Agent1 org.cloud_machine.Agent1 Status
  busctl --json=short call org.cloud_machine.Agent1 /org/cloud_machine/Agent1 org.cloud_machine.Agent1 Report \\
    | jq -r '.data[0] | fromjson | .value.steps[] | [.id, .outcome] | @tsv'

exit codes: 0 the request is staged; 1 it is not, the bus went away, or the name is another program's; 2 wrong usage
";

#[derive(Debug, PartialEq, Eq)]
enum Order {
    Help,
    Version,
    Stage(PathBuf),
    Serve { report: PathBuf, disks: Disks },
}

fn main() -> ExitCode {
    match order(std::env::args().skip(1)) {
        Ok(Order::Help) => print(USAGE),
        Ok(Order::Version) => print(&format!("cloud-machine-agentd {}\n", env!("CARGO_PKG_VERSION"))),
        Ok(Order::Stage(file)) => match ask::stage(&file) {
            Ok(token) => print(&format!("{}\n", escaped(&token))),
            Err(error) => failed(&error),
        },
        Ok(Order::Serve { report, disks }) => {
            turn::end_with_a_panic();
            match serve::serve(report, disks) {
                Ok(never) => match never {},
                Err(error) => failed(&error),
            }
        }
        Err(wrong) => {
            tell(&format!("error: {}\n\n{USAGE}", escaped(&wrong)));
            ExitCode::from(2)
        }
    }
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    tell(&format!("error: {}\n", escaped(&causes(error))));
    ExitCode::FAILURE
}

fn order(mut arguments: impl Iterator<Item = String>) -> Result<Order, String> {
    let (mut report, mut disks) = (PathBuf::from(PATH), Disks::default());
    while let Some(argument) = arguments.next() {
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (argument.as_str(), None),
        };
        match (name, &value) {
            ("--help" | "-h", None) => return Ok(Order::Help),
            ("--version", None) => return Ok(Order::Version),
            ("--stage", _) => return path(name, value.or_else(|| arguments.next())).map(Order::Stage),
            ("--report", _) => report = path(name, value.or_else(|| arguments.next()))?,
            ("--devices", _) => disks = Disks::below(&path(name, value.or_else(|| arguments.next()))?),
            _ => return Err(format!("unknown argument {argument}")),
        }
    }
    Ok(Order::Serve { report, disks })
}

fn path(name: &str, value: Option<String>) -> Result<PathBuf, String> {
    match value {
        Some(path) if path.starts_with('/') => Ok(PathBuf::from(path)),
        Some(path) => Err(format!("{name} needs an absolute path, not {path}")),
        None => Err(format!("{name} needs a path")),
    }
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
        let serve = |report: &str, disks| Ok(Order::Serve { report: report.into(), disks });
        assert_eq!(of(&[]), serve("/run/cloud-machine/report.json", Disks::default()));
        assert_eq!(of(&["--report", "/a"]), serve("/a", Disks::default()));
        assert_eq!(of(&["--report=/a", "--devices", "/b"]), serve("/a", Disks::below("/b".as_ref())));
        assert_eq!((of(&["--help"]), of(&["--version"])), (Ok(Order::Help), Ok(Order::Version)));
        assert_eq!(of(&["--stage", "/a"]), Ok(Order::Stage("/a".into())));
        for (words, expected) in [
            (&["--report"][..], "--report needs a path"),
            (&["--report", "a"], "--report needs an absolute path, not a"),
            (&["--version=1"], "unknown argument --version=1"),
            (&["x"], "unknown argument x"),
        ] {
            assert_eq!(of(words), Err(expected.to_owned()));
        }
    }
}
