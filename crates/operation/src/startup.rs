//! What a system says on its console about units that failed while it started (systemd's status lines). Text of the guest:
//! it explains a failure and must decide nothing else.

/// What a status line of a unit that failed begins with.
const FAILED: &str = "[FAILED] ";
/// What is said when the system stops at its local filesystems, by its name or by its description.
const STOPPED: [&str; 3] =
    ["Dependency failed for local-fs.target", "Dependency failed for Local File Systems", "You are in emergency mode"];
/// Lines of the end of a console in which such lines are looked for.
pub(crate) const LINES: usize = 2000;
/// Most units that are named.
const MAX_UNITS: usize = 5;

/// The status lines of the units that failed, without what every such line begins with.
pub(crate) fn failed_units(console: &str) -> Vec<String> {
    let told = console.lines().filter_map(|line| Some(line.split_once(FAILED)?.1.trim().to_owned()));
    let mut units: Vec<String> = Vec::new();
    for unit in told {
        if !units.contains(&unit) && units.len() < MAX_UNITS {
            units.push(unit);
        }
    }
    units
}

/// Why the system goes no further, when it says that it does not.
pub(crate) fn stopped(console: &str) -> Option<String> {
    if !STOPPED.iter().any(|text| console.contains(text)) {
        return None;
    }
    let units = failed_units(console);
    let units = if units.is_empty() { "it names no unit".to_owned() } else { units.join("; ") };
    Some(format!("the machine's system stopped while it started: {units}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the console of a Debian 12 shows it, colours removed.
    const CONSOLE: &str = "\
[  OK  ] Found device dev-vdi2.device - /dev/vdi2.
         Mounting mnt-work\\x2dtwo.mount - the partition `two` of the disk `work` (/dev/vdi2) of cloud-machine...
[FAILED] Failed to mount mnt-work\\x2dtwo.mount - the partition `two` of the disk `work` (/dev/vdi2) of cloud-machine.
See 'systemctl status mnt-work\\x2dtwo.mount' for details.
";
    const DEPENDS: &str = "[DEPEND] Dependency failed for local-fs.target - Local File Systems.\n";

    #[test]
    fn a_system_that_stops_says_for_which_unit_and_so_for_which_disk() {
        let told = stopped(&format!("{CONSOLE}{DEPENDS}")).unwrap();
        let unit = "Failed to mount mnt-work\\x2dtwo.mount - the partition `two` of the disk `work` (/dev/vdi2) of cloud-machine.";
        assert_eq!(told, format!("the machine's system stopped while it started: {unit}"));
        assert_eq!(stopped("You are in emergency mode.").unwrap().split(": ").last(), Some("it names no unit"));
    }

    #[test]
    fn a_system_that_goes_on_without_a_unit_has_not_stopped() {
        assert_eq!(stopped(CONSOLE), None);
        assert_eq!(failed_units(&CONSOLE.repeat(9)).len(), 1);
        assert_eq!(failed_units("[  OK  ] Reached target"), Vec::<String>::new());
    }
}
