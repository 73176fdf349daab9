//! `status`: what the agent did at the last boot, for a person or a script on the booted system. Reads the report that lies in memory;
//! must not judge it.

use std::{path::Path, process::ExitCode};

use cloud_machine_boot_report::{BootReport, BootReportError, PATH};
use cloud_machine_protocol::{causes, escaped};
use serde_json::Value;

use crate::{
    inventory::{Form, table::Columns, tell},
    print::print,
};

/// Argument that makes the agent's binary this tool.
pub(crate) const ARGUMENT: &str = "status";

const USAGE: &str = "\
cloud-machine-agent status says what the agent did when this machine started: which volume and address counted, what became of
each disk, and what did not count. Whoever has root on this machine can write another report: it proves nothing to anybody else.

usage: cloud-machine-agent status [--output table|json]

  --output table  text (default)
  --output json   one JSON object with the report
  --help          print this

examples:
  cloud-machine-agent status
  cloud-machine-agent status --output json | jq -r '.value.steps[] | [.id, .outcome] | @tsv'

exit codes: 0 the agent ended well; 1 it failed, or its report cannot be read; 2 wrong usage; 4 it did not run at this boot
";

/// Shows it as `arguments` say.
pub(crate) fn run(arguments: impl Iterator<Item = String>) -> ExitCode {
    let form = match form(&arguments.collect::<Vec<_>>()) {
        Ok(Some(form)) => form,
        Ok(None) => return print(USAGE, 0),
        Err(wrong) => {
            tell(&format!("error: {}\n\n{USAGE}", escaped(&wrong)));
            return ExitCode::from(2);
        }
    };
    let report = match BootReport::read(Path::new(PATH)) {
        Ok(report) => report,
        Err(error) => {
            tell(&format!("error: {}\n", escaped(&causes(&error))));
            return ExitCode::from(if matches!(error, BootReportError::Absent { .. }) { 4 } else { 1 });
        }
    };
    let text = match form {
        Form::Table => text(&report),
        Form::Json => match report.document() {
            Ok(text) => text,
            Err(error) => {
                tell(&format!("error: cannot encode the report: {error}\n"));
                return ExitCode::FAILURE;
            }
        },
    };
    print(&text, u8::from(!report.done()))
}

fn form(arguments: &[String]) -> Result<Option<Form>, String> {
    let words: Vec<&str> = arguments.iter().flat_map(|argument| argument.split('=')).collect();
    match words[..] {
        ["--help" | "-h"] => Ok(None),
        [] | ["--output", "table"] => Ok(Some(Form::Table)),
        ["--output", "json"] => Ok(Some(Form::Json)),
        ["--output", other] => Err(format!("--output is table or json, not {other}")),
        ["--output"] => Err("--output needs a value: table or json".to_owned()),
        [other, ..] => Err(format!("unknown argument {other}")),
    }
}

fn text(report: &BootReport) -> String {
    let mut lines = vec![report.summary()];
    let report = report.value();
    for (name, path) in [("volume", "/config/volume"), ("address", "/config/url/url")] {
        lines.extend(report.pointer(path).map(|value| format!("{name}: {}", word(value))));
    }
    for volume in items(&report["ignored_volumes"]) {
        lines.push(format!("does not count: /dev/{}: {}", word(&volume["device"]), word(&volume["reason"])));
    }
    let mut text: String = lines.iter().map(|line| format!("{}\n", escaped(line))).collect();
    let mut steps = Columns::new(&["STEP", "OUTCOME", "MILLISECONDS"]);
    for step in items(&report["steps"]) {
        steps.row(["id", "outcome", "milliseconds"].map(|key| word(&step[key])));
    }
    if !items(&report["steps"]).is_empty() {
        text.push('\n');
        text.push_str(&steps.text());
    }
    text
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// A text without its quotes, or of an object what kind it is.
fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(fields) => fields.get("kind").map(word).unwrap_or_default(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{report, running_in::RunningIn};

    #[test]
    fn arguments_choose_the_form() {
        let of = |words: &[&str]| form(&words.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!((of(&[]), of(&["--help"])), (Ok(Some(Form::Table)), Ok(None)));
        assert_eq!(of(&["--output", "json"]), of(&["--output=json"]));
        for (words, expected) in [
            (&["--output"][..], "--output needs a value: table or json"),
            (&["--output=yaml"], "--output is table or json, not yaml"),
            (&["x"], "unknown argument x"),
        ] {
            assert_eq!(of(words), Err(expected.to_owned()));
        }
    }

    #[test]
    fn a_failure_and_what_did_not_count_are_told_in_plain_text() {
        let mut report = report::without_worker(RunningIn::OwnDisk, "no disk\x1b[2J".to_owned());
        let device = "sr0".to_owned();
        report.ignored_volumes =
            vec![cloud_machine_protocol::IgnoredVolume { device, reason: "its device can be written".to_owned() }];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.json");
        let shown = |report: &cloud_machine_protocol::Report| {
            std::fs::write(&path, serde_json::to_vec(report).unwrap()).unwrap();
            let report = BootReport::read(&path).unwrap();
            (text(&report), report.done())
        };
        assert_eq!(
            shown(&report),
            (
                "The agent failed: no disk\\u{1b}[2J\ndoes not count: /dev/sr0: its device can be written\n".to_owned(),
                false
            )
        );
        report.result = cloud_machine_protocol::ReportResult::Done;
        let (text, done) = shown(&report);
        assert!(text.starts_with("The agent found nothing that counts") && done, "{text}");
    }
}
