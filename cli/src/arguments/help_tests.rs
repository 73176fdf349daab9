use clap::{Command as Clap, CommandFactory};

use super::*;

/// Every command that does something, with the words that lead to it.
fn commands(command: &Clap, before: &str, found: &mut Vec<(String, String)>) {
    let name = format!("{before}{}", command.get_name());
    let below: Vec<&Clap> = command.get_subcommands().filter(|one| one.get_name() != "help").collect();
    if below.is_empty() {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        found.push((name, help));
        return;
    }
    below.into_iter().for_each(|one| commands(one, &format!("{name} "), found));
}

fn all() -> Vec<(String, String)> {
    let mut found = Vec::new();
    commands(&Arguments::command(), "", &mut found);
    assert!(found.len() > 30, "{found:?}");
    found
}

/// The lines of an example that call this program, without what the shell does with them.
fn calls(help: &str) -> impl Iterator<Item = &str> {
    let ends = |line: &str| [" #", " <", " >", " |"].iter().filter_map(|end| line.find(end)).min();
    let lines = help.lines().map(str::trim).filter(|line| line.starts_with("cloud-machine "));
    lines.map(move |line| ends(line).map_or(line, |end| &line[..end]))
}

/// Words as a shell makes them of a call whose only quotes are single ones around whole words.
fn words(call: &str) -> Vec<&str> {
    let parts = call.split('\'').enumerate();
    parts
        .flat_map(|(index, part)| if index % 2 == 1 { vec![part] } else { part.split_whitespace().collect() })
        .collect()
}

#[test]
fn every_command_has_an_example_of_itself_that_it_takes() {
    for (name, help) in all() {
        assert!(help.starts_with("Example"), "{name} has no example: {help:?}");
        assert!(calls(&help).any(|call| call.starts_with(&name)), "no example of {name} calls it: {help}");
        for call in calls(&help) {
            // A digest is cut short there.
            let call = call.replace("5f0c…", &"5f".repeat(32));
            let taken = Arguments::try_parse_from(words(&call));
            assert!(taken.is_ok(), "{call}: {}", taken.unwrap_err());
        }
    }
}

#[test]
fn the_help_of_a_required_assurance_names_all_levels_in_their_order() {
    let levels = Assurance::ALL.map(Assurance::name).join(", ");
    for name in ["reimage", "verify"] {
        let command = Arguments::command();
        let command = command.find_subcommand(name).unwrap();
        let argument = command.get_arguments().find(|one| one.get_id() == "require_assurance").unwrap();
        let help = argument.get_help().unwrap().to_string();
        assert!(help.ends_with(&levels), "{name}: {help}");
    }
}
