//! What can go wrong with a domain, one variant a reason, and what would help. Must not decide what follows from it.

use std::io;

use cloud_machine_child::ChildError;
use cloud_machine_protocol::MachineName;

use super::words::{Refusal, VARIABLE};
use crate::{
    error::{DriverError, DriverErrorKind},
    qemu::QemuError,
};

/// Why libvirt could not be asked, or did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LibvirtError {
    /// The URI is none of a daemon on this host.
    #[error(
        "cannot use {found:?} of {VARIABLE}: expected the URI of a libvirt daemon on this host, such as qemu:///system, \
         qemu:///session or qemu+unix:///system?socket=PATH"
    )]
    Connection {
        /// What was given.
        found: String,
    },
    /// `virsh` could not be run, or did not end within its bounds.
    #[error(transparent)]
    Child(ChildError),
    /// The daemon does not answer.
    #[error("cannot reach libvirt at {uri}: {said}")]
    Unreachable {
        /// Where it was looked for.
        uri: String,
        /// The words of `virsh`, safe to show.
        said: String,
        /// What would help.
        way_out: String,
    },
    /// The daemon refused.
    #[error("cannot {operation}: libvirt says: {}", refusal.said)]
    Refused {
        /// Verb and object.
        operation: String,
        /// Its words.
        refusal: Refusal,
    },
    /// `virsh` printed something else than it is known to print.
    #[error("cannot {operation}: virsh printed what it should not: {said}")]
    Output {
        /// Verb and object.
        operation: String,
        /// What it printed, safe to show.
        said: String,
    },
    /// A domain of somebody else has the machine's UUID for its name.
    #[error("libvirt has a domain whose name is the UUID {name} of the machine")]
    Misnamed {
        /// The name.
        name: String,
    },
    /// A domain is in the way that is none of ours.
    #[error("cannot start machine {machine}: libvirt has another domain of the name {domain}")]
    NameTaken {
        /// The machine.
        machine: MachineName,
        /// The name of the domain.
        domain: String,
    },
    /// A value cannot stand in a domain.
    #[error("invalid {what} {found:?}: expected {allowed}")]
    InvalidDomain {
        /// Which value.
        what: &'static str,
        /// The value.
        found: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// The description of the domain could not be written.
    #[error("cannot write the domain's description")]
    Write(#[source] io::Error),
    /// libvirt said that it had started the machine, and no process of it is shown here.
    #[error("cannot find the process of machine {machine}, which libvirt started: {why}")]
    NoProcess {
        /// The machine.
        machine: MachineName,
        /// What is known of it.
        why: String,
    },
    /// The machine could not be ended.
    #[error("cannot end machine {machine}")]
    End {
        /// The machine.
        machine: MachineName,
        /// Why.
        #[source]
        source: Box<LibvirtError>,
    },
    /// What is shared with the driver for QEMU failed.
    #[error(transparent)]
    Qemu(#[from] QemuError),
}

impl LibvirtError {
    /// What would help, where that is known.
    pub(super) fn way_out(&self) -> Option<String> {
        match self {
            Self::Unreachable { way_out, .. } => Some(way_out.clone()),
            Self::End { source, .. } => source.way_out(),
            Self::Misnamed { name } => Some(format!("`virsh domrename {name}` gives that domain another name")),
            Self::NameTaken { domain, .. } => Some(format!(
                "see `virsh dumpxml {domain}`: end or rename that domain, or choose another name for the machine"
            )),
            Self::NoProcess { .. } => Some(
                "run cloud-machine where the processes of libvirt's machines are shown: not in a container of its own"
                    .to_owned(),
            ),
            Self::InvalidDomain { what: "path of a socket", .. } => {
                Some("a state folder with a shorter path: --state FOLDER".to_owned())
            }
            _ => None,
        }
    }

    fn kind(&self) -> DriverErrorKind {
        match self {
            Self::Child(ChildError::Run { .. }) => {
                DriverErrorKind::MissingTool { package: "libvirt-clients", programs: "virsh" }
            }
            Self::Child(ChildError::TimedOut { .. }) => DriverErrorKind::TimedOut,
            Self::Connection { .. } | Self::InvalidDomain { .. } | Self::NameTaken { .. } => DriverErrorKind::Refused,
            Self::End { source, .. } => source.kind(),
            _ => DriverErrorKind::Failed,
        }
    }
}

impl From<LibvirtError> for DriverError {
    fn from(error: LibvirtError) -> Self {
        match error {
            LibvirtError::Qemu(error) => error.into(),
            error => {
                let way_out = error.way_out();
                Self::new(error.kind(), error).with_way_out(way_out)
            }
        }
    }
}
