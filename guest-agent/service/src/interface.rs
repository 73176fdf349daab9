//! The object on the bus: its names, its properties and methods. Must not keep a report: each answer is read anew.

use std::path::PathBuf;

use cloud_machine_boot_report::{BootReport, BootReportError};
use cloud_machine_protocol::{causes, escaped};
use zbus::{BoxDBusError, Connection, fdo, interface, message::Header, object_server::SignalEmitter};

use crate::{caller::is_root, error::CallError};

/// The name on the bus.
pub(crate) const NAME: &str = "org.cloud_machine.Agent1";
/// The one object.
pub(crate) const OBJECT: &str = "/org/cloud_machine/Agent1";

/// What the agent did at this boot.
pub(crate) struct Agent {
    report: PathBuf,
}

/// What is told in two words and a sentence. Two that are equal need no signal between them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Told {
    status: &'static str,
    summary: String,
    document: String,
}

impl Agent {
    /// Answers from the file `report`.
    pub(crate) fn new(report: PathBuf) -> Self {
        Self { report }
    }

    /// What there is to tell now.
    pub(crate) fn told(&self) -> Told {
        match self.document() {
            Ok((report, document)) => {
                let status = if report.done() { "done" } else { "failed" };
                Told { status, summary: escaped(&report.summary()), document }
            }
            Err(error) => {
                let status = match &error {
                    BootReportError::Absent { .. } => "absent",
                    BootReportError::Unreadable { .. } => "unreadable",
                    BootReportError::Invalid { .. } => "invalid",
                };
                Told { status, summary: escaped(&causes(&error)), document: String::new() }
            }
        }
    }

    fn document(&self) -> Result<(BootReport, String), BootReportError> {
        let report = BootReport::read(&self.report)?;
        let invalid = |reason: String| BootReportError::Invalid { path: self.report.display().to_string(), reason };
        let document = report.document().map_err(|error| invalid(error.to_string()))?;
        Ok((report, document))
    }
}

#[interface(name = "org.cloud_machine.Agent1")]
impl Agent {
    /// What the agent did when this machine started: "done", "failed", "absent" (it did not run), "unreadable" or "invalid" (of the
    /// report that it left).
    #[zbus(property(emits_changed_signal = "invalidates"))]
    async fn status(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Option<Header<'_>>,
    ) -> fdo::Result<String> {
        is_root(connection, header.as_ref()).await?;
        Ok(self.told().status.to_owned())
    }

    /// The same in one sentence for people, with the reason when it is not "done".
    #[zbus(property(emits_changed_signal = "invalidates"))]
    async fn summary(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Option<Header<'_>>,
    ) -> fdo::Result<String> {
        is_root(connection, header.as_ref()).await?;
        Ok(self.told().summary)
    }

    /// Version of this program.
    #[zbus(property(emits_changed_signal = "const"))]
    async fn version(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Option<Header<'_>>,
    ) -> fdo::Result<String> {
        is_root(connection, header.as_ref()).await?;
        Ok(env!("CARGO_PKG_VERSION").to_owned())
    }

    /// The report as one JSON object, as `cloud-machine-agent status --output json` prints it. Errors, all of them below
    /// org.cloud_machine.Agent1.Error: Absent, Unreadable, Invalid.
    #[zbus(out_args("report"))]
    async fn report(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<String, BoxDBusError> {
        is_root(connection, Some(&header)).await?;
        Ok(self.document().map_err(CallError::from)?.1)
    }

    /// Another report lies there, or none any more. It holds nothing of the report, since others may hear it.
    #[zbus(signal)]
    pub(crate) async fn report_changed(emitter: &SignalEmitter<'_>) -> zbus::Result<()>;
}
