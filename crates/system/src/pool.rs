//! ZFS pools by the programs of the initramfs: made on a whole disk, imported without mounting anything. Must not search
//! for pools: only the one on the given disk, by its GUID, is ever imported.

use std::{fs, path::Path, time::Duration};

use cloud_machine_protocol::{Probe, Signature};
use nix::{
    errno::Errno,
    sys::stat::{Mode, SFlag, makedev, mknod, stat},
};

use crate::{SystemError, block::flush, probe::probe, program::Program};

const ZPOOL: &str = "/usr/sbin/zpool";
const ZFS: &str = "/usr/sbin/zfs";
/// All programs that are started here.
pub(crate) const PROGRAMS: [&str; 2] = [ZPOOL, ZFS];
/// libblkid's word for a disk of a pool.
pub(crate) const KIND: &str = "zfs_member";
/// Nodes of the disks with pools, each called as its pool, whatever bus the disk is on at the next boot.
const FOLDER: &str = "/dev/cloud-machine";
/// A program that takes longer hangs; an import after a cut replays what was last written.
const LIMIT: Duration = Duration::from_secs(600);
/// Where the module keeps its name for this machine; the programs ask there first.
const HOSTID: &str = "/sys/module/spl/parameters/spl_hostid";
const VERSION: &str = "/sys/module/zfs/version";
/// The system mounts by units of its own, and no file makes it import anything. Sectors of 4 KiB do no harm on a disk
/// with smaller ones; the other way they do.
const CREATE: [&str; 7] = ["create", "-o", "cachefile=none", "-o", "ashift=12", "-O", "mountpoint=legacy"];

/// Checks that the programs for pools are there.
///
/// # Errors
/// [`SystemError::ProgramAbsent`].
pub fn check_programs() -> Result<(), SystemError> {
    match PROGRAMS.into_iter().find(|program| !Path::new(program).exists()) {
        Some(program) => Err(SystemError::ProgramAbsent { program: program.to_owned() }),
        None => Ok(()),
    }
}

/// Checks that the loaded module is the one that the programs were made with, and tells it which machine this is: a pool
/// that another machine used last is not imported.
///
/// # Errors
/// [`SystemError::Unexpected`] when the versions differ, [`SystemError::Io`] when the module is not there.
pub fn prepare(hostid: u32) -> Result<(), SystemError> {
    check_programs()?;
    let module = fs::read_to_string(VERSION).map_err(SystemError::io("read", VERSION))?;
    let stderr = zfs(&["version"])?;
    let programs = stderr.iter().find_map(|line| line.strip_prefix("zfs-").filter(|rest| !rest.starts_with("kmod")));
    let programs = programs.unwrap_or_default().trim();
    if upstream(programs) != upstream(module.trim()) || programs.is_empty() {
        return Err(SystemError::Versions { module: module.trim().to_owned(), programs: programs.to_owned() });
    }
    fs::write(HOSTID, format!("{hostid}")).map_err(SystemError::io("write", HOSTID))
}

/// The version of OpenZFS itself, without what a distribution adds.
fn upstream(version: &str) -> &str {
    version.split('-').next().unwrap_or_default()
}

/// Makes a pool on the whole of `/dev/<name>` and leaves it exported.
///
/// # Errors
/// A program that is absent, fails or hangs, and [`SystemError::Unexpected`] when the disk does not hold the pool
/// afterwards.
pub fn make_pool(name: &str, pool: &str, properties: &[String]) -> Result<(), SystemError> {
    let node = node(name, pool)?;
    let mut words: Vec<&str> = CREATE.to_vec();
    words.extend(properties.iter().flat_map(|property| ["-O", property.as_str()]));
    words.extend([pool, &node]);
    zpool(&words)?;
    zpool(&["export", pool])?;
    flush(name)?;
    found(name, pool).map(|_| ())
}

