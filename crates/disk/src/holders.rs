//! Who uses a disk: mounts, swap, loop devices and what is stacked on it, for the disk and for each of its partitions.
//! Reads what the kernel says in /proc and /sys; must not end any use.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use nix::libc;

use crate::{DiskError, Holder, error::io_error};

/// Everything that uses the block device or file at `path`, sorted.
///
/// # Errors
/// [`DiskError::Io`] when the kernel's lists cannot be read: then nothing is known.
pub fn holders(path: &Path) -> Result<Vec<Holder>, DiskError> {
    let found = path.metadata().map_err(io_error("look at", path))?;
    let mut holders = BTreeSet::new();
    if found.file_type().is_block_device() {
        let number = found.rdev();
        let (major, minor) = (libc::major(number), libc::minor(number));
        let folder = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}"))
            .map_err(io_error("find in /sys/dev/block", path))?;
        for device in with_partitions(&folder)? {
            holders.extend(of_device(&device)?);
        }
    } else {
        holders.extend(loops(&found)?);
        let path = fs::canonicalize(path).map_err(io_error("look at", path))?;
        if swaps()?.contains(&path) {
            holders.insert(Holder::Swap { device: path.display().to_string() });
        }
    }
    Ok(holders.into_iter().collect())
}

fn read(path: &Path) -> Result<String, DiskError> {
    fs::read_to_string(path).map_err(io_error("read", path))
}

/// The entries of a folder; one that is not there has none.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, DiskError> {
    let list = match fs::read_dir(folder) {
        Ok(list) => list,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io_error("read", folder)(error)),
    };
    list.map(|entry| entry.map(|entry| entry.path()).map_err(io_error("read", folder))).collect()
}

/// A device and its partitions, as folders of /sys.
fn with_partitions(folder: &Path) -> Result<Vec<PathBuf>, DiskError> {
    let mut devices = vec![folder.to_owned()];
    devices.extend(entries(folder)?.into_iter().filter(|entry| entry.join("partition").exists()));
    Ok(devices)
}

fn name(folder: &Path) -> String {
    folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn of_device(folder: &Path) -> Result<Vec<Holder>, DiskError> {
    let device = name(folder);
    let number = read(&folder.join("dev"))?.trim().to_owned();
    let mut holders = Vec::new();
    for line in read(Path::new("/proc/self/mountinfo"))?.lines() {
        if let Some(at) = mounted_at(line, &number, |source| is_device(Path::new(source), &number)) {
            holders.push(Holder::Mount { device: device.clone(), at: at.to_owned() });
        }
    }
    for swap in swaps()? {
        if is_device(&swap, &number) {
            holders.push(Holder::Swap { device: device.clone() });
        }
    }
    for above in entries(&folder.join("holders"))? {
        holders.push(Holder::Stacked { device: device.clone(), name: name(&above), what: what(&above)? });
    }
    Ok(holders)
}

/// Where a line of mountinfo says that the device `number` is mounted: ID, parent, major:minor, root, mount point, more, a
/// hyphen, type, source (proc_pid_mountinfo(5)). btrfs has a number of its own there, and only its source tells.
fn mounted_at<'a>(line: &'a str, number: &str, is_device: impl Fn(&str) -> bool) -> Option<&'a str> {
    let (before, after) = line.split_once(" - ")?;
    let [_, _, mounted, _, at, ..] = before.split(' ').collect::<Vec<_>>()[..] else { return None };
    let source = after.split(' ').nth(1).unwrap_or_default();
    let is_it = mounted == number || (mounted.starts_with("0:") && source.starts_with("/dev/") && is_device(source));
    is_it.then_some(at)
}

/// Whether a path leads to the block device `number`, major:minor.
fn is_device(path: &Path, number: &str) -> bool {
    path.metadata().is_ok_and(|found| {
        found.file_type().is_block_device()
            && format!("{}:{}", libc::major(found.rdev()), libc::minor(found.rdev())) == number
    })
}

/// What a stacked device is, by the prefix of its device-mapper UUID.
fn what(folder: &Path) -> Result<String, DiskError> {
    let own = name(folder);
    if folder.join("md").exists() {
        return Ok(format!("RAID array {own}"));
    }
    if !folder.join("dm").exists() {
        return Ok("a device".to_owned());
    }
    let (uuid, called) = (read(&folder.join("dm/uuid"))?, read(&folder.join("dm/name"))?);
    let kind = match uuid.split('-').next() {
        Some("LVM") => "LVM volume",
        Some("CRYPT") => "encrypted volume",
        Some("mpath") => "multipath device",
        _ => "device-mapper volume",
    };
    Ok(format!("{kind} {}", called.trim()))
}

