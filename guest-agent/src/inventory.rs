//! `inventory`: what the machine has, for a person or a script that started the agent by hand. Only reads; must not
//! be part of a reimage.

use crate::print::print;

pub(crate) mod table;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use cloud_machine_protocol::{causes, escaped, safe_json};
use cloud_machine_system::survey::{Survey, survey};
use serde::Serialize;

/// Argument that makes the agent's binary this tool.
pub(crate) const ARGUMENT: &str = "inventory";

pub(crate) const USAGE: &str = "\
cloud-machine-agent inventory lists the disks of this machine. It only reads, and needs root to see what lies on them.

usage: cloud-machine-agent inventory [--output table|json] [--loop]

  --output table   aligned text; what can be mistaken goes to standard error (default)
  --output json    one JSON object, sizes in bytes
  --loop           loop devices too
  --help           print this

examples:
  cloud-machine-agent inventory
  cloud-machine-agent inventory --loop --output json
  cloud-machine-agent inventory --output json | jq -r '.value.disks[] | select(.serial == \"A1\") | .name'

exit codes: 0 the disks were listed, each unreadable one with its reason; 1 /sys cannot be read; 2 wrong usage
";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Table,
    Json,
}

#[derive(Debug, PartialEq, Eq)]
enum Order {
    Help,
    Look { form: Form, loops: bool },
}

#[derive(Serialize)]
struct Envelope<'a> {
    kind: &'a str,
    version: u32,
    value: &'a Survey,
}

/// Lists the disks as `arguments` say.
pub(crate) fn run(arguments: impl Iterator<Item = String>) -> ExitCode {
    let (form, loops) = match order(arguments) {
        Ok(Order::Help) => return print(USAGE, 0),
        Ok(Order::Look { form, loops }) => (form, loops),
        Err(wrong) => {
            tell(&format!("error: {}\n\n{USAGE}", escaped(&wrong)));
            return ExitCode::from(2);
        }
    };
    let survey = match survey(loops) {
        Ok(survey) => survey,
        Err(error) => {
            tell(&format!("error: {}\n", escaped(&causes(&error))));
            return ExitCode::FAILURE;
        }
    };
    match form {
        Form::Json => match safe_json(&Envelope { kind: ARGUMENT, version: 1, value: &survey }) {
            Ok(text) => print(&text, 0),
            Err(error) => {
                tell(&format!("error: cannot encode the inventory: {error}\n"));
                ExitCode::FAILURE
            }
        },
        Form::Table => {
            let code = print(&table::table(&survey), 0);
            for ambiguity in &survey.ambiguities {
                tell(&format!("warning: {}\n", escaped(&ambiguity.to_string())));
            }
            code
        }
    }
}

fn order(mut arguments: impl Iterator<Item = String>) -> Result<Order, String> {
    let (mut form, mut loops) = (Form::Table, false);
    while let Some(argument) = arguments.next() {
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (argument.as_str(), None),
        };
        match (name, &value) {
            ("--help" | "-h", None) => return Ok(Order::Help),
            ("--loop", None) => loops = true,
            ("--output", _) => {
                form = match value.or_else(|| arguments.next()).as_deref() {
                    Some("table") => Form::Table,
                    Some("json") => Form::Json,
                    Some(other) => return Err(format!("--output is table or json, not {other}")),
                    None => return Err("--output needs a value: table or json".to_owned()),
                }
            }
            _ => return Err(format!("unknown argument {argument}")),
        }
    }
    Ok(Order::Look { form, loops })
}

/// Without standard error there is nobody to tell.
pub(crate) fn tell(text: &str) {
    io::stderr().write_all(text.as_bytes()).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use cloud_machine_system::survey::Row;

    use super::*;

    fn ordered(arguments: &[&str]) -> Result<Order, String> {
        order(arguments.iter().map(ToString::to_string))
    }

    #[test]
    fn arguments_say_form_and_scope() {
        assert_eq!(ordered(&[]), Ok(Order::Look { form: Form::Table, loops: false }));
        let all = Ok(Order::Look { form: Form::Json, loops: true });
        assert_eq!(ordered(&["--output", "json", "--loop"]), all);
        assert_eq!(ordered(&["--loop", "--output=json"]), all);
        assert_eq!(ordered(&["--loop", "--help"]), Ok(Order::Help));
    }

    #[test]
    fn wrong_usage_is_named() {
        for (arguments, expected) in [
            (&["--output"][..], "--output needs a value: table or json"),
            (&["--output", "yaml"], "--output is table or json, not yaml"),
            (&["--loop=no"], "unknown argument --loop=no"),
            (&["/dev/vda"], "unknown argument /dev/vda"),
        ] {
            assert_eq!(ordered(arguments), Err(expected.to_owned()));
        }
    }

    #[test]
    fn json_keeps_the_value_and_holds_nothing_that_a_terminal_obeys() {
        let reason = "\u{9b}2J \x1b[2J \x7f \u{202e} ö 🚀 \\".to_owned();
        let row = Row::Unreadable { name: "vda".to_owned(), reason: reason.clone() };
        let survey = Survey { disks: vec![row], ambiguities: Vec::new() };
        let text = safe_json(&Envelope { kind: ARGUMENT, version: 1, value: &survey }).unwrap();
        assert!(text.chars().all(|letter| letter == '\n' || letter == ' ' || letter.is_ascii_graphic()), "{text}");
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&value["kind"], &value["version"]), (&"inventory".into(), &1.into()));
        assert_eq!(value["value"]["disks"][0]["reason"], reason);
    }
}
