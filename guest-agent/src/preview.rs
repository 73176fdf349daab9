//! `plan`: what a configuration would do to the disks of this machine, for a person who started the agent by hand. Only
//! reads; must not be part of a reimage.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use cloud_machine_config::{Config, LayerKind, defaults, merge, parse, validate};
use cloud_machine_disk::holders;
use cloud_machine_plan::{DiskPreview, PreviewVerdict, preview};
use cloud_machine_protocol::{Action, Inventory, causes, escaped, safe_json};
use cloud_machine_system::{inventory, inventory_with_loops};
use serde::Serialize;

use crate::{
    inventory::{Form, table::Columns},
    print::print,
};

/// Argument that makes the agent's binary this tool.
pub(crate) const ARGUMENT: &str = "plan";

pub(crate) const USAGE: &str = "\
cloud-machine-agent plan says what a configuration would do to the disks of this machine, and does nothing of it. It needs
root to see what lies on them.

usage: cloud-machine-agent plan --config FILE [--action reimage|boot] [--output table|json] [--loop]

  --config FILE     the document, as for `cloud-machine create --config`
  --action reimage  what a reimage would do (default)
  --action boot     what every boot would do
  --output table    aligned text (default)
  --output json     one JSON object
  --loop            loop devices too
  --help            print this

examples:
  cloud-machine-agent plan --config machine.yaml
  cloud-machine-agent plan --config machine.yaml --action boot --output json | jq -r '.value[] | select(.verdict == \"refuse\")'

exit codes: 0 no disk would be refused; 1 a disk would be, or the disks or the document cannot be read; 2 wrong usage;
3 the configuration is refused
";

#[derive(Debug, PartialEq, Eq)]
enum Order {
    Help,
    Look { config: PathBuf, action: Action, form: Form, loops: bool },
}

#[derive(Serialize)]
struct Envelope<'a> {
    kind: &'a str,
    version: u32,
    value: &'a [DiskPreview],
}

/// Why there is nothing to show, and the exit code for it.
struct Failure(u8, String);

/// Tells what would become of the disks, as `arguments` say.
pub(crate) fn run(arguments: impl Iterator<Item = String>) -> ExitCode {
    let outcome = match order(arguments) {
        Ok(Order::Help) => return print(USAGE, 0),
        Ok(Order::Look { config, action, form, loops }) => look(&config, action, form, loops),
        Err(wrong) => Err(Failure(2, format!("{}\n\n{USAGE}", escaped(&wrong)))),
    };
    match outcome {
        Ok((text, refused)) => match print(&text, 0) {
            code if code == ExitCode::SUCCESS => ExitCode::from(u8::from(refused)),
            code => code,
        },
        Err(Failure(code, text)) => {
            // Without standard error there is nobody to tell.
            std::io::stderr().write_all(format!("error: {text}\n").as_bytes()).unwrap_or_default();
            ExitCode::from(code)
        }
    }
}

fn look(file: &PathBuf, action: Action, form: Form, loops: bool) -> Result<(String, bool), Failure> {
    let failed = |error: &dyn std::error::Error| Failure(1, escaped(&causes(error)));
    let bytes = fs::read(file).map_err(|error| Failure(1, format!("read {}: {error}", file.display())))?;
    let config = config(&file.display().to_string(), &bytes)?;
    let found: Inventory = if loops { inventory_with_loops() } else { inventory() }.map_err(|error| failed(&error))?;
    let mut rows = preview(&config, &found, action);
    rows.iter_mut().for_each(refuse_in_use);
    let refused = rows.iter().any(|row| row.verdict == PreviewVerdict::Refuse);
    let text = match form {
        Form::Table => table(&rows),
        Form::Json => {
            safe_json(&Envelope { kind: ARGUMENT, version: 1, value: &rows }).map_err(|error| failed(&error))?
        }
    };
    Ok((text, refused))
}