/// Loop devices on a file, found by its device and inode: a path may have been renamed since.
fn loops(file: &fs::Metadata) -> Result<Vec<Holder>, DiskError> {
    let mut holders = Vec::new();
    for device in entries(Path::new("/sys/block"))? {
        let backing = device.join("loop/backing_file");
        let path = match fs::read_to_string(&backing) {
            Ok(path) => PathBuf::from(path.trim_end_matches('\n')),
            // No loop device, or one without a file.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => continue,
            Err(error) => return Err(io_error("read", &backing)(error)),
        };
        // A file that was deleted since cannot be the one that was found by its name.
        if path.metadata().is_ok_and(|found| (found.dev(), found.ino()) == (file.dev(), file.ino())) {
            holders.push(Holder::Loop { name: name(&device) });
        }
    }
    Ok(holders)
}

/// Devices and files that are swap areas (proc_swaps(5)): the first column, without its header.
fn swaps() -> Result<Vec<PathBuf>, DiskError> {
    let list = read(Path::new("/proc/swaps"))?;
    Ok(list.lines().skip(1).filter_map(|line| line.split_whitespace().next()).map(PathBuf::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes files below a folder that looks like one of /sys.
    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    #[test]
    fn a_mount_is_known_by_its_number_and_one_of_btrfs_by_its_source() {
        let own = |source: &str| source == "/dev/vdb";
        for (line, at) in [
            ("36 35 254:16 / /mnt/a rw,noatime master:1 - ext4 /dev/root rw", Some("/mnt/a")),
            ("36 35 0:41 / /mnt/b rw - btrfs /dev/vdb rw", Some("/mnt/b")),
            ("36 35 0:41 / /mnt/b rw - btrfs /dev/vdc rw", None),
            ("36 35 0:22 / /proc rw - proc proc rw", None),
            ("36 35 254:32 / /mnt/c rw - ext4 /dev/vdb rw", None),
            ("36 35 254:16 /", None),
        ] {
            assert_eq!(mounted_at(line, "254:16", own), at, "{line}");
        }
    }

    #[test]
    fn what_is_stacked_on_a_disk_or_its_partitions_is_named() {
        let sys = folder(&[
            ("vdz/dev", "999:0\n"),
            ("vdz/holders/md0/md/level", "raid1\n"),
            ("vdz/vdz1/dev", "999:1\n"),
            ("vdz/vdz1/partition", "1\n"),
            ("vdz/vdz1/holders/dm-0/dm/uuid", "LVM-abc\n"),
            ("vdz/vdz1/holders/dm-0/dm/name", "vg-root\n"),
            ("vdz/vdz2/dev", "999:2\n"),
            ("vdz/vdz2/partition", "2\n"),
            ("vdz/vdz2/holders/dm-1/dm/uuid", "CRYPT-LUKS2-x\n"),
            ("vdz/vdz2/holders/dm-1/dm/name", "secret\n"),
            ("vdz/vdz2/holders/bcache0/size", "1\n"),
            ("vdz/queue/logical_block_size", "512\n"),
        ]);
        let devices = with_partitions(&sys.path().join("vdz")).unwrap();
        let mut found: Vec<String> =
            devices.iter().flat_map(|device| of_device(device).unwrap()).map(|holder| holder.to_string()).collect();
        found.sort();
        let expected = [
            "vdz is part of RAID array md0 (md0)",
            "vdz1 is part of LVM volume vg-root (dm-0)",
            "vdz2 is part of a device (bcache0)",
            "vdz2 is part of encrypted volume secret (dm-1)",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_list_that_cannot_be_read_is_an_error_and_not_nobody() {
        let sys = folder(&[("vdz/size", "1\n")]);
        let error = of_device(&sys.path().join("vdz")).unwrap_err();
        assert!(error.to_string().starts_with("cannot read "), "{error}");
    }

    #[test]
    fn a_free_file_has_no_holder_and_an_absent_one_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(holders(file.path()).unwrap(), []);
        assert!(matches!(holders(Path::new("/nonexistent")), Err(DiskError::Io { .. })));
    }
}
