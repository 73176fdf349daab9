//! Mounts as native units of systemd, so that `systemctl` and `findmnt` show what a person expects. Makes text only;
//! whoever writes it must have decided what is mounted.

use std::{collections::BTreeMap, fmt::Write as _};

use cloud_machine_protocol::Mount;

/// Folder of units that last until the machine is switched off (systemd.unit(5)).
const FOLDER: &str = "/run/systemd/system";

/// A file for the booted system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitFile {
    /// Absolute path.
    pub path: String,
    /// Content.
    pub content: String,
}

/// The units of `mounts`, and what makes the system wait for them. One that is required and fails stops the boot, as one
/// of fstab does, since a machine without it is not the one that was described. Of any other the system knows that it
/// failed, and goes on without it: what a job left there must not keep the next one from coming up.
#[must_use]
pub fn units(mounts: &[Mount]) -> Vec<UnitFile> {
    let mut files = Vec::new();
    let mut targets: BTreeMap<&str, String> = BTreeMap::new();
    for mount in mounts {
        let device = mount.dataset.clone().unwrap_or_else(|| format!("/dev/{}", mount.node()));
        let options = options(mount);
        let (name, section, target) = match &mount.mountpoint {
            Some(path) => {
                let section =
                    format!("[Mount]\nWhat={device}\nWhere={}\nType={}\n{options}", doubled(path), mount.filesystem);
                (format!("{}.mount", escaped(path)), section, "local-fs.target")
            }
            None => (format!("{}.swap", escaped(&device)), format!("[Swap]\nWhat={device}\n{options}"), "swap.target"),
        };
        let check = match mount.mountpoint {
            // Nothing is repaired that is never written, and ZFS has no such program.
            Some(_) if !mount.read_only && mount.dataset.is_none() => {
                let check = format!("systemd-fsck@{}.service", escaped(&device));
                format!("Requires={check}\nAfter={check}\n")
            }
            _ => String::new(),
        };
        let description = doubled(&description(mount, &device));
        let unit = format!("[Unit]\nDescription={description}\nBefore={target}\n{check}\n{section}");
        files.push(UnitFile { path: format!("{FOLDER}/{name}"), content: unit });
        let needs = if mount.required { "Requires" } else { "Wants" };
        let wanted = targets.entry(target).or_insert_with(|| "[Unit]\n".to_owned());
        // Writing into a String cannot fail.
        let _ = writeln!(wanted, "{needs}={name}");
        if let Some(path) = mount.mountpoint.as_ref().filter(|_| mount.grow) {
            let _ = writeln!(wanted, "{needs}=cloud-machine-grow@{}.service", escaped(path));
        }
    }
    for (target, content) in targets {
        files.push(UnitFile { path: format!("{FOLDER}/{target}.d/50-cloud-machine.conf"), content });
    }
    if mounts.iter().any(|mount| mount.grow) {
        files.push(UnitFile { path: format!("{FOLDER}/cloud-machine-grow@.service"), content: GROW.to_owned() });
    }
    if mounts.iter().any(|mount| mount.dataset.is_some()) {
        files.extend(masked_zfs_units());
    }
    files
}

/// What a person reads on the console when the unit fails: not every system names the unit there.
fn description(mount: &Mount, device: &str) -> String {
    if mount.described.is_empty() {
        format!("{device} of cloud-machine")
    } else {
        format!("{} ({device}) of cloud-machine", mount.described)
    }
}

/// Grows what is mounted at the path that the unit's instance is. systemd has such a unit only where its own generator
/// makes one for fstab (systemd-growfs@.service(8)).
const GROW: &str = "\
[Unit]
Description=Grow the filesystem on %f
DefaultDependencies=no
BindsTo=%i.mount
After=%i.mount
Conflicts=shutdown.target
Before=shutdown.target local-fs.target

[Service]
Type=oneshot
RemainAfterExit=yes
TimeoutSec=infinity
ExecStart=/usr/lib/systemd/systemd-growfs %f
";

/// The units by which OpenZFS would import and mount by itself, masked.
#[must_use]
pub fn masked_zfs_units() -> Vec<UnitFile> {
    // An empty unit is one that is masked.
    ZFS_UNITS.map(|unit| UnitFile { path: format!("{FOLDER}/{unit}"), content: String::new() }).into()
}

/// Units of OpenZFS that would import pools from any disk, and mount and share datasets where their own properties say:
/// a job can write both.
const ZFS_UNITS: [&str; 4] =
    ["zfs-import-cache.service", "zfs-import-scan.service", "zfs-mount.service", "zfs-share.service"];

