//! `config audit --check-cloud-init`: what the schema of an installed cloud-init finds in the keys that it would be handed, told
//! at their places in the documents. Must not give a key a meaning, nor hand over a secret.

use std::{collections::BTreeSet, io::Write, path::Path, process::Command, time::Duration};

use cloud_machine_child::{self as child, Bounds, Output};
use cloud_machine_config::Merged;
use cloud_machine_operation::described::refused;
use cloud_machine_protocol::escape;

use crate::{
    failure::{Failure, Kind},
    ui::Ui,
};

/// cloud-init is a program of Python, which takes seconds to start on a busy host.
const BOUNDS: Bounds = Bounds { limit: Duration::from_secs(120), output: 1 << 20 };
/// What stands before the findings, all of them on one line, `KEY: WHAT, KEY: WHAT`.
const ERRORS: &str = "Cloud config schema errors: ";
const DEPRECATIONS: &str = "Cloud config schema deprecations: ";

/// What every cloud-init finds wrong that judges anything at all.
const WRONG: &str = "hostname: [wrong]\n";

/// Lets `program`, a cloud-init, judge the keys of `shown`, in which secrets are redacted. Keys in which `secrets` are would be
/// judged by what stands in their place, so they are left out.
///
/// # Errors
/// Of [`Kind::Refused`] with all that it finds wrong; of [`Kind::Failed`] when it cannot be asked or its answer is none.
pub(super) fn check(ui: &Ui, program: &Path, shown: &Merged, secrets: &BTreeSet<String>) -> Result<(), Failure> {
    let keys = shown.cloud_init();
    let names: Vec<String> = keys.keys().map(|name| name.into_owned()).collect();
    let withheld: Vec<&str> = names.iter().map(String::as_str).filter(|name| secrets.contains(*name)).collect();
    if !withheld.is_empty() {
        ui.note(&format!("cloud-init judges nothing of {}: there are secrets in it", withheld.join(", ")));
    }
    let keys = keys.without(&withheld);
    if keys.is_empty() {
        return Ok(());
    }
    if ask(program, WRONG)?.status.success() {
        let text = format!("{} calls a document good that is wrong", program.display());
        return Err(
            Failure::failed(text).hint("cloud-init judges nothing without Python's jsonschema (python3-jsonschema)")
        );
    }
    let output = ask(program, &keys.to_yaml())?;
    let said = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    let said = String::from_utf8_lossy(&said);
    for (key, what) in findings(&said, DEPRECATIONS, &names) {
        ui.note(&format!("cloud-init: {key}: {what}"));
    }
    if output.status.success() {
        ui.note("cloud-init finds nothing wrong");
        return Ok(());
    }
    let errors: Vec<(String, String)> =
        findings(&said, ERRORS, &names).into_iter().map(|(key, what)| (key, format!("cloud-init: {what}"))).collect();
    if errors.is_empty() {
        let (ended, said) = (output.status, escape::tail(said.as_bytes(), 5));
        let text = format!("cloud-init schema failed ({ended}) and names no key:\n{said}");
        return Err(Failure::failed(text));
    }
    Err(refused(shown.errors_at(&errors)).into())
}

/// What cloud-init says of a document with these keys.
fn ask(program: &Path, keys: &str) -> Result<Output, Failure> {
    let mut file = tempfile::Builder::new()
        .prefix("cloud-init-")
        .suffix(".yaml")
        .tempfile()
        .map_err(Failure::during(Kind::Failed, "make a file for cloud-init"))?;
    write!(file, "#cloud-config\n{keys}")
        .map_err(Failure::during(Kind::Failed, format!("write {}", file.path().display())))?;
    let mut command = Command::new(program);
    command.args(["schema", "--config-file"]).arg(file.path());
    child::run(&mut command, BOUNDS).map_err(|error| {
        Failure::during(Kind::Failed, "check the keys of cloud-init")(error).hint(
            "it is Debian's package cloud-init; --check-cloud-init=PATH names another program, such as one that runs it unpacked",
        )
    })
}

/// The findings behind `title`: path of the key and what is wrong, safe to show, each once. What is wrong may have commas and
/// colons in it, so a new finding begins only where one of the keys `names` stands.
fn findings(said: &str, title: &str, names: &[String]) -> Vec<(String, String)> {
    let Some(line) = said.lines().find_map(|line| line.split_once(title)).map(|(_, line)| line) else {
        return Vec::new();
    };
    let mut found: Vec<(String, String)> = Vec::new();
    for part in line.split(", ") {
        // Of the document itself the path is empty.
        let begun = part.split_once(": ").filter(|(path, _)| {
            let below = |name: &String| {
                path.strip_prefix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            path.is_empty() || names.iter().any(below)
        });
        match (begun, found.last_mut()) {
            (Some((path, what)), _) => found.push((path.to_owned(), what.to_owned())),
            (None, Some((_, what))) => *what = format!("{what}, {part}"),
            (None, None) => {}
        }
    }
    for (path, what) in &mut found {
        (*path, *what) = (escape::line(path.as_bytes(), 200), escape::line(what.as_bytes(), 500));
    }
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_told_apart_by_the_keys_of_the_document() {
        let names = ["hostname", "users", "runcmd"].map(str::to_owned);
        let said = "Error:\nCloud config schema errors: hostname: ['a'] is not of type 'string', hostname: ['a'] is not of type \
                    'string', users.0: {'name': 'a', 'x': 1, 'y: z': 2} is not valid\u{1b}, runcmd: 'b' is not of type 'array'\n";
        let found = findings(said, ERRORS, &names);
        let found: Vec<(&str, &str)> = found.iter().map(|(path, what)| (path.as_str(), what.as_str())).collect();
        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!(found[0], ("hostname", "['a'] is not of type 'string'"));
        assert_eq!(found[2], ("runcmd", "'b' is not of type 'array'"));
        assert!(found[1].1.contains("'y: z': 2} is not valid") && !found[1].1.contains('\u{1b}'), "{found:?}");
        let whole = format!("{ERRORS}: 'hostnam' was unexpected, runcmd: 'b' is wrong");
        assert_eq!(findings(&whole, ERRORS, &names)[0], (String::new(), "'hostnam' was unexpected".to_owned()));
        let dotted = format!("{ERRORS}runcmd: a, x.y: b, x.z: c");
        let names = ["runcmd", "x.y"].map(str::to_owned);
        assert_eq!(findings(&dotted, ERRORS, &names).len(), 2, "x.z is no key of the document");
        assert!(findings("Valid cloud-config", ERRORS, &names).is_empty());
    }
}
