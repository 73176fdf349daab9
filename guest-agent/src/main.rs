//! `cloud-machine-agent`: `/init` of the initramfs. Chooses by process id and argument which of its three parts runs,
//! and owns nothing else.

mod command_line;
mod deadline;
mod error;
mod execute;
mod host;
mod identity;
mod report;
mod run;
mod supervisor;
mod volume;
mod worker;

use std::{io::Write, process::ExitCode};

const USAGE: &str = "\
cloud-machine-agent reimages a machine from its initramfs; the host starts it as /init.

usage: cloud-machine-agent --version
       cloud-machine-agent --help
";

fn main() -> ExitCode {
    let argument = std::env::args().nth(1);
    if std::process::id() == 1 {
        return supervisor::run();
    }
    match argument.as_deref() {
        Some(supervisor::WORKER_ARGUMENT) => worker::run(),
        Some(cloud_machine_system::probe::CHILD_ARGUMENT) => probe(),
        Some("--version") => print(&format!("cloud-machine-agent {}\n", env!("CARGO_PKG_VERSION")), 0),
        Some("--help") => print(USAGE, 0),
        _ => print(USAGE, 2),
    }
}

fn probe() -> ExitCode {
    match cloud_machine_system::probe::child() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            // The parent sees only the status; a person who runs this by hand sees why.
            std::io::stderr().write_all(reason.as_bytes()).unwrap_or_default();
            ExitCode::FAILURE
        }
    }
}

fn print(text: &str, code: u8) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::from(code),
        Err(_) => ExitCode::FAILURE,
    }
}
