//! What the image itself has for its cloud-init, looked at before the machine's own settings are written beside it: what would count
//! before them is refused, and what cloud-init remembers of another machine is named. Must not change a file.

use std::{
    fs,
    io::{Error, ErrorKind},
    path::Path,
};

use cloud_machine_config::image_settings;
use cloud_machine_system::SystemError;

use crate::{cloud_init::OWN_SETTINGS, error::AgentError};

/// The file that cloud-init reads first, and the folder whose files count before it, the last before all others.
const FIRST: &str = "/etc/cloud/cloud.cfg";
const FOLDER: &str = "/etc/cloud/cloud.cfg.d";
/// Files of the folder that cloud-init reads.
const SUFFIX: &str = ".cfg";
/// With this file cloud-init does nothing.
const DISABLED: &str = "/etc/cloud/cloud-init.disabled";

/// What cloud-init keeps of a machine that it has run on: who it was, what was done, and what comes next.
pub(crate) const REMEMBERED: [&str; 4] =
    ["/var/lib/cloud/data", "/var/lib/cloud/instance", "/var/lib/cloud/instances", "/var/lib/cloud/sem"];

/// Refuses settings below `root` that count before the agent's, or beside them. `is_needed`: whether the configuration has keys for
/// cloud-init; `network`: whether one of them describes a network.
pub(crate) fn check(root: &Path, is_needed: bool, network: bool) -> Result<(), AgentError> {
    if is_needed && is_there(root, DISABLED)? {
        return Err(refused(DISABLED, "turns cloud-init off, and the configuration has keys for it".to_owned()));
    }
    judge(root, FIRST, network)?;
    for name in names(root)? {
        let file = format!("{FOLDER}/{name}");
        if file.as_str() > OWN_SETTINGS {
            return Err(refused(&file, format!("counts before {OWN_SETTINGS}")));
        }
        // What is there by that name is replaced.
        if file != OWN_SETTINGS {
            judge(root, &file, network)?;
        }
    }
    Ok(())
}

/// Names of the files in the folder of settings, sorted as cloud-init does it.
fn names(root: &Path) -> Result<Vec<String>, AgentError> {
    let entries = match fs::read_dir(below(root, FOLDER)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed("list", FOLDER))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed("list", FOLDER))?.file_name();
        // A name that is no text is sorted and read by cloud-init all the same.
        let name = name.into_string().map_err(|name| {
            refused(FOLDER, format!("has a file whose name is no text: {}", name.display().to_string().escape_debug()))
        })?;
        names.extend(Some(name).filter(|name| name.ends_with(SUFFIX)));
    }
    names.sort();
    Ok(names)
}

fn judge(root: &Path, file: &str, network: bool) -> Result<(), AgentError> {
    let found = match fs::symlink_metadata(below(root, file)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        found => found.map_err(failed("examine", file))?,
    };
    // cloud-init reads no folder. What a link leads to is another file here than in the machine.
    if found.is_dir() {
        return Ok(());
    }
    if !found.is_file() {
        return Err(refused(file, "is no plain file".to_owned()));
    }
    let content = fs::read(below(root, file)).map_err(failed("read", file))?;
    image_settings::objection(&content, network).map_or(Ok(()), |why| Err(refused(file, why)))
}

fn is_there(root: &Path, file: &str) -> Result<bool, AgentError> {
    match fs::symlink_metadata(below(root, file)) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed("examine", file)(error)),
    }
}

fn below(root: &Path, file: &str) -> std::path::PathBuf {
    root.join(file.trim_start_matches('/'))
}

fn refused(file: &str, why: String) -> AgentError {
    AgentError::ImageSettings { file: file.escape_debug().to_string(), why }
}

fn failed(operation: &'static str, file: &str) -> impl FnOnce(Error) -> AgentError {
    let failed = SystemError::io(operation, file);
    move |error| failed(error).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A root with these files.
    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (file, content) in files {
            let path = below(root.path(), file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        root
    }

    #[test]
    fn a_network_among_the_settings_is_in_the_way_of_one_that_is_described_and_of_no_other() {
        for file in [FIRST, "/etc/cloud/cloud.cfg.d/91-installer.cfg"] {
            let root = root(&[(file, "network: {config: disabled}\n")]);
            assert!(check(root.path(), true, false).is_ok(), "{file}");
            let refused = check(root.path(), true, true).unwrap_err().to_string();
            assert!(refused.contains(file) && refused.contains("has `network`"), "{refused}");
        }
        // What is there by the agent's own name is replaced.
        let own = root(&[(OWN_SETTINGS, "network: {config: disabled}\n")]);
        assert!(check(own.path(), true, true).is_ok());
    }

    fn refusal(files: &[(&str, &str)], is_needed: bool) -> Option<String> {
        check(root(files).path(), is_needed, false).err().map(|error| error.to_string())
    }

    #[test]
    fn an_image_as_distributions_make_it_is_taken() {
        let usual = [
            ("/etc/cloud/cloud.cfg", "users:\n  - default\nssh_deletekeys: true\n"),
            ("/etc/cloud/cloud.cfg.d/90_dpkg.cfg", "datasource_list: [NoCloud, ConfigDrive, None]\n"),
            ("/etc/cloud/cloud.cfg.d/README", "ssh_keys: in words"),
            ("/etc/cloud/cloud.cfg.d/zzz-note", "conf_d: of no such name"),
            ("/etc/cloud/cloud.cfg.d/zz-cloud-machine.cfg", "conf_d: is replaced"),
            ("/var/lib/cloud/instances/old/obj.pkl", "is not looked at"),
        ];
        assert_eq!(refusal(&usual, true), None);
        assert_eq!(refusal(&[], true), None);
    }

    #[test]
    fn settings_that_count_before_the_agents_are_refused_with_their_file() {
        for (file, content, why) in [
            (
                "/etc/cloud/cloud.cfg.d/zzz-evil.cfg",
                "x: 1",
                "counts before /etc/cloud/cloud.cfg.d/zz-cloud-machine.cfg",
            ),
            ("/etc/cloud/cloud.cfg.d/zz-cloud-machine.cfg.cfg", "", "counts before "),
            ("/etc/cloud/cloud.cfg", "conf_d: /srv", "has `conf_d`"),
            ("/etc/cloud/cloud.cfg.d/10.cfg", "ssh_keys: {rsa_private: x}", "has `ssh_keys`"),
        ] {
            let found = refusal(&[(file, content)], false).unwrap();
            assert!(found.contains(&format!("{file} {why}")), "{found}");
        }
        let linked = root(&[("/srv/x", "x: 1"), ("/etc/cloud/cloud.cfg.d/10.cfg", "x: 1")]);
        let file = below(linked.path(), "/etc/cloud/cloud.cfg.d/20.cfg");
        std::os::unix::fs::symlink("/srv/x", file).unwrap();
        assert!(check(linked.path(), false, false).unwrap_err().to_string().contains("20.cfg is no plain file"));
    }

    #[test]
    fn an_image_that_turns_cloud_init_off_is_refused_where_it_is_needed() {
        let off = [("/etc/cloud/cloud-init.disabled", "")];
        assert!(refusal(&off, true).unwrap().contains("turns cloud-init off"));
        assert_eq!(refusal(&off, false), None);
    }
}
