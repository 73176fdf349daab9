//! Why nothing is staged, or nothing can be said of it. Must not decide what is done then.

use std::io;

use cloud_machine_disk::DiskError;
use cloud_machine_recovery::{RecoveryError, State};
use cloud_machine_system::SystemError;

/// Why the program ends with an error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StagerError {
    /// No disk has a recovery partition.
    #[error(
        "this machine has no recovery partition: `recovery: SIZE` in the policy of its agent makes one at the next start"
    )]
    Absent,
    /// A disk could not be looked at, and may have one.
    #[error(
        "which disk has the recovery partition is not clear: {}; `cloud-machine-recovery --disk NAME` says which one is meant",
        unreadable.join("; ")
    )]
    Unclear {
        /// Disks that could not be looked at, each with the reason.
        unreadable: Vec<String>,
    },
    /// More than one disk has one.
    #[error(
        "several disks have a recovery partition: {}; `cloud-machine-recovery --disk NAME` says which one is meant",
        disks.join(", ")
    )]
    Several {
        /// Their kernel names.
        disks: Vec<String>,
    },
    /// The disk that was named has none.
    #[error("there is no recovery partition on {disk}")]
    NotThere {
        /// Its kernel name.
        disk: String,
    },
    /// The kernel has no device for it.
    #[error(
        "the kernel does not have the recovery partition of {disk}: `partprobe /dev/{disk}` makes it read the table again"
    )]
    NoDevice {
        /// Kernel name of its disk.
        disk: String,
    },
    /// No report of the request can be given.
    #[error("there is no report of this request: {why}")]
    NoReport {
        /// Why.
        why: String,
    },
    /// A disk cannot be used.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// What is in the recovery partition, or is to be.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// Linux does not say something.
    #[error(transparent)]
    System(#[from] SystemError),
    /// An answer could not be turned to JSON.
    #[error("cannot write the answer as JSON")]
    Encode(#[source] serde_json::Error),
    /// Standard input cannot be used.
    #[error("cannot use standard input")]
    Read(#[source] io::Error),
    /// An answer could not be written.
    #[error("cannot write the answer")]
    Write(#[source] io::Error),
}

impl StagerError {
    /// That a request in `state`, or none, has no report.
    pub(crate) fn no_report(state: Option<State>) -> Self {
        let why = match state {
            None => "nothing with this token is in the recovery partition".to_owned(),
            Some(State::Staged | State::Armed) => "it waits for the next start of the machine".to_owned(),
            Some(State::Begun) => "the disk is being rewritten".to_owned(),
            Some(State::Failed) => "it was given up".to_owned(),
            Some(State::Reported | State::Done) => "it is not whole".to_owned(),
        };
        Self::NoReport { why }
    }
}
