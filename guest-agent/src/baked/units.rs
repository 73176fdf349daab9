//! Where units for the booted system lie until its root is found. sd_booted(3) says that systemd runs where there is its folder of units, and
//! udev's rules go by that: LVM's would have systemd assemble the groups, in an initramfs that has none, and no root in a group would come
//! up. Must not know what a unit says.

use std::{fs, path::Path};

use cloud_machine_system::SystemError;

use crate::error::AgentError;

/// Systemd's, of units that last until the machine is switched off (systemd.unit(5)).
const FOLDER: &str = "run/systemd/system";
const KEPT: &str = "run/cloud-machine/units";

/// What runs the initramfs below `/`, looked at before a unit is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Units {
    /// Systemd, which reads them there.
    Stay,
    /// Something else.
    AreKept,
}

impl Units {
    pub(super) fn of(root: &Path) -> Result<Self, AgentError> {
        let folder = root.join(FOLDER);
        let is_there = folder.try_exists().map_err(SystemError::io("examine", folder.display().to_string()))?;
        Ok(if is_there { Self::Stay } else { Self::AreKept })
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
        let units = Units::of(root.path()).unwrap();
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
        let units = Units::of(root.path()).unwrap();
        units.put_aside(root.path()).unwrap();
        hand(root.path()).unwrap();
        assert!(root.path().join(FOLDER).join("data.mount").exists());
    }

    #[test]
    fn without_a_unit_there_is_nothing_to_do_and_none_takes_the_place_of_others() {
        let root = tempfile::tempdir().unwrap();
        let units = Units::of(root.path()).unwrap();
        units.put_aside(root.path()).unwrap();
        hand(root.path()).unwrap();
        assert!(!root.path().join(FOLDER).exists());
        write(root.path());
        units.put_aside(root.path()).unwrap();
        write(root.path());
        let said = hand(root.path()).unwrap_err().to_string();
        assert!(root.path().join(KEPT).exists(), "{said}");
    }
}