/// Imports the pool on `/dev/<name>`, mounts nothing of it, and makes those of `datasets` that it has not. Gives whether
/// any was made.
///
/// # Errors
/// [`SystemError::Unexpected`] when the disk does not hold the pool with this name and GUID; a program that is absent,
/// fails or hangs. A pool that another machine used last is not imported.
pub fn import_pool(
    name: &str,
    pool: &str,
    guid: Option<&str>,
    datasets: &[String],
    read_only: bool,
) -> Result<bool, SystemError> {
    let signature = found(name, pool)?;
    let own = signature.uuid.unwrap_or_default();
    if guid.is_some_and(|guid| guid != own) || own.is_empty() {
        return Err(SystemError::unexpected(
            format!("/dev/{name}"),
            &format!("the pool {own}"),
            "the pool of the plan",
        ));
    }
    let node = node(name, pool)?;
    let mut words = vec!["import", "-N", "-o", "cachefile=none", "-d", &node];
    words.extend(if read_only { &["-o", "readonly=on"][..] } else { &[] });
    words.push(&own);
    zpool(&words)?;
    make_datasets(pool, datasets)
}

/// Makes those of `datasets` that the pool has not. Gives whether any was made.
///
/// # Errors
/// A program that is absent, fails or hangs.
pub fn make_datasets(pool: &str, datasets: &[String]) -> Result<bool, SystemError> {
    let mut made = false;
    for dataset in datasets.iter().map(|dataset| format!("{pool}/{dataset}")) {
        if !has(pool, &dataset)? {
            zfs(&["create", "-p", &dataset])?;
            made = true;
        }
    }
    Ok(made)
}

/// Exports and imports the pool, so that what is read from then on is read from its disk.
pub(crate) fn read_anew(pool: &str) -> Result<(), SystemError> {
    zpool(&["export", pool])?;
    let node = format!("{FOLDER}/{pool}");
    zpool(&["import", "-N", "-o", "cachefile=none", "-d", &node, pool]).map(|_| ())
}

/// What `zpool` prints, line by line.
pub(crate) fn zpool(words: &[&str]) -> Result<Vec<String>, SystemError> {
    lines(ZPOOL, words)
}

/// What `zfs` prints, line by line.
pub(crate) fn zfs(words: &[&str]) -> Result<Vec<String>, SystemError> {
    lines(ZFS, words)
}

fn lines(program: &str, words: &[&str]) -> Result<Vec<String>, SystemError> {
    let stderr = Program::new(program).arguments(words).run(LIMIT)?;
    Ok(String::from_utf8_lossy(&stderr).lines().map(str::to_owned).collect())
}

fn has(pool: &str, dataset: &str) -> Result<bool, SystemError> {
    Ok(zfs(&["list", "-H", "-o", "name", "-r", pool])?.iter().any(|line| line == dataset))
}

/// What lies on the disk, when that is the pool.
fn found(name: &str, pool: &str) -> Result<Signature, SystemError> {
    match probe(name) {
        Probe::Found(found) if found.filesystem.as_deref() == Some(KIND) && found.label.as_deref() == Some(pool) => {
            Ok(found)
        }
        other => Err(SystemError::unexpected(format!("/dev/{name}"), &format!("{other:?}"), "the described pool")),
    }
}

/// A node of the disk under the pool's name. zpool writes a partition table on what it knows as a whole disk by the
/// kernel's name (`efi_get_info` in OpenZFS' rdwr_efi.c), and keeps the name in the pool.
fn node(name: &str, pool: &str) -> Result<String, SystemError> {
    let device = format!("/dev/{name}");
    let number = stat(device.as_str()).map_err(SystemError::io("examine", &device))?.st_rdev;
    fs::create_dir_all(FOLDER).map_err(SystemError::io("create", FOLDER))?;
    let node = format!("{FOLDER}/{pool}");
    let number = makedev(nix::sys::stat::major(number), nix::sys::stat::minor(number));
    match mknod(node.as_str(), SFlag::S_IFBLK, Mode::S_IRUSR | Mode::S_IWUSR, number) {
        Ok(()) => Ok(node),
        Err(Errno::EEXIST) if stat(node.as_str()).is_ok_and(|found| found.st_rdev == number) => Ok(node),
        Err(error) => Err(SystemError::io("make the node", node)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_adds_to_a_version() {
        assert_eq!(upstream("2.1.11-1+deb12u1"), upstream("2.1.11-1~bpo"));
        assert_ne!(upstream("2.1.11-1"), upstream("2.1.12-1"));
        assert_eq!(upstream(""), "");
    }
}
