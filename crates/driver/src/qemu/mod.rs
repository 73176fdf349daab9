//! Machines as QEMU processes: command line, process, monitor, accelerator. Must not know what an image or a report is.

mod accelerator;
mod bridge_rules;
mod command;
mod connection;
pub mod disk;
mod driver;
mod error;
mod kernel;
mod keys;
mod life;
mod once;
mod pidfd;
mod process;
mod process_table;
mod qmp;
mod state;
mod tool;
mod trouble;
mod user_network;

use std::{
    ffi::{OsStr, OsString},
    time::Duration,
};

pub use accelerator::{Accelerator, TCG_CPU, Verdict, decide, decide_once, remembered};
pub use bridge_rules::{Bridges, bridges};
pub use command::{DirectBoot, Drive, Launch, arguments};
pub(crate) use command::{backends, block_node, check, sockets_fit};
pub(crate) use driver::launch;
pub use error::QemuError;
pub(crate) use keys::KEYS;
pub use life::{Life, Subject};
pub use once::Once;
pub use process::{Ending, Process};
pub use qmp::{Qmp, QmpError};
pub use state::{FileId, ProcessRecord};
pub(crate) use tool::private;
pub(crate) use user_network::start as start_relay;
pub use user_network::{RELAY, serve as relay_network};

use cloud_machine_child::Bounds;
use cloud_machine_protocol::escape;

/// How long QEMU may take until the machine is there, paused. On a busy host it takes a second or two.
const LAUNCH_LIMIT: Duration = Duration::from_secs(60);

/// The QEMU of this host.
#[derive(Clone, Debug)]
pub struct Qemu {
    program: OsString,
    launch_limit: Duration,
}

impl Default for Qemu {
    fn default() -> Self {
        Self::new("qemu-system-x86_64")
    }
}

impl Qemu {
    /// A QEMU by the name or absolute path of its program.
    #[must_use]
    pub fn new(program: impl Into<OsString>) -> Self {
        Self { program: program.into(), launch_limit: LAUNCH_LIMIT }
    }

    /// Name or path of the program.
    #[must_use]
    pub fn program(&self) -> &OsStr {
        &self.program
    }

    /// First line of what the program says about its version.
    ///
    /// # Errors
    /// [`QemuError::Run`] or [`QemuError::Refused`].
    pub fn version(&self) -> Result<String, QemuError> {
        let program = self.program.to_string_lossy().into_owned();
        let bounds = Bounds { limit: self.launch_limit, output: 64 << 10 };
        let output = tool::output(tool::command(&self.program).arg("--version"), bounds).map_err(QemuError::child)?;
        if !output.status.success() {
            let stderr = escape::tail(&output.stderr, 10).replace('\n', "; ");
            let arguments = vec!["--version".to_owned()];
            return Err(QemuError::Refused { program, arguments, status: output.status, stderr });
        }
        let first = output.stdout.split(|byte| *byte == b'\n').next().unwrap_or_default();
        Ok(escape::line(first, 200))
    }
}

/// Whether a QEMU of a version, in its own words, has the sockets of the closed user network; `None` when they have no number.
#[must_use]
pub fn closes_user_network(version: &str) -> Option<bool> {
    let (_, number) = version.split_once("version ")?;
    let mut parts = number.split(|character: char| !character.is_ascii_digit()).map(str::parse::<u32>);
    let (major, minor) = (parts.next()?.ok()?, parts.next()?.ok()?);
    Some((major, minor) >= (7, 2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{description::Support, machine::Driver};

    #[test]
    fn the_version_is_one_line_of_the_installed_qemu() {
        let version = Qemu::default().version().expect("install the package qemu-system-x86");
        assert!(version.starts_with("QEMU emulator version "), "{version}");
    }

    #[test]
    fn a_missing_or_failing_program_is_named() {
        let error = Qemu::new("/nonexistent/qemu").version().unwrap_err();
        assert_eq!(error.to_string(), "cannot run /nonexistent/qemu");
        let error = Qemu::new("false").version().unwrap_err();
        assert_eq!(error.to_string(), "false ended with exit status: 1: ");
    }

    #[test]
    fn a_version_tells_whether_the_user_network_can_be_closed() {
        for (version, closes) in [
            ("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b2)", Some(true)),
            ("QEMU emulator version 10.0.0", Some(true)),
            ("QEMU emulator version 7.1.94 (v7.2.0-rc4)", Some(false)),
            ("QEMU emulator version 6.2.0", Some(false)),
            ("QEMU emulator version ?", None),
            ("qemu 7.2", None),
        ] {
            assert_eq!(closes_user_network(version), closes, "{version}");
        }
    }

    #[test]
    fn what_qemu_does_not_honour_is_said() {
        let description = Qemu::default().describe();
        assert_eq!(description.driver(), "qemu");
        assert_eq!(description.support("resources.disks.system.devicepath"), Support::Exact);
        assert!(matches!(description.support("resources.ram"), Support::Rounded { .. }));
        assert_eq!(description.support("resources.disks.x.colour"), Support::Unsupported);
    }
}
