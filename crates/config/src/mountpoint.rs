//! Where a filesystem may be mounted. Must not know which disks there are.

use std::path::Path;

use serde::Deserialize;

/// Folder of the mountpoints that nobody names.
pub(crate) const MOUNTPOINTS: &str = "/mnt";
/// Folders that hold the system itself: another filesystem over one of them would be another system.
const SYSTEM_FOLDERS: [&str; 9] = ["/bin", "/boot", "/lib", "/lib32", "/lib64", "/libx32", "/root", "/sbin", "/usr"];
/// Nothing is mounted below these either, nor above them: folders of the kernel and of the running system, and those from which the
/// system takes what it executes as root, and whom it lets in. What a job left there on a kept disk would count after a reimage.
///
/// `/var/run` and `/var/lock` are links to folders below `/run`.
const CLOSED_FOLDERS: [&str; 9] =
    ["/dev", "/etc", "/proc", "/root/.ssh", "/run", "/sys", "/var/lib/cloud", "/var/lock", "/var/run"];

/// Folders from which the system takes more that it executes as root, or that a program does which root starts. Another filesystem may be
/// there, at these, below or above them, when it is none that a job leaves something in for the next one.
///
/// Below `/root` a service manager and shells find what they start when root logs in; the folders below `/var` have jobs of cron and at,
/// scripts of packages, and what systemd lays over `/usr` or starts.
const EXECUTED_FOLDERS: [&str; 21] = [
    "/bin",
    "/boot",
    "/efi",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix",
    "/ostree",
    "/root",
    "/sbin",
    "/sysroot",
    "/usr",
    "/var/lib/confexts",
    "/var/lib/dkms",
    "/var/lib/dpkg",
    "/var/lib/extensions",
    "/var/lib/portables",
    "/var/lib/systemd",
    "/var/spool/at",
    "/var/spool/cron",
];

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
    SYSTEM_FOLDERS.contains(&mountpoint) || CLOSED_FOLDERS.iter().any(|folder| overlaps(mountpoint, folder))
}

/// Whether root would execute what was left in a filesystem at `mountpoint`.
pub(crate) fn is_executed(mountpoint: &str) -> bool {
    EXECUTED_FOLDERS.iter().any(|folder| overlaps(mountpoint, folder))
}

/// Whether one of two folders is the other or lies below it.
fn overlaps(one: &str, other: &str) -> bool {
    Path::new(one).starts_with(other) || Path::new(other).starts_with(one)
}
