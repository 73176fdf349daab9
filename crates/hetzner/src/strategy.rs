//! How a rented machine is cleaned: over the provider's rescue system or by its rebuild. Pure. Must not do either.

use std::{fmt, str::FromStr};

use cloud_machine_protocol::{Assurance, ParseError};
use serde::{Deserialize, Serialize};

/// What an operator asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// Over the rescue system.
    #[default]
    Rescue,
    /// By the provider's rebuild.
    Rebuild,
    /// Whichever reaches the required assurance.
    Auto,
}

/// A way to clean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Our agent, on the provider's rescue system, writes what differs and reads it back.
    Rescue,
    /// The provider writes its image over the disk.
    Rebuild,
}

impl Way {
    /// How far a machine that was cleaned this way can be trusted.
    #[must_use]
    pub const fn reaches(self) -> Assurance {
        match self {
            Self::Rescue => Assurance::ProviderRooted,
            Self::Rebuild => Assurance::ProviderRebuilt,
        }
    }

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rescue => "rescue",
            Self::Rebuild => "rebuild",
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Strategy {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text {
            "rescue" => Ok(Self::Rescue),
            "rebuild" => Ok(Self::Rebuild),
            "auto" => Ok(Self::Auto),
            _ => Err(ParseError::new("strategy", text, "rescue, rebuild or auto")),
        }
    }
}

/// The way that is gone, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The way.
    pub way: Way,
    /// A sentence for people.
    pub reason: String,
}

/// Why there is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StrategyError {
    /// The way that was asked for, or each of them, reaches less.
    #[error("{required} is required, and {way} reaches {}; require less, or {}", way.reaches(), more(*way, *required))]
    TooWeak {
        /// What is required.
        required: Assurance,
        /// The strongest way that was allowed.
        way: Way,
    },
    /// Only the rescue system reaches it, and it cannot be used.
    #[error("only rescue will do here, and it cannot be used: {why}{}", without(*required))]
    NoRescue {
        /// What is required.
        required: Option<Assurance>,
        /// Why it cannot be used.
        why: String,
    },
}

/// Chooses the way. `rescue` says why the rescue system cannot be used, when it cannot.
///
/// # Errors
/// [`StrategyError`] when no allowed way reaches what is required.
pub fn choose_way(
    asked: Strategy,
    required: Option<Assurance>,
    rescue: Result<(), &str>,
) -> Result<Chosen, StrategyError> {
    let strongest = if asked == Strategy::Rebuild { Way::Rebuild } else { Way::Rescue };
    if let Some(required) = required.filter(|required| *required > strongest.reaches()) {
        return Err(StrategyError::TooWeak { required, way: strongest });
    }
    let reached = |way: Way| match required {
        Some(required) => format!("reaches {}, and {required} is required", way.reaches()),
        None => format!("reaches {}, and nothing is required", way.reaches()),
    };
    let chosen = |way: Way, why: &str| Ok(Chosen { way, reason: format!("{way} {}: {why}.", reached(way)) });
    let rebuild_does = required.is_none_or(|required| required <= Way::Rebuild.reaches());
    match (asked, rescue) {
        (Strategy::Rescue, Ok(())) => chosen(Way::Rescue, "it was asked for"),
        (Strategy::Rebuild, _) => chosen(Way::Rebuild, "it was asked for"),
        (Strategy::Auto, Ok(())) if rebuild_does => {
            chosen(Way::Rescue, "rebuild would do as well, but writes the whole disk and reads nothing back")
        }
        (Strategy::Auto, Ok(())) => chosen(Way::Rescue, "rebuild reaches less"),
        (Strategy::Auto, Err(why)) if rebuild_does => {
            chosen(Way::Rebuild, &format!("the rescue system cannot be used, since {why}"))
        }
        (Strategy::Rescue | Strategy::Auto, Err(why)) => Err(StrategyError::NoRescue { required, why: why.to_owned() }),
    }
}

fn more(way: Way, required: Assurance) -> &'static str {
    match way {
        Way::Rebuild if required <= Way::Rescue.reaches() => "take the strategy rescue",
        _ => "take a machine whose host starts our agent itself",
    }
}

fn without(required: Option<Assurance>) -> String {
    match required {
        Some(required) if required > Way::Rebuild.reaches() => {
            format!("; {required} is required, and rebuild reaches {}", Way::Rebuild.reaches())
        }
        _ => "; the strategies rebuild and auto do without it".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_that_reaches_what_is_required_is_chosen_and_says_why() {
        use Assurance::{ProviderRebuilt, ProviderRooted, Unproven};
        for (asked, required, rescue, way, reason) in [
            (Strategy::Rescue, None, Ok(()), Way::Rescue, "nothing is required: it was asked for."),
            (Strategy::Rescue, Some(ProviderRooted), Ok(()), Way::Rescue, "it was asked for."),
            (Strategy::Rebuild, Some(ProviderRebuilt), Err("x"), Way::Rebuild, "it was asked for."),
            (Strategy::Auto, None, Ok(()), Way::Rescue, "reads nothing back."),
            (Strategy::Auto, Some(ProviderRebuilt), Ok(()), Way::Rescue, "reads nothing back."),
            (Strategy::Auto, Some(ProviderRooted), Ok(()), Way::Rescue, "rebuild reaches less."),
            (
                Strategy::Auto,
                Some(Unproven),
                Err("port 22 is shut"),
                Way::Rebuild,
                "cannot be used, since port 22 is shut.",
            ),
            (Strategy::Auto, None, Err("port 22 is shut"), Way::Rebuild, "since port 22 is shut."),
        ] {
            let chosen = choose_way(asked, required, rescue).unwrap();
            assert_eq!(chosen.way, way, "{asked:?} {required:?}");
            assert!(chosen.reason.starts_with(way.name()) && chosen.reason.ends_with(reason), "{}", chosen.reason);
            assert!(required.is_none_or(|required| chosen.way.reaches() >= required));
        }
    }

    #[test]
    fn where_none_does_the_way_out_is_told() {
        use Assurance::{HostRooted, ProviderRooted};
        for (asked, required, rescue, told) in [
            (
                Strategy::Rebuild,
                Some(ProviderRooted),
                Ok(()),
                "provider-rooted is required, and rebuild reaches provider-rebuilt; require less, or take the strategy rescue",
            ),
            (
                Strategy::Auto,
                Some(HostRooted),
                Ok(()),
                "host-rooted is required, and rescue reaches provider-rooted; require less, or take a machine whose host \
                 starts our agent itself",
            ),
            (
                Strategy::Auto,
                Some(ProviderRooted),
                Err("no key"),
                "only rescue will do here, and it cannot be used: no key; provider-rooted is required, and rebuild reaches \
                 provider-rebuilt",
            ),
            (
                Strategy::Rescue,
                None,
                Err("no key"),
                "only rescue will do here, and it cannot be used: no key; the strategies rebuild and auto do without it",
            ),
        ] {
            assert_eq!(choose_way(asked, required, rescue).unwrap_err().to_string(), told);
        }
    }

    #[test]
    fn strategies_have_one_word_each() {
        for (strategy, word) in [(Strategy::Rescue, "rescue"), (Strategy::Rebuild, "rebuild"), (Strategy::Auto, "auto")]
        {
            assert_eq!(word.parse(), Ok(strategy));
            assert_eq!(serde_json::to_string(&strategy).unwrap(), format!("\"{word}\""));
        }
        assert!("fast".parse::<Strategy>().unwrap_err().to_string().ends_with("rescue, rebuild or auto"));
    }
}
