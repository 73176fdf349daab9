//! Where units for the booted system lie until its root is found. sd_booted(3) says that systemd runs where there is its folder of units, and
//! udev's rules go by that: LVM's would have systemd assemble the groups, in an initramfs that has none, and no root in a group would come
//! up. Must not know what a unit says.

use std::{fs, path::Path};

use cloud_machine_system::SystemError;

use crate::error::AgentError;

/// Systemd's, of units that last until the machine is switched off (systemd.unit(5)).
const FOLDER: &str = "run/systemd/system";
const KEPT: &str = "run/cloud-machine/units";

/// Says that something else than systemd ran the initramfs when the agent first looked: later the folder may be there from a run that failed.
const NO_SYSTEMD: &str = "run/cloud-machine/no-systemd";

/// What runs the initramfs below `/`, looked at before a unit is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Units {
    /// Systemd, which reads them there.
    Stay,
    /// Something else.
    AreKept,
}

impl Units {
    /// Finds it out, and forgets the units of a run before, whose volume may have been another one.
    pub(super) fn begin(root: &Path) -> Result<Self, AgentError> {
        let (folder, mark) = (root.join(FOLDER), root.join(NO_SYSTEMD));
        let is_there = |path: &Path| path.try_exists().map_err(SystemError::io("examine", path.display().to_string()));
        if !is_there(&mark)? {
            if is_there(&folder)? {
                return Ok(Self::Stay);
            }
            let place = mark.parent().unwrap_or(root);
            fs::create_dir_all(place).map_err(SystemError::io("create", place.display().to_string()))?;
            fs::write(&mark, []).map_err(SystemError::io("write", mark.display().to_string()))?;
        }
        for old in [folder, root.join(KEPT)] {
            if is_there(&old)? {
                fs::remove_dir_all(&old).map_err(SystemError::io("remove", old.display().to_string()))?;
            }
        }
        Ok(Self::AreKept)
    }

    /// Puts those that were written aside, where they are kept.
    pub(super) fn put_aside(self, root: &Path) -> Result<(), AgentError> {
        match self {
            Self::Stay => Ok(()),
            Self::AreKept => rename(root, FOLDER, KEPT),
        }
    }
}

/// Gives those that are kept to the system that starts now.
pub(super) fn hand(root: &Path) -> Result<(), AgentError> {
    rename(root, KEPT, FOLDER)
}

/// Moves a folder, which has to take the place of none or an empty one. Where there is none, nothing is to be done.
fn rename(root: &Path, from: &str, to: &str) -> Result<(), AgentError> {
    let (from, to) = (root.join(from), root.join(to));
    let is_there = from.try_exists().map_err(SystemError::io("examine", from.display().to_string()))?;
    if !is_there {
        return Ok(());
    }
    let folder = to.parent().unwrap_or(root);
    fs::create_dir_all(folder).map_err(SystemError::io("create", folder.display().to_string()))?;
    Ok(fs::rename(&from, &to).map_err(SystemError::io("move", format!("{} to {}", from.display(), to.display())))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path) {
        fs::create_dir_all(root.join(FOLDER)).unwrap();
        fs::write(root.join(FOLDER).join("data.mount"), "").unwrap();
    }

    #[test]
    fn until_the_root_is_there_nothing_looks_as_if_systemd_ran() {
        let root = tempfile::tempdir().unwrap();
        let units = Units::begin(root.path()).unwrap();
        write(root.path());
        units.put_aside(root.path()).unwrap();
        assert!(!root.path().join(FOLDER).exists());
        hand(root.path()).unwrap();
        assert!(root.path().join(FOLDER).join("data.mount").exists());
        // Once more, as after an error behind it.
        hand(root.path()).unwrap();
        assert!(root.path().join(FOLDER).join("data.mount").exists());
    }

    #[test]
    fn where_systemd_runs_they_stay() {
        let root = tempfile::tempdir().unwrap();
        write(root.path());
        let units = Units::begin(root.path()).unwrap();
        units.put_aside(root.path()).unwrap();
        hand(root.path()).unwrap();
        assert!(root.path().join(FOLDER).join("data.mount").exists());
    }

    #[test]
    fn without_a_unit_there_is_nothing_to_do_and_none_takes_the_place_of_others() {
        let root = tempfile::tempdir().unwrap();
        let units = Units::begin(root.path()).unwrap();
        units.put_aside(root.path()).unwrap();
        hand(root.path()).unwrap();
        assert!(!root.path().join(FOLDER).exists());
        write(root.path());
        units.put_aside(root.path()).unwrap();
        write(root.path());
        let said = hand(root.path()).unwrap_err().to_string();
        assert!(root.path().join(KEPT).exists(), "{said}");
    }

    #[test]
    fn a_run_after_one_that_failed_has_its_own_units_alone() {
        let root = tempfile::tempdir().unwrap();
        // It failed before its units were put aside.
        assert_eq!(Units::begin(root.path()).unwrap(), Units::AreKept);
        write(root.path());
        // And again behind that.
        let units = Units::begin(root.path()).unwrap();
        assert_eq!(units, Units::AreKept, "its own folder is none of systemd's");
        assert!(!root.path().join(FOLDER).exists());
        write(root.path());
        units.put_aside(root.path()).unwrap();
        // One that finds nothing hands nothing over.
        let units = Units::begin(root.path()).unwrap();
        hand(root.path()).unwrap();
        assert!(!root.path().join(FOLDER).exists());
        write(root.path());
        units.put_aside(root.path()).unwrap();
        hand(root.path()).unwrap();
        assert!(root.path().join(FOLDER).join("data.mount").exists());
    }
}
