//! Arguments of `list`: which machines, and what of each. Must not look a machine up.

use std::str::FromStr;

use clap::{Args, ValueEnum};

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
    /// Port on 127.0.0.1 that leads to its SSH
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
        Ok(Self { column, value: value.to_owned() })
    }
}
