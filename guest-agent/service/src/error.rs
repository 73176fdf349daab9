//! Why the service ends, and how a refused or failed call is answered. Must not choose who may call.

use std::io;

use cloud_machine_boot_report::BootReportError;
use cloud_machine_protocol::{causes, escaped};
use zbus::{BoxDBusError, DBusError};

/// Why the service ends: it never does by itself.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServiceError {
    /// No bus, or one that takes no object of ours.
    #[error("cannot connect to the system bus")]
    Connect(#[source] zbus::Error),
    /// Another program has the name, or the policy of the bus gives it to nobody like us.
    #[error("cannot have the name {name} on the system bus")]
    Name {
        /// The name.
        name: &'static str,
        /// What the bus said.
        #[source]
        source: zbus::Error,
    },
    /// The bus ended.
    #[error("the system bus closed the connection")]
    Closed,
    /// A signal could not be sent.
    #[error("cannot send a signal to the system bus")]
    Signal(#[source] zbus::Error),
    /// It is not seen when a report comes.
    #[error("cannot watch {folder} for a report")]
    Watch {
        /// The folder.
        folder: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The system's manager, which waits for it, was not told that all is ready.
    #[error("cannot tell the service manager at {socket} that the service is ready")]
    Notify {
        /// `NOTIFY_SOCKET` of the environment.
        socket: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A thread could not be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
}

/// The answer to a call that is not what was asked for. The names are part of the interface.
#[derive(Debug, DBusError)]
#[zbus(prefix = "org.cloud_machine.Agent1.Error")]
pub(crate) enum CallError {
    /// The agent did not run at this boot.
    Absent(String),
    /// There is a report that cannot be read.
    Unreadable(String),
    /// What lies there is no report of this version.
    Invalid(String),
}

impl From<CallError> for BoxDBusError {
    fn from(error: CallError) -> Self {
        Box::new(error)
    }
}

impl From<BootReportError> for CallError {
    fn from(error: BootReportError) -> Self {
        let text = escaped(&causes(&error));
        match error {
            BootReportError::Absent { .. } => Self::Absent(text),
            BootReportError::Unreadable { .. } => Self::Unreadable(text),
            BootReportError::Invalid { .. } => Self::Invalid(text),
        }
    }
}
