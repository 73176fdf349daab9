//! What is known of the protocol: the faults that are seeded into it, what must always hold, and the messages. Must not
//! take a step.

use std::fmt;

/// A fault that somebody could build in. The first eight are those that any such protocol must be tested with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// Nothing is ever flushed before the report.
    MissingFlush,
    /// A progress marker on the disk is believed when its checksum is right.
    MarkerWithChecksumOnly,
    /// A progress marker that only the agent can make is believed, whatever request it was made for.
    MarkerOfAnyRequest,
    /// What lies behind the image is left as it is.
    TailSkipped,
    /// The report goes out before the identity is written.
    DoneBeforeIdentity,
    /// Nothing is read back.
    NoVerify,
    /// Writes are flushed once, before the report.
    FlushOnlyAtEnd,
    /// An attempt is started with the volume and the pin of an earlier one.
    StalePin,
    /// A request whose report was accepted is continued when its system did not answer.
    AcceptedRequestContinued,
}

/// What must hold after every step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Invariant {
    /// I1: no job boots unless the newest reimage request was accepted.
    BootsOnlyAccepted,
    /// I2: when a job boots on a disk that no job has used since, every sector is the image's, zero, or the identity's.
    DiskIsTheImage,
    /// I3: nothing read from the disk decides to skip work: every sector of the image was compared by this attempt.
    NothingSkipped,
    /// I4: finitely many cuts end in a running machine or in quarantine.
    Ends,
    /// I5: at most one report of a request is accepted.
    OneReport,
    /// I6: the identity on the disk is the one in the host's record.
    IdentityIsTheRecords,
    /// A disk that is half made has no valid partition table and no boot code of the job.
    BootHead,
}

pub(crate) const INVARIANTS: [Invariant; 7] = [
    Invariant::BootsOnlyAccepted,
    Invariant::DiskIsTheImage,
    Invariant::NothingSkipped,
    Invariant::Ends,
    Invariant::OneReport,
    Invariant::IdentityIsTheRecords,
    Invariant::BootHead,
];

impl fmt::Display for Invariant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::BootsOnlyAccepted => "I1",
            Self::DiskIsTheImage => "I2",
            Self::NothingSkipped => "I3",
            Self::Ends => "I4",
            Self::OneReport => "I5",
            Self::IdentityIsTheRecords => "I6",
            Self::BootHead => "boot head",
        })
    }
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Reimage,
    Boot,
}

/// The content of a volume: `request.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) id: u8,
    pub(crate) action: Action,
    pub(crate) nonce: u32,
    pub(crate) image: u8,
}

impl Request {
    /// The digest of a volume with this request: equal for equal content only.
    pub(crate) fn digest(&self) -> u64 {
        let action = u64::from(self.action == Action::Boot);
        u64::from(self.nonce) << 24 | u64::from(self.id) << 16 | u64::from(self.image) << 8 | action
    }
}

/// What an agent claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) done: bool,
    pub(crate) request: Request,
    /// Sectors that were read back.
    pub(crate) coverage: u8,
    /// The public key of the identity; of a boot none.
    pub(crate) key: Option<u8>,
}

/// What comes out of the machine's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    Hello,
    Report(Report),
}

/// What the host answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Go { nonce: u32 },
    Stop,
}
