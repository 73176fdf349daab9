//! The word that a boot has neither a volume nor an address, for what comes after: it then need not start the agent once more to hear
//! the same. Must be there only when `disks` has come to its end without a configuration.

use std::{fs, io::ErrorKind, path::Path};

use cloud_machine_boot_report::FOLDER;
use cloud_machine_system::SystemError;

use crate::error::AgentError;

/// File in [`FOLDER`]; the unit of `handover` and the script of initramfs-tools look for it.
const FILE: &str = "unconfigured";

/// Says it. The folder is there, with the report in it.
pub(super) fn say() -> Result<(), AgentError> {
    Ok(say_in(Path::new(FOLDER))?)
}

/// Takes it back, before anything is looked at: whoever leaves the emergency shell may have attached a volume.
pub(super) fn forget() -> Result<(), AgentError> {
    Ok(forget_in(Path::new(FOLDER))?)
}

fn say_in(folder: &Path) -> Result<(), SystemError> {
    let path = folder.join(FILE);
    fs::write(&path, []).map_err(SystemError::io("write", path.display().to_string()))
}

fn forget_in(folder: &Path) -> Result<(), SystemError> {
    let path = folder.join(FILE);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(SystemError::io("remove", path.display().to_string())(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_and_taken_back_and_taking_back_what_was_not_said_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        let is_said = || folder.path().join(FILE).exists();
        forget_in(folder.path()).unwrap();
        say_in(folder.path()).unwrap();
        assert!(is_said());
        forget_in(folder.path()).unwrap();
        assert!(!is_said());
        // What cannot be taken back stops the boot.
        fs::create_dir(folder.path().join(FILE)).unwrap();
        assert!(forget_in(folder.path()).is_err());
    }

    #[test]
    fn who_comes_after_looks_for_this_file() {
        let path = format!("{FOLDER}/{FILE}");
        let unit = include_str!("../../../systemd/cloud-machine-agent-handover.service");
        assert!(unit.contains(&format!("ConditionPathExists=!{path}\n")), "{unit}");
        let script = include_str!("../../../initramfs/initramfs-tools/scripts/init-bottom/cloud-machine");
        assert!(script.contains(&format!("[ -e {path} ]")), "{script}");
    }
}
