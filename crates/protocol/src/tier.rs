//! How much of a disk was read before it was made equal to an image. Must not say who chose it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The way in which the system disk was made equal to the image, from the least work to the most;
/// [`Tier::Clone`] and [`Tier::Receive`] are of a root in a ZFS pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// The host put a fresh overlay over its own verified copy of the image; the machine wrote nothing.
    Overlay,
    /// What the host's map calls dirty was compared, and a sample of the rest.
    Hinted,
    /// All of the disk was compared and what differed was written.
    Scan,
    /// All of the image was written without a comparison.
    Stream,
    /// The root is a clone of files that an earlier reimage received into the pool on the disk; all of them were
    /// compared.
    Clone,
    /// The disk was made zero, and the files of the image's root were received into a new pool on it; all of them were
    /// compared.
    Receive,
}

impl Tier {
    /// The word, as in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Overlay => "overlay",
            Self::Hinted => "hinted",
            Self::Scan => "scan",
            Self::Stream => "stream",
            Self::Clone => "clone",
            Self::Receive => "receive",
        }
    }

    /// What of the system disk the host answers for in place of a reading, printed beside the assurance; `None` when
    /// every byte was read.
    #[must_use]
    pub const fn does_not_cover(self) -> Option<&'static str> {
        match self {
            Self::Overlay => Some(
                "what of the host's golden disk lies outside the boot head and a sample of 1 %: the host compared all of it, but not now",
            ),
            Self::Hinted => Some(
                "what the host's own map calls unchanged, outside the boot head and a sample of 1 %: nothing read it now",
            ),
            Self::Clone => Some(
                "the pool, which the kernel read as the last job left it, and what of the disk no file of the new root uses: that was not erased",
            ),
            Self::Scan | Self::Stream | Self::Receive => None,
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_is_the_same_in_json_and_in_text() {
        for tier in [Tier::Overlay, Tier::Hinted, Tier::Scan, Tier::Stream, Tier::Clone, Tier::Receive] {
            assert_eq!(serde_json::to_string(&tier).unwrap(), format!("\"{tier}\""));
        }
    }
}
