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
    /// A provider's rebuild call said that it rewrote the system disk, and nothing else is known: no agent ran and nothing
    /// was read back. More than a report that a job may have written, since no job answers in the provider's place.
    ProviderRebuilt,
    /// The agent ran on a system that the provider started and no job could write, and reported over a connection into it.
    ProviderRooted,
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
    /// It is a system that the machine's provider started and no job could write, such as a rescue system, with this
    /// host's agent in it.
    Provider,
    /// This host handed over kernel, initramfs and command line itself.
    Host,
}

/// What the host knew of the SSH host key of a provider's rescue system before it connected to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RescueHostKey {
    /// Nothing: the key that answered was taken, so whoever is on the path may have answered.
    Unknown,
    /// All of it, from elsewhere than the connection itself, and no other key was taken.
    Known,
}

/// All levels, for whoever wrote another word.
const ALLOWED: &str = "unproven, provider-rebuilt, provider-rooted, host-rooted, attested or sealed";

impl Assurance {
    /// All of them, in their order.
    pub const ALL: [Self; 6] =
        [Self::Unproven, Self::ProviderRebuilt, Self::ProviderRooted, Self::HostRooted, Self::Attested, Self::Sealed];

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unproven => "unproven",
            Self::ProviderRebuilt => "provider-rebuilt",
            Self::ProviderRooted => "provider-rooted",
            Self::HostRooted => "host-rooted",
            Self::Attested => "attested",
            Self::Sealed => "sealed",
        }
    }

    /// What the level does not cover, whatever attempt it is of.
    #[must_use]
    pub const fn does_not_cover(self) -> &'static str {
        self.does_not_cover_of(None)
    }

    /// What the level does not cover of an attempt, printed in the same line as the level. `rescue_host_key`: what the host
    /// knew of a rescue system, when the attempt had one.
    #[must_use]
    pub const fn does_not_cover_of(self, rescue_host_key: Option<RescueHostKey>) -> &'static str {
        match self {
            Self::Unproven => "whether the agent itself was honest",
            Self::ProviderRebuilt => {
                "whether the provider did what its rebuild call says, since nothing was read back; attached volumes, firmware \
                 variables and TPM state; the identity; what the next job does later"
            }
            Self::ProviderRooted => match rescue_host_key {
                None => {
                    "the provider; its rescue image with the kernel and its command line; the network path to it and whether \
                     it was what answered, unless the rescue system's host key was known to the host; what the next job does later"
                }
                Some(RescueHostKey::Unknown) => {
                    "the provider; its rescue image with the kernel and its command line; the network path to it and whether \
                     it was what answered, since the rescue system's host key was not known to the host; what the next job does later"
                }
                Some(RescueHostKey::Known) => {
                    "the provider; its rescue image with the kernel and its command line; what the next job does later"
                }
            },
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
        Self::ALL
            .into_iter()
            .find(|level| level.name() == text)
            .ok_or_else(|| ParseError::new("assurance", text, ALLOWED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_in_one_order_and_each_has_one_word() {
        assert!(Assurance::ALL.is_sorted_by(|weaker, stronger| weaker < stronger));
        for level in Assurance::ALL {
            assert_eq!(serde_json::to_string(&level).unwrap(), format!("\"{level}\""));
            assert_eq!(level.name().parse(), Ok(level));
        }
        // All that the type has are in the list.
        let error = serde_json::from_str::<Assurance>("\"bogus\"").unwrap_err().to_string();
        let words: Vec<&str> = error.split('`').skip(3).step_by(2).collect();
        assert_eq!(words, Assurance::ALL.map(Assurance::name));
        let error = "bogus".parse::<Assurance>().unwrap_err().to_string();
        assert!(error.ends_with(&words.join(", ").replace(", sealed", " or sealed")), "{error}");
    }

    #[test]
    fn roots_of_trust_are_in_one_order_below_the_hosts_own() {
        assert!(RootOfTrust::MachineDisk < RootOfTrust::Provider && RootOfTrust::Provider < RootOfTrust::Host);
    }

    #[test]
    fn only_what_rests_on_a_rescue_system_depends_on_its_host_key() {
        let keys = [None, Some(RescueHostKey::Unknown), Some(RescueHostKey::Known)];
        for level in Assurance::ALL {
            let told = keys.map(|key| level.does_not_cover_of(key));
            assert_eq!(told[0], level.does_not_cover());
            assert_eq!(told[0] == told[1] && told[1] == told[2], level != Assurance::ProviderRooted, "{level}");
        }
        let told = keys.map(|key| Assurance::ProviderRooted.does_not_cover_of(key).contains("the network path"));
        assert_eq!(told, [true, true, false]);
    }
}
