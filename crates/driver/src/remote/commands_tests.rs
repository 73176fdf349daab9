use std::{fs, path::Path};

use super::*;

/// A machine whose switches are files below `folder`, and commands for it.
fn commanded(folder: &Path, change: impl FnOnce(&str) -> String) -> Result<Commanded, DriverError> {
    let controls = folder.join(FOLDER);
    fs::create_dir_all(&controls).unwrap();
    let at = folder.display();
    let text = format!(
        "
power:
  on: [sh, -c, 'echo Chassis Power is on > {at}/power']
  off: [sh, -c, 'echo Chassis Power is off > {at}/power']
  state: [cat, '{at}/power']
  limit: 2
rescue:
  on: [sh, -c, 'echo on > {at}/rescue; echo $0 $1 $2 $3 > {at}/named; cat $3; cat {at}/key', '{{name}}', '{{uuid}}', '{{address}}', '{{public-key}}']
  off: [sh, -c, 'echo off > {at}/rescue']
  state: [cat, '{at}/rescue']
  limit: 2
"
    );
    fs::write(controls.join("default.yaml"), change(&text)).unwrap();
    for (name, text) in [("power", "on"), ("rescue", "off"), ("key", ""), ("id.pub", "a key of ours\n")] {
        fs::write(folder.join(name), text).unwrap();
    }
    let control = control::read(&[controls], "default")?;
    let (name, uuid, address) = ("web".to_owned(), "u-1".to_owned(), "192.0.2.7".to_owned());
    Ok(Commanded { name, uuid, address, control })
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn login(folder: &Path) -> LoginKey {
    LoginKey { private: folder.join("id"), public: String::new() }
}

#[test]
fn each_command_is_asked_whether_it_did_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let machine = commanded(folder.path(), str::to_owned).unwrap();
    assert_eq!(machine.power(soon()).unwrap(), Switch::On);
    machine.switch(Switch::Off, soon()).unwrap();
    assert_eq!(machine.power(soon()).unwrap(), Switch::Off);
    let system = machine.enable_rescue(&login(folder.path()), soon()).unwrap();
    assert_eq!(system.host_key, None);
    let named = fs::read_to_string(folder.path().join("named")).unwrap();
    assert_eq!(named, format!("web u-1 192.0.2.7 {}\n", folder.path().join("id.pub").display()));
    machine.disable_rescue(soon()).unwrap();
    machine.switch(Switch::On, soon()).unwrap();
    assert_eq!(fs::read_to_string(folder.path().join("rescue")).unwrap(), "off\n");
}

#[test]
fn a_rescue_system_that_one_start_uses_up_is_not_believed_while_it_is_still_to_come() {
    let folder = tempfile::tempdir().unwrap();
    let machine = commanded(folder.path(), |text| text.replace("rescue:\n", "rescue:\n  one-boot: true\n")).unwrap();
    machine.enable_rescue(&login(folder.path()), soon()).unwrap();
    let error = machine.entered(soon()).unwrap_err();
    assert_eq!(error.kind, DriverErrorKind::Refused);
    assert!(error.to_string().contains("machine web has not booted its rescue system"), "{error}");
    fs::write(folder.path().join("rescue"), "off").unwrap();
    machine.entered(soon()).unwrap();
    fs::write(folder.path().join("rescue"), "?").unwrap();
    machine.entered(soon()).unwrap_err();
    // Elsewhere it stays on until it is switched off.
    let machine = commanded(folder.path(), str::to_owned).unwrap();
    machine.enable_rescue(&login(folder.path()), soon()).unwrap();
    machine.entered(soon()).unwrap();
}

#[test]
fn a_host_key_that_the_rescue_command_prints_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let machine = commanded(folder.path(), str::to_owned).unwrap();
    fs::write(folder.path().join("key"), "hello\nssh-ed25519 AAAA rescue\n").unwrap();
    let system = machine.enable_rescue(&login(folder.path()), soon()).unwrap();
    assert_eq!(system.host_key.as_deref(), Some("ssh-ed25519 AAAA rescue"));
    let configured = |text: &str| {
        text.replace("rescue:\n", "rescue:\n  host-key: SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n")
    };
    let machine = commanded(folder.path(), configured).unwrap();
    assert_eq!(
        machine.enable_rescue(&login(folder.path()), soon()).unwrap().host_key.as_deref(),
        Some("SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
    );
}

