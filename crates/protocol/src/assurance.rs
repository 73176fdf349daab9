//! How far a reimage can be trusted, as an ordered scale. Must not be computed here.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::ParseError;

/// Assurance of a reimage, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Assurance {
    /// The agent ran from a disk that a job could write, and nothing measured it.
    Unproven,
    /// Kernel, initramfs and volume came from the host, in a new process, and the report over a host channel.
    HostRooted,
    /// As above, and a TPM quote binds the report to what was booted.
    Attested,
    /// As above, and the running root stays bound by dm-verity.
    Sealed,
}

/// Who chose the code that reports, weakest first: it caps the assurance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RootOfTrust {
    /// It lies on a disk that a job could write.
    MachineDisk,
    /// This host handed over kernel, initramfs and command line itself.
    Host,
}

impl Assurance {
    /// All of them, in their order.
    pub const ALL: [Self; 4] = [Self::Unproven, Self::HostRooted, Self::Attested, Self::Sealed];

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unproven => "unproven",
            Self::HostRooted => "host-rooted",
            Self::Attested => "attested",
            Self::Sealed => "sealed",
        }
    }

    /// What the level does not cover, printed in the same line as the level.
    #[must_use]
    pub const fn does_not_cover(self) -> &'static str {
        match self {
            Self::Unproven => "whether the agent itself was honest",
            Self::HostRooted => "the host and its hypervisor; firmware below them; what the next job does later",
            Self::Attested => {
                "the hypervisor, unless it is not the verifier's own; firmware of disks and cards; what the next job does later"
            }
            Self::Sealed => {
                "the hypervisor; firmware of disks and cards; what the next job does outside the sealed root"
            }
        }
    }
}

impl fmt::Display for Assurance {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Assurance {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        [Self::Unproven, Self::HostRooted, Self::Attested, Self::Sealed]
            .into_iter()
            .find(|level| level.name() == text)
            .ok_or_else(|| ParseError::new("assurance", text, "unproven, host-rooted, attested or sealed"))
    }
}