/// A disk that would be written and is in use stays as it is: a plan for it is none for this moment.
fn refuse_in_use(row: &mut DiskPreview) {
    let untouched = matches!(row.verdict, PreviewVerdict::Keep | PreviewVerdict::Reuse | PreviewVerdict::Refuse);
    let Some(device) = row.device.as_ref().filter(|_| !untouched) else { return };
    let why = match holders(&Path::new("/dev").join(device)) {
        Ok(holders) if holders.is_empty() => return,
        Ok(holders) => {
            format!("it is in use: {}", holders.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
        }
        Err(error) => format!("it cannot be told whether it is in use: {}", causes(&error)),
    };
    let reason = format!("{why}; otherwise {}, since {}", row.method, row.reason);
    *row = DiskPreview { verdict: PreviewVerdict::Refuse, method: String::new(), reason, ..row.clone() };
}

/// The document over the defaults, as the host would read it.
fn config(name: &str, bytes: &[u8]) -> Result<Config, Failure> {
    let refused =
        |errors: cloud_machine_config::ConfigErrors| Failure(3, format!("the configuration is refused:\n{errors}"));
    let document = parse(LayerKind::Project, name, bytes).map_err(refused)?;
    let merged = merge(&[defaults(), document]).map_err(refused)?;
    validate(&merged).map_err(refused)
}

fn table(rows: &[DiskPreview]) -> String {
    let mut columns = Columns::new(&["DISK", "DEVICE", "VERDICT", "METHOD", "REASON"]);
    for row in rows {
        let none = || "-".to_owned();
        let method = if row.method.is_empty() { none() } else { row.method.clone() };
        columns.row([
            row.disk.clone().unwrap_or_else(none),
            row.device.clone().unwrap_or_else(none),
            word(row.verdict).to_owned(),
            method,
            row.reason.clone(),
        ]);
    }
    columns.text()
}

/// As JSON has it.
const fn word(verdict: PreviewVerdict) -> &'static str {
    match verdict {
        PreviewVerdict::Reimage => "reimage",
        PreviewVerdict::Boot => "boot",
        PreviewVerdict::Reuse => "reuse",
        PreviewVerdict::Create => "create",
        PreviewVerdict::Replace => "replace",
        PreviewVerdict::Wipe => "wipe",
        PreviewVerdict::Keep => "keep",
        PreviewVerdict::Refuse => "refuse",
    }
}

fn order(mut arguments: impl Iterator<Item = String>) -> Result<Order, String> {
    let (mut config, mut action, mut form, mut loops) = (None, Action::Reimage, Form::Table, false);
    while let Some(argument) = arguments.next() {
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (argument.clone(), None),
        };
        match (name.as_str(), &value) {
            ("--help" | "-h", None) => return Ok(Order::Help),
            ("--loop", None) => loops = true,
            ("--config" | "--action" | "--output", _) => {
                let value = value.or_else(|| arguments.next()).ok_or_else(|| format!("{name} needs a value"))?;
                match (name.as_str(), value.as_str()) {
                    ("--config", _) => config = Some(PathBuf::from(value)),
                    ("--action", "reimage") => action = Action::Reimage,
                    ("--action", "boot") => action = Action::Boot,
                    ("--action", _) => return Err(format!("--action is reimage or boot, not {value}")),
                    (_, "table") => form = Form::Table,
                    (_, "json") => form = Form::Json,
                    _ => return Err(format!("--output is table or json, not {value}")),
                }
            }
            _ => return Err(format!("unknown argument {argument}")),
        }
    }
    let config = config.ok_or("--config FILE is missing")?;
    Ok(Order::Look { config, action, form, loops })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ordered(arguments: &[&str]) -> Result<Order, String> {
        order(arguments.iter().map(ToString::to_string))
    }

    #[test]
    fn arguments_say_document_action_form_and_scope() {
        let config = PathBuf::from("m.yaml");
        let plain = Order::Look { config: config.clone(), action: Action::Reimage, form: Form::Table, loops: false };
        assert_eq!(ordered(&["--config", "m.yaml"]), Ok(plain));
        let all = Order::Look { config, action: Action::Boot, form: Form::Json, loops: true };
        assert_eq!(ordered(&["--config=m.yaml", "--action", "boot", "--output=json", "--loop"]), Ok(all));
        assert_eq!(ordered(&["--help"]), Ok(Order::Help));
    }

    #[test]
    fn wrong_usage_is_named() {
        for (arguments, expected) in [
            (&[][..], "--config FILE is missing"),
            (&["--config"], "--config needs a value"),
            (&["--config=x", "--action", "wipe"], "--action is reimage or boot, not wipe"),
            (&["--config=x", "--output=yaml"], "--output is table or json, not yaml"),
            (&["--loop=no"], "unknown argument --loop=no"),
            (&["x"], "unknown argument x"),
        ] {
            assert_eq!(ordered(arguments), Err(expected.to_owned()));
        }
    }

    #[test]
    fn a_table_has_a_row_for_each_disk_and_says_why() {
        let row = |disk: Option<&str>, verdict, method: &str, reason: &str| DiskPreview {
            disk: disk.map(str::to_owned),
            device: Some("vdb".to_owned()),
            verdict,
            method: method.to_owned(),
            reason: reason.to_owned(),
        };
        let rows = [
            row(Some("data"), PreviewVerdict::Wipe, "wipe zero, create xfs", "`on-reimage` is wipe"),
            row(None, PreviewVerdict::Refuse, "", "nobody declared it; it holds \x1b[2J"),
        ];
        let expected = "\
DISK  DEVICE  VERDICT  METHOD                 REASON
data  vdb     wipe     wipe zero, create xfs  `on-reimage` is wipe
-     vdb     refuse   -                      nobody declared it; it holds \\u{1b}[2J
";
        assert_eq!(table(&rows), expected);
    }
}
