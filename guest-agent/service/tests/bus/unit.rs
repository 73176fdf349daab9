//! The unit, as systemd reads it.

use std::{fs, process::Command};

use crate::private_bus::{PROGRAM, shipped};

const UNIT: &str = "cloud-machine-agent.service";

/// `systemd-analyze` on the unit, with the program where it was built: what it said, which has to be nothing but this.
fn analyze(arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(shipped("systemd").join(UNIT)).unwrap();
    let installed = "ExecStart=/usr/lib/cloud-machine/cloud-machine-agentd\n";
    assert!(text.contains(installed), "{text}");
    let unit = folder.path().join(UNIT);
    fs::write(&unit, text.replace(installed, &format!("ExecStart={PROGRAM}\n"))).unwrap();
    let output = Command::new("systemd-analyze").args(arguments).arg(&unit).output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn systemd_takes_the_unit_as_it_is() {
    // Its page is no part of this host.
    assert_eq!(analyze(&["--man=no", "verify"]), "");
}

#[test]
fn the_unit_is_as_confined_as_the_page_says() {
    let said = analyze(&["--offline=true", "security"]);
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
