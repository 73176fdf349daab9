//! The file that is a machine's disk, and what a provider writes into a fresh one: who may log in, and the machine's name.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::MetadataExt,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

use crate::cloud::machines::{Contents, Failure};

/// The type of a partition with a root filesystem of x86-64.
const ROOT: &str = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709";

/// Copies a disk without what is empty of it.
pub(super) fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    run(Command::new("cp").args(["--sparse=always", "--reflink=auto"]).arg(from).arg(to)).map(drop)
}

/// Makes a disk at least as large.
pub(super) fn grow(disk: &Path, size: u64) -> Result<(), Failure> {
    let grown = OpenOptions::new().write(true).open(disk).and_then(|file| {
        let own = file.metadata()?.len();
        file.set_len(own.max(size))
    });
    grown.map_err(|error| format!("cannot grow {}: {error}", disk.display()))
}

/// Bytes of a disk that are not empty.
pub(super) fn used(disk: &Path) -> Result<u64, Failure> {
    let metadata = fs::metadata(disk).map_err(|error| format!("cannot look at {}: {error}", disk.display()))?;
    Ok(metadata.blocks() * 512)
}

/// Writes the machine's name, the keys of root and the user data into the root filesystem, which nobody has mounted.
pub(super) fn personalize(disk: &Path, name: &str, contents: &Contents) -> Result<(), Failure> {
    let folder = tempfile::tempdir().map_err(|error| format!("cannot make a folder: {error}"))?;
    let file = |file: &str, text: &str| {
        let path = folder.path().join(file);
        fs::write(&path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        Ok::<_, Failure>(path.display().to_string())
    };
    let keys: String = contents.keys.iter().map(|key| format!("{key}\n")).collect();
    let mut files = vec![
        (file("hostname", &format!("{name}\n"))?, "/etc/hostname", "0100644"),
        (file("keys", &keys)?, "/root/.ssh/authorized_keys", "0100600"),
    ];
    if let Some(data) = &contents.user_data {
        files.push((file("user-data", data)?, "/var/lib/cloud/seed/nocloud/user-data", "0100600"));
    }
    let mut commands = String::new();
    // What is there is kept; debugfs says so and goes on.
    for new in ["/root/.ssh", "/var/lib/cloud", "/var/lib/cloud/seed", "/var/lib/cloud/seed/nocloud"] {
        commands.push_str(&format!("mkdir {new}\nset_inode_field {new} mode 040700\n"));
    }
    for (from, to, mode) in &files {
        commands.push_str(&format!("rm {to}\nwrite {from} {to}\nset_inode_field {to} mode {mode}\n"));
        commands.push_str(&format!("set_inode_field {to} uid 0\nset_inode_field {to} gid 0\n"));
    }
    let script = file("script", &commands)?;
    let filesystem = format!("{}?offset={}", disk.display(), root_at(disk)?);
    run(Command::new("debugfs").args(["-w", "-f", &script, &filesystem]))?;
    // It always exits with 0.
    for (from, to, _) in &files {
        let written = run(Command::new("debugfs").args(["-R", &format!("cat {to}"), &filesystem]))?.stdout;
        if fs::read(from).ok().as_ref() != Some(&written) {
            return Err(format!("{to} was not written into {}", disk.display()));
        }
    }
    Ok(())
}

/// Where the root filesystem begins, in bytes.
fn root_at(disk: &Path) -> Result<u64, Failure> {
    let output = run(Command::new("sfdisk").arg("--json").arg(disk))?;
    let table: Value = serde_json::from_slice(&output.stdout).map_err(|error| format!("sfdisk: {error}"))?;
    let partitions = table["partitiontable"]["partitions"].as_array();
    let root = partitions.and_then(|all| all.iter().find(|partition| partition["type"] == ROOT));
    let start = root.and_then(|root| root["start"].as_u64());
    start.map(|start| start * 512).ok_or_else(|| format!("{} has no root partition", disk.display()))
}

/// The output of a program that succeeds.
pub(super) fn run(command: &mut Command) -> Result<Output, Failure> {
    let output = command.output().map_err(|error| format!("{command:?} does not start: {error}"))?;
    if output.status.success() {
        return Ok(output);
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