#[test]
fn what_a_command_did_not_do_is_told() {
    let folder = tempfile::tempdir().unwrap();
    for (from, to, kind, why) in [
        (
            "echo Chassis Power is off >",
            "true #",
            DriverErrorKind::TimedOut,
            "the power of machine web is not off 2 s after",
        ),
        ("echo Chassis Power is off >", "echo it is locked >&2; exit 3 #", DriverErrorKind::Failed, "it is locked"),
        ("echo Chassis Power is off >", "sleep 60 #", DriverErrorKind::TimedOut, "did not end within"),
        ("off: [sh,", "off: [/nonexistent/ipmi,", DriverErrorKind::Failed, "cannot run /nonexistent/ipmi"),
    ] {
        let machine = commanded(folder.path(), |text| text.replacen(from, to, 1)).unwrap();
        let error = machine.switch(Switch::Off, soon()).unwrap_err();
        let told = cloud_machine_protocol::causes(&error);
        assert!(error.kind == kind && told.contains(why), "{to}: {told}");
    }
}

#[test]
fn a_state_that_says_nothing_or_both_is_no_state() {
    let folder = tempfile::tempdir().unwrap();
    let machine = commanded(folder.path(), str::to_owned).unwrap();
    for (text, expected) in [
        ("Chassis Power is on\n", Some(Switch::On)),
        ("{\"PowerState\": \"Off\"}", Some(Switch::Off)),
        ("running", Some(Switch::On)),
        ("False", Some(Switch::Off)),
        ("", None),
        ("turning on, was off", None),
        ("online", None),
        ("unknown", None),
    ] {
        fs::write(folder.path().join("power"), text).unwrap();
        match (machine.power(soon()), expected) {
            (Ok(found), Some(expected)) => assert_eq!(found, expected, "{text}"),
            (Err(error), None) => assert!(error.to_string().contains("says neither on nor off"), "{text}: {error}"),
            (found, _) => panic!("{text}: {found:?}"),
        }
    }
}

#[test]
fn without_commands_for_a_rescue_system_nothing_is_reimaged() {
    let folder = tempfile::tempdir().unwrap();
    let without = |text: &str| text.split("rescue:").next().unwrap().to_owned();
    let machine = commanded(folder.path(), without).unwrap();
    let error = machine.enable_rescue(&login(folder.path()), soon()).unwrap_err();
    assert_eq!(error.kind, DriverErrorKind::Refused);
    assert!(error.to_string().contains("names no commands for one") && error.way_out.is_some());
}

#[test]
fn a_state_that_takes_nearly_all_of_the_limit_is_waited_for_and_never_beyond_the_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let state = |script: &'static str| {
        move |text: &str| {
            let at = folder_of(text);
            let to = format!("state: [sh, -c, '{}']", script.replace("AT", &at));
            text.replacen(&format!("state: [cat, '{at}/power']"), &to, 1)
        }
    };
    // Each answer takes most of the 6 seconds that the file allows, and only the one that begins last says so.
    let late = "sleep 4; echo >> AT/asked; if [ $(wc -l < AT/asked) -lt 3 ]; then echo on; else cat AT/power; fi";
    let machine = commanded(folder.path(), |text| state(late)(text).replace("limit: 2", "limit: 6")).unwrap();
    machine.switch(Switch::Off, soon()).unwrap();
    assert_eq!(fs::read_to_string(folder.path().join("power")).unwrap(), "Chassis Power is off\n");
    // More than the file allows.
    let machine = commanded(folder.path(), state("sleep 30")).unwrap();
    let began = Instant::now();
    assert_eq!(machine.power(soon()).unwrap_err().kind, DriverErrorKind::TimedOut);
    // And whatever it allows, not more than what is left.
    let machine = commanded(folder.path(), |text| state("sleep 30")(text).replace("limit: 2", "limit: 60")).unwrap();
    let until = Instant::now() + Duration::from_millis(500);
    assert_eq!(machine.power(until).unwrap_err().kind, DriverErrorKind::TimedOut);
    assert_eq!(machine.switch(Switch::Off, until).unwrap_err().kind, DriverErrorKind::TimedOut);
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert_eq!(fs::read_to_string(folder.path().join("power")).unwrap(), "on", "what is not known is not switched");
}

/// Where the files of the commands in `text` are.
fn folder_of(text: &str) -> String {
    let start = text.split("state: [cat, '").nth(1).unwrap();
    start.split("/power'").next().unwrap().to_owned()
}
