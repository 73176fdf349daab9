//! Where a filesystem may be mounted. Must not know which disks there are.

use serde::Deserialize;

/// Folder of the mountpoints that nobody names.
pub(crate) const MOUNTPOINTS: &str = "/mnt";
/// Folders that hold the system itself: another filesystem over one of them would be another system.
const SYSTEM_FOLDERS: [&str; 9] = ["/bin", "/boot", "/lib", "/lib32", "/lib64", "/libx32", "/root", "/sbin", "/usr"];
/// Nothing is mounted below these either, nor above them: folders of the kernel and of the running system, and those from which the
/// system takes what it executes as root, and whom it lets in. What a job left there on a kept disk would count after a reimage.
const CLOSED_FOLDERS: [&str; 7] = ["/dev", "/etc", "/proc", "/root/.ssh", "/run", "/sys", "/var/lib/cloud"];

/// An absolute path without `.`, `..` and empty parts.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Mountpoint(pub(crate) String);

impl TryFrom<String> for Mountpoint {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let plain = |path: &str| path.split('/').all(|part| !matches!(part, "" | "." | ".."));
        let fits = text.strip_prefix('/').is_some_and(plain) && !text.contains(char::is_control);
        if fits { Ok(Self(text)) } else { Err("no absolute path") }
    }
}

/// Whether the system itself needs `mountpoint`.
pub(crate) fn is_reserved(mountpoint: &str) -> bool {
    let is_below = |path: &str, folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
    let is_closed =
        |folder: &&str| mountpoint == *folder || is_below(mountpoint, folder) || is_below(folder, mountpoint);
    SYSTEM_FOLDERS.contains(&mountpoint) || CLOSED_FOLDERS.iter().any(is_closed)
}
