//! On which disks the root filesystem of the running system lies, through partitions, volumes, arrays and loop devices. What
//! cannot be told counts as every disk. Must only read.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use nix::libc;

use crate::{
    SystemError,
    attributes::{attribute, is_there, names},
};

/// Filesystems in memory, and on other machines.
const ELSEWHERE: [&str; 9] = ["tmpfs", "ramfs", "rootfs", "nfs", "nfs4", "9p", "virtiofs", "cifs", "ceph"];

/// Where the root filesystem lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RootPlace {
    /// On these disks, by their kernel names, each once or more often; in memory or on another machine when there are none.
    On(Vec<String>),
    /// On some of the disks that anything uses: it is put together from files, as that of a live system.
    InUse,
    /// Nobody can tell: any disk may be part of it.
    Unknown,
}

/// Looks where it lies.
///
/// # Errors
/// [`SystemError`] when the kernel's lists cannot be read.
pub(crate) fn root_place() -> Result<RootPlace, SystemError> {
    let path = "/proc/self/mountinfo";
    let mounts = fs::read_to_string(path).map_err(SystemError::io("read", path))?;
    RootIo { sys: Path::new("/sys"), mounts: &mounts, device: &device }.place()
}

/// Major and minor number of the filesystem that a file lies on, or of the device that a device node is.
fn device(path: &Path) -> io::Result<String> {
    let found = path.metadata()?;
    let number = if found.mode() & libc::S_IFMT == libc::S_IFBLK { found.rdev() } else { found.dev() };
    Ok(format!("{}:{}", libc::major(number), libc::minor(number)))
}

/// What the place is found through, so that tests can show another machine.
struct RootIo<'a> {
    sys: &'a Path,
    mounts: &'a str,
    device: &'a dyn Fn(&Path) -> io::Result<String>,
}

/// One line of mountinfo (proc_pid_mountinfo(5)).
struct Mount<'a> {
    number: &'a str,
    kind: &'a str,
    source: &'a str,
}

impl RootIo<'_> {
    fn place(&self) -> Result<RootPlace, SystemError> {
        // The last one that is mounted there is the one that is seen.
        let Some(root) = self.mount(|_, at| at == "/") else { return Ok(RootPlace::Unknown) };
        self.of_mount(&root)
    }

    fn mount(&self, is_it: impl Fn(&str, &str) -> bool) -> Option<Mount<'_>> {
        self.mounts.lines().rev().find_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let [_, _, number, _, at, ..] = before.split(' ').collect::<Vec<_>>()[..] else { return None };
            let mut after = after.split(' ');
            let (kind, source) = (after.next()?, after.next()?);
            is_it(number, at).then_some(Mount { number, kind, source })
        })
    }

    fn of_mount(&self, mount: &Mount<'_>) -> Result<RootPlace, SystemError> {
        if ELSEWHERE.contains(&mount.kind) {
            return Ok(RootPlace::On(Vec::new()));
        }
        if mount.kind == "overlay" {
            return Ok(RootPlace::InUse);
        }
        // btrfs has a number of its own there, and its source names one of its devices.
        if !mount.number.starts_with("0:") {
            return self.below(mount.number);
        }
        match (mount.kind, (self.device)(Path::new(mount.source))) {
            ("btrfs", Ok(number)) => self.btrfs(&number),
            _ => Ok(RootPlace::Unknown),
        }
    }

    /// All devices of the btrfs that the device `number` is one of.
    fn btrfs(&self, number: &str) -> Result<RootPlace, SystemError> {
        let Some(first) = self.folder(number)? else { return Ok(RootPlace::Unknown) };
        let name = first.file_name().unwrap_or_default();
        for filesystem in entries(&self.sys.join("fs/btrfs"))? {
            let devices = entries(&filesystem.join("devices"))?;
            if devices.iter().any(|device| device.file_name() == Some(name)) {
                return self.all(&devices);
            }
        }
        Ok(RootPlace::Unknown)
    }

    /// The disks below several devices, which are links of /sys.
    fn all(&self, devices: &[PathBuf]) -> Result<RootPlace, SystemError> {
        let mut all = Vec::new();
        for device in devices {
            let number = attribute(device, "dev")?.unwrap_or_default();
            match self.below(&number)? {
                RootPlace::On(disks) => all.extend(disks),
                other => return Ok(other),
            }
        }
        Ok(RootPlace::On(all))
    }

    /// The disks below one device.
    fn below(&self, number: &str) -> Result<RootPlace, SystemError> {
        let Some(mut folder) = self.folder(number)? else { return Ok(RootPlace::Unknown) };
        if attribute(&folder, "partition")?.is_some() {
            folder.pop();
        }
        let slaves = entries(&folder.join("slaves"))?;
        if !slaves.is_empty() {
            return self.all(&slaves);
        }
        let Some(file) = attribute(&folder, "loop/backing_file")? else {
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            return Ok(RootPlace::On(vec![name]));
        };
        // A path of a time before the root was this one leads nowhere, or to a file that is another one.
        let Ok(number) = (self.device)(Path::new(&file)) else { return Ok(RootPlace::InUse) };
        match self.mount(|found, _| found == number) {
            Some(mount) if ELSEWHERE.contains(&mount.kind) => Ok(RootPlace::On(Vec::new())),
            Some(mount) if !mount.number.starts_with("0:") => self.below(mount.number),
            _ => Ok(RootPlace::InUse),
        }
    }

    /// The real folder of a device; `None` for a number that no device has.
    fn folder(&self, number: &str) -> Result<Option<PathBuf>, SystemError> {
        let path = self.sys.join("dev/block").join(number);
        match fs::canonicalize(&path) {
            Ok(folder) => Ok(Some(folder)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(SystemError::io("find", path.display().to_string())(error)),
        }
    }
}

