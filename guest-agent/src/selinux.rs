//! What SELinux of the new system has to be told of files that were made before its policy was loaded. Must not touch a file.

use cloud_machine_config::{Config, DiskConfig};
use cloud_machine_plan::quoted_for_unit;
use cloud_machine_system::root::RootFile;

use crate::{error::AgentError, host_certificate};

/// Where a system says whether it has SELinux, and which policy (selinux_config(5)).
pub(crate) const CONFIG: &str = "/etc/selinux/config";
/// systemd-tmpfiles restores the labels of these early in the boot (tmpfiles.d(5)).
pub(crate) const LABELS: &str = "/etc/tmpfiles.d/cloud-machine-labels.conf";
/// With this file the system labels everything anew, and then reboots: that ends a machine.
const RELABEL: &str = "/.autorelabel";

/// Whether a policy is loaded by the system whose `config` this is.
pub(crate) fn is_on(config: &[u8], exists: impl Fn(&str) -> Result<bool, AgentError>) -> Result<bool, AgentError> {
    let config = String::from_utf8_lossy(config);
    let value = |key| config.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    let mode = value("SELINUX=").unwrap_or_default();
    // What follows the word is not read (libselinux, selinux_getenforcemode).
    let begins = |on: &str| mode.get(..on.len()).is_some_and(|mode| mode.eq_ignore_ascii_case(on));
    if !begins("enforcing") && !begins("permissive") {
        return Ok(false);
    }
    let policy = value("SELINUXTYPE=").unwrap_or("targeted");
    if !exists(&format!("/etc/selinux/{policy}/contexts/files/file_contexts"))? {
        return Ok(false);
    }
    if exists(RELABEL)? { Err(AgentError::Relabels) } else { Ok(true) }
}

/// The file that has the labels restored of `files`, of the folders that are made for them, and of the roots of filesystems that are
/// mounted, which have none when they are new.
pub(crate) fn labels(
    files: &[RootFile],
    config: &Config,
    exists: impl Fn(&str) -> Result<bool, AgentError>,
) -> Result<RootFile, AgentError> {
    let late = [host_certificate::CERTIFICATE, host_certificate::SETTINGS];
    let mut paths: Vec<&str> = Vec::new();
    for path in files.iter().map(|file| file.path.as_str()).chain(late).chain([LABELS]) {
        for (end, _) in path.match_indices('/').skip(1) {
            let folder = &path[..end];
            if !paths.contains(&folder) && !exists(folder)? {
                paths.push(folder);
            }
        }
        paths.push(path);
    }
    for disk in config.resources.disks.values().filter(|disk| !disk.readonly) {
        paths.extend(disk.mountpoint.as_deref());
        paths.extend(disk.partitions.iter().filter_map(|partition| partition.mountpoint.as_deref()));
    }
    let datasets: Vec<String> = config.resources.disks.values().flat_map(datasets).collect();
    paths.extend(datasets.iter().map(String::as_str));
    let mut text = "# Written by cloud-machine-agent at each reimage (tmpfiles.d(5)).\n".to_owned();
    for path in paths {
        text.push_str("z \"");
        // It is a pattern (glob(7)), in which a question mark is any one character, such as one that means more.
        text.push_str(&quoted_for_unit(&path.replace(['*', '[', '\\'], "?")));
        text.push_str("\"\n");
    }
    Ok(RootFile::text(LABELS, 0o644, text))
}

/// Where the datasets of a pool on the disk are mounted.
fn datasets(disk: &DiskConfig) -> Vec<String> {
    let (Some(filesystem), Some(mountpoint)) = (&disk.filesystem, &disk.mountpoint) else { return Vec::new() };
    filesystem.datasets.iter().map(|dataset| format!("{mountpoint}/{dataset}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "/etc/selinux/targeted/contexts/files/file_contexts";

    fn found(config: &str, there: &[&str]) -> Result<bool, AgentError> {
        is_on(config.as_bytes(), |path| Ok(there.contains(&path)))
    }

    #[test]
    fn it_is_on_with_a_mode_that_loads_a_policy_and_with_that_policy() {
        for config in [
            "SELINUX=enforcing\nSELINUXTYPE=targeted\n",
            "# SELINUX=disabled\nSELINUX= Permissive \n",
            "SELINUX=enforcing # here\n",
        ] {
            assert!(found(config, &[POLICY]).unwrap(), "{config}");
            assert!(!found(config, &[]).unwrap(), "without a policy: {config}");
        }
        for config in ["", "SELINUX=disabled\n", "SELINUXTYPE=targeted\n", "SELINUX=enforcing\nSELINUXTYPE=mls\n"] {
            assert!(!found(config, &[POLICY]).unwrap(), "{config}");
        }
    }

    #[test]
    fn a_system_that_would_label_everything_and_reboot_is_refused_when_it_has_a_policy() {
        let config = "SELINUX=enforcing\n";
        assert!(matches!(found(config, &[POLICY, RELABEL]), Err(AgentError::Relabels)));
        assert!(!found(config, &[RELABEL]).unwrap());
    }
}
