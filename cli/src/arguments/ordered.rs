//! `--config`, `--set` and `--unset` in the order in which they were typed, since a later one wins. Must not read a
//! file or parse a value.

use std::path::PathBuf;

use clap::{ArgMatches, Args, Command, Error, FromArgMatches};

/// Where the configuration comes from, on the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Configuration {
    /// In the order of the command line.
    pub(crate) steps: Vec<Step>,
}

/// One argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A document.
    File(PathBuf),
    /// `KEY=VALUE`.
    Set(String),
    /// A key whose values so far are forgotten.
    Unset(String),
}

/// As clap knows them: three lists, each in its own order.
#[derive(Args)]
struct Typed {
    /// Read a configuration document; of --config, --set and --unset the later one wins
    #[arg(long, value_name = "FILE")]
    config: Vec<PathBuf>,
    /// Set one value, for example resources.ram=2
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Forget what was set for a key before this argument, for example resources.ram
    #[arg(long, value_name = "KEY")]
    unset: Vec<String>,
}

impl Args for Configuration {
    fn augment_args(command: Command) -> Command {
        Typed::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Typed::augment_args_for_update(command)
    }
}

impl FromArgMatches for Configuration {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let typed = Typed::from_arg_matches(matches)?;
        let mut steps: Vec<(usize, Step)> = Vec::new();
        let mut add = |name: &str, values: Vec<Step>| {
            steps.extend(matches.indices_of(name).into_iter().flatten().zip(values));
        };
        add("config", typed.config.into_iter().map(Step::File).collect());
        add("set", typed.set.into_iter().map(Step::Set).collect());
        add("unset", typed.unset.into_iter().map(Step::Unset).collect());
        steps.sort_by_key(|(index, _)| *index);
        Ok(Self { steps: steps.into_iter().map(|(_, step)| step).collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Whole {
        #[command(flatten)]
        configuration: Configuration,
    }

    #[test]
    fn the_order_of_the_command_line_is_kept_across_the_three() {
        let typed = ["x", "--set", "a=1", "--config", "f", "--unset=a", "--set=a=2", "--config", "g", "--unset", "b"];
        let steps = Whole::parse_from(typed).configuration.steps;
        let set = |text: &str| Step::Set(text.to_owned());
        let unset = |text: &str| Step::Unset(text.to_owned());
        let file = |text: &str| Step::File(PathBuf::from(text));
        assert_eq!(steps, [set("a=1"), file("f"), unset("a"), set("a=2"), file("g"), unset("b")]);
        assert_eq!(Whole::parse_from(["x"]).configuration, Configuration::default());
    }
}
