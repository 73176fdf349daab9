//! Arguments of `list`: which machines, and what of each. Must not look a machine up.

use std::str::FromStr;

use clap::{Args, ValueEnum};
use cloud_machine_operation::life::ProcessState;
use cloud_machine_protocol::Assurance;
use cloud_machine_store::MachineState;

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only machines of which a column has this value, such as state=failed; given several times, all have to hold
    #[arg(long, value_name = "COLUMN=VALUE")]
    pub(crate) filter: Vec<Filter>,
    /// The columns of the table, in this order
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "COLUMN,…",
        default_value = "name,state,process,image,ssh,assurance,used"
    )]
    pub(crate) columns: Vec<Column>,
    /// Leave the header of the table out
    #[arg(long)]
    pub(crate) no_header: bool,
}

/// What is known of each machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Column {
    /// Its name
    Name,
    /// Where it is in its life
    State,
    /// Whether it has a process: none, runs, paused, unknown
    Process,
    /// Name of its image
    Image,
    /// Port on 127.0.0.1 that leads to its SSH; of a machine that this host does not run, its address with the port
    Ssh,
    /// Assurance of its last report, while that stands
    Assurance,
    /// Whether somebody may have logged in since: yes, no
    Used,
    /// Why its record cannot be read
    Error,
}

/// A column that has to have a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) column: Column,
    pub(crate) value: String,
}

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (column, value) = text.split_once('=').ok_or("write COLUMN=VALUE, such as state=failed")?;
        let column = Column::from_str(column, false).map_err(|_| {
            let known: Vec<String> = Column::value_variants()
                .iter()
                .filter_map(|one| Some(one.to_possible_value()?.get_name().to_owned()))
                .collect();
            format!("there is no column {column:?}; there are {}", known.join(", "))
        })?;
        let known = column.words();
        // An empty one means the machines of which nothing is known there.
        if !value.is_empty() && !known.is_empty() && !known.contains(&value) {
            let column = column.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
            return Err(format!("{column} is never {value:?}, it is one of {}", known.join(", ")));
        }
        Ok(Self { column, value: value.to_owned() })
    }
}

impl Column {
    /// What it may be; none for a column that may be anything.
    fn words(self) -> Vec<&'static str> {
        match self {
            Self::State => MachineState::ALL.map(MachineState::word).to_vec(),
            Self::Process => ProcessState::ALL.map(ProcessState::word).to_vec(),
            Self::Assurance => Assurance::ALL.map(Assurance::name).to_vec(),
            Self::Used => vec!["yes", "no"],
            Self::Name | Self::Image | Self::Ssh | Self::Error => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words that a reader takes, as it names them when it is given another one.
    fn read<T: serde::de::DeserializeOwned + std::fmt::Debug>() -> Vec<String> {
        let error = serde_json::from_str::<T>("\"bogus\"").unwrap_err().to_string();
        error.split('`').skip(3).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn the_words_of_a_column_are_all_that_there_are() {
        assert_eq!(Column::State.words(), read::<MachineState>());
        assert_eq!(Column::Assurance.words(), read::<Assurance>());
    }

    #[test]
    fn a_value_that_a_column_never_has_is_refused_with_those_that_it_may_have() {
        for (filter, words) in [
            ("state=bogus", "creating, requested, writing, accepted, running, stopped, failed, quarantined"),
            ("process=bogus", "none, runs, paused, unknown"),
            ("assurance=bogus", "unproven, provider-rebuilt, provider-rooted, host-rooted, attested, sealed"),
            ("used=maybe", "yes, no"),
        ] {
            let refused = filter.parse::<Filter>().unwrap_err();
            assert!(refused.ends_with(&format!("it is one of {words}")), "{refused}");
        }
        for filter in ["state=failed", "process=none", "assurance=", "used=no", "name=x", "ssh=1", "error=x"] {
            assert!(filter.parse::<Filter>().is_ok(), "{filter}");
        }
    }
}