/// The line with the options of a mount or a swap area; empty for none. Those of one that is read-only come first: a
/// journal is not replayed either, since that would write.
fn options(mount: &Mount) -> String {
    let read_only: &[&str] = match mount.filesystem.as_str() {
        _ if !mount.read_only => &[],
        "ext4" => &["ro", "noload"],
        "xfs" => &["ro", "norecovery"],
        "btrfs" => &["ro", "rescue=nologreplay"],
        _ => &["ro"],
    };
    let all: Vec<&str> = read_only.iter().copied().chain(mount.options.iter().map(String::as_str)).collect();
    if all.is_empty() { String::new() } else { format!("Options={}\n", doubled(&all.join(","))) }
}

/// A path as the name of a unit (systemd.unit(5), "String Escaping for Inclusion in Unit Names"). Not for `/`.
fn escaped(path: &str) -> String {
    let mut name = String::new();
    for (index, byte) in path.trim_matches('/').bytes().enumerate() {
        match byte {
            b'/' => name.push('-'),
            b'.' if index == 0 => name.push_str("\\x2e"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b':' | b'_' | b'.' => name.push(char::from(byte)),
            // Writing into a String cannot fail.
            _ => _ = write!(name, "\\x{byte:02x}"),
        }
    }
    name
}

/// `value` for between the double quotes of a unit's word (systemd.syntax(7), "Quoting").
#[must_use]
pub fn quoted_for_unit(value: &str) -> String {
    doubled(&value.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A value in which systemd finds no specifiers (systemd.unit(5), "Specifiers").
fn doubled(text: &str) -> String {
    text.replace('%', "%%")
}

#[cfg(test)]
mod tests {
    use cloud_machine_protocol::PartitionLocation;

    use super::*;

    fn mount(device: &str, filesystem: &str, mountpoint: Option<&str>) -> Mount {
        Mount {
            device: device.to_owned(),
            partition: None,
            filesystem: filesystem.to_owned(),
            mountpoint: mountpoint.map(str::to_owned),
            options: Vec::new(),
            dataset: None,
            grow: false,
            read_only: false,
            required: true,
            described: String::new(),
        }
    }

    #[test]
    fn what_is_not_required_is_wanted_and_awaited_and_named() {
        let described = "the partition `two` of the disk `work`".to_owned();
        let kept = Mount { required: false, grow: true, described, ..mount("vdi2", "xfs", Some("/mnt/work-two")) };
        let swap = Mount { required: false, ..mount("vdj", "swap", None) };
        let files = units(&[mount("vdb", "ext4", Some("/x")), kept, swap]);
        let content = |end: &str| &files.iter().find(|file| file.path.ends_with(end)).unwrap().content;
        assert_eq!(
            content("/local-fs.target.d/50-cloud-machine.conf"),
            "[Unit]\nRequires=x.mount\nWants=mnt-work\\x2dtwo.mount\nWants=cloud-machine-grow@mnt-work\\x2dtwo.service\n"
        );
        assert_eq!(content("/swap.target.d/50-cloud-machine.conf"), "[Unit]\nWants=dev-vdj.swap\n");
        let unit = content("/mnt-work\\x2dtwo.mount");
        let head = "[Unit]\nDescription=the partition `two` of the disk `work` (/dev/vdi2) of cloud-machine\nBefore=local-fs.target\n";
        assert!(unit.starts_with(head), "{unit}");
    }

    #[test]
    fn what_shall_grow_is_grown_before_the_system_goes_on() {
        let small = Mount { grow: true, ..mount("vdb", "ext4", Some("/srv/a-b")) };
        let files = units(&[mount("vdc", "xfs", Some("/x")), small]);
        let [.., wants, grow] = files.as_slice() else { unreachable!() };
        assert_eq!(
            wants.content,
            "[Unit]\nRequires=x.mount\nRequires=srv-a\\x2db.mount\nRequires=cloud-machine-grow@srv-a\\x2db.service\n"
        );
        assert_eq!(
            (grow.path.as_str(), grow.content.as_str()),
            ("/run/systemd/system/cloud-machine-grow@.service", GROW)
        );
        assert_eq!(units(&[mount("vdc", "xfs", Some("/x"))]).len(), 2);
    }

    #[test]
    fn options_of_a_document_come_behind_those_of_a_disk_that_is_never_written() {
        let plain = mount("vdb", "ext4", Some("/data"));
        let noatime = Mount { options: vec!["noatime".to_owned(), "nodev".to_owned()], ..plain.clone() };
        assert_eq!(options(&plain), "");
        assert_eq!(options(&noatime), "Options=noatime,nodev\n");
        assert_eq!(options(&Mount { read_only: true, ..plain }), "Options=ro,noload\n");
        assert_eq!(options(&Mount { read_only: true, ..noatime }), "Options=ro,noload,noatime,nodev\n");
        let pool = Mount { read_only: true, dataset: Some("tank".to_owned()), ..mount("vdb", "zfs", Some("/data")) };
        assert_eq!(options(&pool), "Options=ro\n");
    }

    #[test]
    fn what_is_never_written_is_neither_checked_nor_replayed() {
        for (kind, options) in [("iso9660", "ro"), ("ext4", "ro,noload"), ("xfs", "ro,norecovery")] {
            let medium = Mount { read_only: true, ..mount("sr1", kind, Some("/media/x")) };
            let unit = format!(
                "[Unit]\nDescription=/dev/sr1 of cloud-machine\nBefore=local-fs.target\n\n\
                 [Mount]\nWhat=/dev/sr1\nWhere=/media/x\nType={kind}\nOptions={options}\n"
            );
            assert_eq!(units(&[medium])[0].content, unit);
        }
    }

    #[test]
    fn a_pool_is_mounted_by_these_units_and_by_no_other() {
        let pool = Mount { dataset: Some("tank/logs".to_owned()), ..mount("vdb", "zfs", Some("/mnt/t/logs")) };
        let files = units(&[pool]);
        assert_eq!(
            files[0].content,
            "[Unit]\nDescription=tank/logs of cloud-machine\nBefore=local-fs.target\n\n\
             [Mount]\nWhat=tank/logs\nWhere=/mnt/t/logs\nType=zfs\n"
        );
        let masked: Vec<&str> =
            files.iter().filter(|file| file.content.is_empty()).map(|file| file.path.as_str()).collect();
        assert_eq!(masked.len(), ZFS_UNITS.len());
        assert!(masked.contains(&"/run/systemd/system/zfs-mount.service"), "{masked:?}");
    }

    #[test]
    fn a_mount_and_a_swap_become_units_that_their_targets_require() {
        let files = units(&[mount("vdb", "ext4", Some("/mnt/my-data")), mount("vdc", "swap", None)]);
        let paths: Vec<&str> = files.iter().map(|file| file.path.trim_start_matches(FOLDER)).collect();
        assert_eq!(
            paths,
            [
                "/mnt-my\\x2ddata.mount",
                "/dev-vdc.swap",
                "/local-fs.target.d/50-cloud-machine.conf",
                "/swap.target.d/50-cloud-machine.conf"
            ]
        );
        assert_eq!(
            files[0].content,
            "[Unit]\nDescription=/dev/vdb of cloud-machine\nBefore=local-fs.target\n\
             Requires=systemd-fsck@dev-vdb.service\nAfter=systemd-fsck@dev-vdb.service\n\n\
             [Mount]\nWhat=/dev/vdb\nWhere=/mnt/my-data\nType=ext4\n"
        );
        assert_eq!(files[2].content, "[Unit]\nRequires=mnt-my\\x2ddata.mount\n");
        assert!(units(&[]).is_empty());
    }

    #[test]
    fn a_partition_and_options_are_in_its_unit() {
        let partition = Some(PartitionLocation::new("nvme0n1", 2, 0, 0));
        let options = vec!["noatime".to_owned(), "nodev".to_owned()];
        let one = Mount { partition: partition.clone(), options, ..mount("nvme0n1", "xfs", Some("/srv/a")) };
        let swap = Mount { partition, options: vec!["pri=5".to_owned()], ..mount("nvme0n1", "swap", None) };
        let files = units(&[one, swap]);
        assert!(files[0].content.contains("Requires=systemd-fsck@dev-nvme0n1p2.service\n"), "{}", files[0].content);
        let section = "[Mount]\nWhat=/dev/nvme0n1p2\nWhere=/srv/a\nType=xfs\nOptions=noatime,nodev\n";
        assert!(files[0].content.ends_with(section), "{}", files[0].content);
        assert!(files[1].path.ends_with("/dev-nvme0n1p2.swap"));
        assert!(files[1].content.ends_with("[Swap]\nWhat=/dev/nvme0n1p2\nOptions=pri=5\n"), "{}", files[1].content);
    }

    /// As `systemd-escape --path` of systemd 252 prints them.
    #[test]
    fn names_are_those_of_systemd_escape() {
        for (path, name) in [
            ("/mnt/a", "mnt-a"),
            ("/srv/a b", "srv-a\\x20b"),
            ("/.hidden/x", "\\x2ehidden-x"),
            ("/mnt/ä%n", "mnt-\\xc3\\xa4\\x25n"),
            ("/a.b_c:d/e-f", "a.b_c:d-e\\x2df"),
            ("/mnt/\\x", "mnt-\\x5cx"),
        ] {
            assert_eq!(escaped(path), name);
        }
        assert_eq!(doubled("/mnt/100%"), "/mnt/100%%");
        assert_eq!(quoted_for_unit(r#"/a b\c"d%n"#), r#"/a b\\c\"d%%n"#);
    }
}
