//! `policy`: what an image with a policy would do at a boot, and what its initramfs needs for that. Only reads; must not
//! be part of a boot, but for [`load`].

mod explain;
mod needs;

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use cloud_machine_config::{POLICY, Policy};
use cloud_machine_protocol::{causes, escaped, safe_json};
use cloud_machine_system::SystemError;
use serde::Serialize;

use crate::{
    error::AgentError,
    inventory::{Form, tell},
    print::print,
};
use explain::Explained;

/// Argument that makes the agent's binary this tool.
pub(crate) const ARGUMENT: &str = "policy";

pub(crate) const USAGE: &str = "\
cloud-machine-agent policy says what an image that carries the agent would do at a boot, and what its initramfs needs for that.
It reads the policy and looks whether programs are there, and nothing else.

usage: cloud-machine-agent policy check [--policy FILE] [--output table|json]
       cloud-machine-agent policy programs|modules|drivers [--policy FILE]

  check            what a boot does without a volume and with one, what may be read, wiped and made, and which program is
                   not there in this system
  programs         absolute paths of the programs that the agent starts, one a line
  modules          names of the kernel modules that the agent needs, one a line
  drivers          for what it needs drivers, one a line: `disks`, and `network` when an address may be read
  --policy FILE    the policy; without it /etc/cloud-machine/agent.yaml, or the default policy when that is not there
  --output table   aligned text (default)
  --output json    one JSON object
  --help           print this

examples:
  cloud-machine-agent policy check
  cloud-machine-agent policy check --policy agent.yaml --output json | jq -r .value.modules[]
  cloud-machine-agent policy programs --policy agent.yaml | xargs -r ls -l

exit codes: 0 it was printed; 1 the policy is not there or cannot be read; 2 wrong usage; 3 the policy is refused
";

#[derive(Serialize)]
struct Envelope<'a> {
    kind: &'a str,
    version: u32,
    value: Explained<'a>,
}

#[derive(Debug, PartialEq, Eq)]
enum Order {
    Help,
    Check(Option<PathBuf>, Form),
    Programs(Option<PathBuf>),
    Modules(Option<PathBuf>),
    Drivers(Option<PathBuf>),
}

/// The policy, and whether there is a file with one: `named`, or the one of the initramfs. Only the latter may be absent.
pub(crate) fn load(named: Option<&Path>) -> Result<(Policy, bool), AgentError> {
    load_or(named, Path::new(POLICY))
}

fn load_or(named: Option<&Path>, usual: &Path) -> Result<(Policy, bool), AgentError> {
    let path = named.unwrap_or(usual);
    // A link that leads nowhere was put there by somebody, and is no absent policy.
    let is_absent = fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    match (is_absent, named) {
        (true, None) => Ok((Policy::default(), false)),
        (true, Some(_)) => Err(AgentError::PolicyAbsent { file: path.display().to_string() }),
        (false, _) => {
            let name = path.display().to_string();
            let bytes = fs::read(path).map_err(SystemError::io("read the policy", &name))?;
            let policy = Policy::parse(&name, &bytes).map_err(AgentError::Policy)?;
            Ok((policy, true))
        }
    }
}

/// Prints what `arguments` ask for.
pub(crate) fn run(arguments: impl Iterator<Item = String>) -> ExitCode {
    let order = match order(arguments) {
        Ok(order) => order,
        Err(wrong) => {
            tell(&format!("error: {}\n\n{USAGE}", escaped(&wrong)));
            return ExitCode::from(2);
        }
    };
    let (Order::Check(named, _) | Order::Programs(named) | Order::Modules(named) | Order::Drivers(named)) = &order
    else {
        return print(USAGE, 0);
    };
    let (policy, found) = match load(named.as_deref()) {
        Ok(loaded) => loaded,
        // Made for people, with a line and a caret.
        Err(error @ AgentError::Policy(_)) => return failed(3, &error.to_string()),
        Err(error) => return failed(1, &escaped(&causes(&error))),
    };
    let path = named.as_deref().unwrap_or(Path::new(POLICY)).display().to_string();
    let programs = needs::programs(&policy);
    match order {
        Order::Programs(_) => print(&lines(programs.iter().map(|program| program.path)), 0),
        Order::Modules(_) => print(&lines(needs::modules(&policy)), 0),
        Order::Drivers(_) => print(&lines(needs::drivers(&policy)), 0),
        Order::Check(_, Form::Json) => {
            let value = Explained::new(&policy, &path, found, programs);
            match safe_json(&Envelope { kind: ARGUMENT, version: 1, value }) {
                Ok(text) => print(&text, 0),
                Err(error) => failed(1, &format!("cannot encode the policy: {error}")),
            }
        }
        Order::Check(..) | Order::Help => print(&Explained::new(&policy, &path, found, programs).table(), 0),
    }
}

fn failed(code: u8, text: &str) -> ExitCode {
    tell(&format!("error: {text}\n"));
    ExitCode::from(code)
}

fn lines<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().flat_map(|name| [name, "\n"]).collect()
}

