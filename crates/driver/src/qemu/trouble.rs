//! Why a machine that has a process does not run on: what QEMU says of its state and of its disks. Must not change it.

use std::{io, time::Instant};

use cloud_machine_protocol::escape;
use serde_json::{Value, json};

use super::{Process, Qmp, QmpError, user_network};
use crate::machine::Trouble;

impl Process {
    /// Why the machine stands still; `None` while it runs, or is about to be started or ended.
    ///
    /// # Errors
    /// Any [`QmpError`].
    pub fn trouble(&self, deadline: Instant) -> Result<Option<Trouble>, QmpError> {
        let mut monitor = self.monitor(deadline)?;
        let status = monitor.query_status(deadline)?;
        Ok(match status.as_str() {
            "running" => self.without_network().map_err(QmpError::Io)?,
            "prelaunch" | "shutdown" => None,
            "io-error" => Some(of_disks(&mut monitor, deadline)?),
            other => Some(Trouble::Other(escape::line(other.as_bytes(), 60))),
        })
    }

    /// Whether the machine had a relay to its network, and has none any more.
    pub(crate) fn without_network(&self) -> io::Result<Option<Trouble>> {
        Ok((user_network::runs(self.folder())? == Some(false)).then_some(Trouble::Network))
    }
}

fn of_disks(monitor: &mut Qmp, deadline: Instant) -> Result<Trouble, QmpError> {
    let disks = monitor.execute("query-block", &json!({}), deadline)?;
    let full = |disk: &Value| disk.get("io-status").and_then(Value::as_str) == Some("nospace");
    Ok(if disks.as_array().is_some_and(|disks| disks.iter().any(full)) { Trouble::NoSpace } else { Trouble::Disk })
}