/// What is in a folder; nothing in one that is not there.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, SystemError> {
    if !is_there(folder)? {
        return Ok(Vec::new());
    }
    Ok(names(folder)?.iter().map(|name| folder.join(name)).collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// vda and vdb with a partition each; a volume on both partitions; loop0 on a file; a btrfs on both partitions.
    fn sys() -> tempfile::TempDir {
        let sys = tempfile::tempdir().unwrap();
        let at = |path: &str| sys.path().join(path);
        fs::create_dir_all(at("dev/block")).unwrap();
        for (device, number) in [
            ("vda", "254:0"),
            ("vda/vda1", "254:1"),
            ("vdb", "254:16"),
            ("vdb/vdb1", "254:17"),
            ("dm-0", "253:0"),
            ("loop0", "7:0"),
        ] {
            let folder = at("devices").join(device);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("dev"), format!("{number}\n")).unwrap();
            if device.contains('/') {
                fs::write(folder.join("partition"), "1\n").unwrap();
            }
            symlink(&folder, at("dev/block").join(number)).unwrap();
        }
        fs::create_dir_all(at("devices/loop0/loop")).unwrap();
        fs::write(at("devices/loop0/loop/backing_file"), "/run/live/root.squashfs\n").unwrap();
        for folder in ["devices/dm-0/slaves", "fs/btrfs/some-uuid/devices"] {
            fs::create_dir_all(at(folder)).unwrap();
            for (name, device) in [("vda1", "devices/vda/vda1"), ("vdb1", "devices/vdb/vdb1")] {
                symlink(at(device), at(folder).join(name)).unwrap();
            }
        }
        sys
    }

    fn on(names: &[&str]) -> RootPlace {
        RootPlace::On(names.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_root_is_followed_to_the_disks_below_it() {
        let sys = sys();
        let live = "30 1 0:50 / /run/live rw - tmpfs tmpfs rw\n31 1 254:17 / /mnt rw - ext4 /dev/vdb1 rw\n";
        let line =
            |number: &str, kind: &str, source: &str| format!("29 1 {number} / / rw shared:1 - {kind} {source} rw\n");
        for (root, file, expected) in [
            (line("254:1", "ext4", "/dev/vda1"), Err(()), on(&["vda"])),
            (line("254:16", "ext4", "/dev/vdb"), Err(()), on(&["vdb"])),
            (line("253:0", "xfs", "/dev/mapper/vg-root"), Err(()), on(&["vda", "vdb"])),
            (line("0:30", "btrfs", "/dev/vda1"), Ok("254:1"), on(&["vda", "vdb"])),
            (line("0:30", "btrfs", "/dev/vda1"), Err(()), RootPlace::Unknown),
            (line("0:2", "rootfs", "rootfs"), Err(()), on(&[])),
            (line("0:2", "nfs4", "server:/root"), Err(()), on(&[])),
            (line("0:31", "overlay", "overlay"), Err(()), RootPlace::InUse),
            (line("0:32", "zfs", "tank/root"), Err(()), RootPlace::Unknown),
            (line("7:0", "squashfs", "/dev/loop0"), Ok("0:50"), on(&[])),
            (line("7:0", "squashfs", "/dev/loop0"), Ok("254:17"), on(&["vdb"])),
            (line("7:0", "squashfs", "/dev/loop0"), Err(()), RootPlace::InUse),
            (line("9:9", "ext4", "/dev/root"), Err(()), RootPlace::Unknown),
            (line("0:2", "rootfs", "rootfs") + &line("254:1", "ext4", "/dev/vda1"), Err(()), on(&["vda"])),
            (String::new(), Err(()), RootPlace::Unknown),
        ] {
            let device = |_: &Path| file.map(str::to_owned).map_err(|()| io::ErrorKind::NotFound.into());
            let mounts = format!("{root}{live}");
            let mut place = RootIo { sys: sys.path(), mounts: &mounts, device: &device }.place().unwrap();
            if let RootPlace::On(disks) = &mut place {
                disks.sort();
            }
            assert_eq!(place, expected, "{root}");
        }
    }
}
