//! The unit, as systemd reads it.

use std::{fs, process::Command};

use crate::private_bus::{PROGRAM, shipped};

const UNIT: &str = "cloud-machine-agent.service";
const FACTORY_RESET: &str = "cloud-machine-factory-reset.service";

/// `systemd-analyze` on a unit, with the program where it was built: what it said.
fn analyze(name: &str, arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(shipped("systemd").join(name)).unwrap();
    let installed = "ExecStart=/usr/lib/cloud-machine/cloud-machine-agentd";
    assert!(text.contains(installed), "{text}");
    let unit = folder.path().join(name);
    fs::write(&unit, text.replace(installed, &format!("ExecStart={PROGRAM}"))).unwrap();
    let output = Command::new("systemd-analyze").args(arguments).arg(&unit).output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn systemd_takes_the_units_as_they_are() {
    for unit in [UNIT, FACTORY_RESET] {
        // Their page is no part of this host.
        assert_eq!(analyze(unit, &["--man=no", "verify"]), "");
    }
}

#[test]
fn the_unit_is_as_confined_as_the_page_says() {
    let said = analyze(UNIT, &["--offline=true", "security"]);
    let verdict = said.lines().find(|line| line.contains("Overall exposure level")).unwrap_or_else(|| panic!("{said}"));
    let exposure = verdict.rsplit_once(": ").unwrap().1.split(' ').next().unwrap();
    let page = fs::read_to_string(shipped("docs/reference/agent-service.md")).unwrap();
    assert!(page.contains(&format!("{UNIT}: {exposure} ")), "it is {exposure}: {said}");
}

#[test]
fn all_files_name_the_same_service() {
    let read = |file: &str| fs::read_to_string(shipped("systemd").join(file)).unwrap();
    let name = "org.cloud_machine.Agent1";
    let activation = read(&format!("{name}.service"));
    assert!(activation.contains(&format!("\nName={name}\n")), "{activation}");
    assert!(activation.contains(&format!("\nSystemdService={UNIT}\n")), "{activation}");
    assert!(read(UNIT).contains(&format!("\nBusName={name}\n")));
}