fn order(mut arguments: impl Iterator<Item = String>) -> Result<Order, String> {
    let what = arguments.next().ok_or("policy needs one of check, programs, modules and drivers")?;
    if matches!(what.as_str(), "--help" | "-h") {
        return Ok(Order::Help);
    }
    if !matches!(what.as_str(), "check" | "programs" | "modules" | "drivers") {
        return Err(format!("policy is followed by check, programs, modules or drivers, not {what}"));
    }
    let (mut named, mut form) = (None, Form::Table);
    while let Some(argument) = arguments.next() {
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (argument.as_str(), None),
        };
        match (name, &value) {
            ("--help" | "-h", None) => return Ok(Order::Help),
            ("--policy", _) => {
                let value = value.or_else(|| arguments.next()).filter(|value| !value.is_empty());
                named = Some(PathBuf::from(value.ok_or("--policy needs a value: the path of a file")?));
            }
            ("--output", _) if what == "check" => {
                form = match value.or_else(|| arguments.next()).as_deref() {
                    Some("table") => Form::Table,
                    Some("json") => Form::Json,
                    Some(other) => return Err(format!("--output is table or json, not {other}")),
                    None => return Err("--output needs a value: table or json".to_owned()),
                }
            }
            ("--output", _) => return Err(format!("--output belongs to check, and {what} prints lines")),
            _ => return Err(format!("unknown argument {argument}")),
        }
    }
    Ok(match what.as_str() {
        "check" => Order::Check(named, form),
        "programs" => Order::Programs(named),
        "modules" => Order::Modules(named),
        _ => Order::Drivers(named),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn ordered(arguments: &[&str]) -> Result<Order, String> {
        order(arguments.iter().map(ToString::to_string))
    }

    #[test]
    fn arguments_say_what_policy_and_form() {
        let file = || Some(PathBuf::from("a.yaml"));
        assert_eq!(ordered(&["check"]), Ok(Order::Check(None, Form::Table)));
        assert_eq!(ordered(&["check", "--policy=a.yaml", "--output", "json"]), Ok(Order::Check(file(), Form::Json)));
        assert_eq!(ordered(&["programs", "--policy", "a.yaml"]), Ok(Order::Programs(file())));
        assert_eq!(ordered(&["modules"]), Ok(Order::Modules(None)));
        assert_eq!(ordered(&["drivers", "--policy=a.yaml"]), Ok(Order::Drivers(file())));
        for help in [&["--help"][..], &["check", "-h"], &["modules", "--policy", "x", "--help"]] {
            assert_eq!(ordered(help), Ok(Order::Help));
        }
    }

    #[test]
    fn wrong_usage_is_named() {
        for (arguments, expected) in [
            (&[][..], "policy needs one of check, programs, modules and drivers"),
            (&["show"], "policy is followed by check, programs, modules or drivers, not show"),
            (&["check", "--policy"], "--policy needs a value: the path of a file"),
            (&["check", "--policy="], "--policy needs a value: the path of a file"),
            (&["check", "--output"], "--output needs a value: table or json"),
            (&["check", "--output=yaml"], "--output is table or json, not yaml"),
            (&["programs", "--output=json"], "--output belongs to check, and programs prints lines"),
            (&["check", "agent.yaml"], "unknown argument agent.yaml"),
        ] {
            assert_eq!(ordered(arguments), Err(expected.to_owned()));
        }
    }

    #[test]
    fn absent_unreadable_and_refused_are_three_errors() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("agent.yaml");
        let told = |named: Option<&Path>| load_or(named, &file).map_err(|error| causes(&error));
        let place = file.display();

        assert_eq!(told(None), Ok((Policy::default(), false)));
        let absent =
            format!("there is no policy {place}: name one that is there, or leave --policy out for that of the image");
        assert_eq!(told(Some(&file)), Err(absent));

        symlink("nowhere", &file).unwrap();
        let unreadable = format!("cannot read the policy {place}: No such file or directory (os error 2)");
        assert_eq!(told(None), Err(unreadable.clone()));
        assert_eq!(told(Some(&file)), Err(unreadable));
        fs::remove_file(&file).unwrap();

        fs::create_dir(&file).unwrap();
        let unreadable = format!("cannot read the policy {place}: Is a directory (os error 21)");
        assert_eq!(told(None), Err(unreadable));
        // No file can be below one: that is not absent either.
        fs::remove_dir(&file).unwrap();
        fs::write(&file, "wipe: all\n").unwrap();
        let below = file.join("agent.yaml");
        let unreadable = format!("cannot read the policy {}: Not a directory (os error 20)", below.display());
        assert_eq!(load_or(None, &below).map_err(|error| causes(&error)), Err(unreadable));

        let refused = told(None).unwrap_err();
        let place = format!("the policy of the image is refused:\nerror: {place}:1:7: invalid value `all`, a text\n");
        assert!(refused.starts_with(&place), "{refused}");
        fs::write(&file, "").unwrap();
        assert_eq!(told(None), Ok((Policy::default(), true)));
        assert_eq!(told(Some(&file)), Ok((Policy::default(), true)));
    }
}
