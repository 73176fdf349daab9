//! Which disks hold what the kernel command line calls the root, before anybody mounts it. Reads what lies on disks, which a job
//! can write: so it only ever keeps a disk from being written, and must not choose one that is.

use cloud_machine_system::survey::{Content, Partition, Row, Signature, Survey, SurveyedDisk};

use crate::command_line::CommandLine;

/// What is searched for.
#[derive(Debug, PartialEq, Eq)]
enum Sought<'a> {
    /// A filesystem, by its UUID or its label.
    Uuid(&'a str),
    Label(&'a str),
    /// A partition, by the UUID or the name that the table has for it.
    PartitionUuid(&'a str),
    PartitionName(&'a str),
    /// A disk or a partition, by the kernel's name.
    Device(&'a str),
    /// Something that is put together from members of this type; of a pool, those with its name as their label.
    Member(&'static [&'static str], Option<&'a str>),
}

/// Kernel names of the disks that hold the root; none when the command line does not say, or nobody can tell.
pub(crate) fn disks_with_root(command_line: &str, survey: &Survey) -> Vec<String> {
    let Some(sought) = CommandLine::new(command_line).root().and_then(sought) else { return Vec::new() };
    let disks = survey.disks.iter().filter_map(|row| match row {
        Row::Disk(disk) => Some(&**disk),
        Row::Unreadable { .. } => None,
    });
    disks.filter(|disk| holds(disk, &sought)).map(|disk| disk.name.clone()).collect()
}

/// What the value of `root=` means (dracut.cmdline(7), initramfs-tools(7)).
fn sought(root: &str) -> Option<Sought<'_>> {
    let (kind, value) = root.split_once('=').unwrap_or_default();
    match kind {
        "UUID" => return Some(Sought::Uuid(value)),
        "LABEL" => return Some(Sought::Label(value)),
        "PARTUUID" => return Some(Sought::PartitionUuid(value)),
        "PARTLABEL" => return Some(Sought::PartitionName(value)),
        "ZFS" => return Some(pool(value)),
        _ => {}
    }
    if let Some(dataset) = root.strip_prefix("zfs:") {
        // `zfs:AUTO` leaves it to the properties of whatever pool there is.
        return (dataset != "AUTO").then(|| pool(dataset));
    }
    let device = root.strip_prefix("/dev/")?;
    match device.split('/').collect::<Vec<_>>()[..] {
        ["disk", "by-uuid", value] => Some(Sought::Uuid(value)),
        ["disk", "by-label", value] => Some(Sought::Label(value)),
        ["disk", "by-partuuid", value] => Some(Sought::PartitionUuid(value)),
        ["disk", "by-partlabel", value] => Some(Sought::PartitionName(value)),
        ["disk", ..] => None,
        ["mapper", _] | [_, _] => Some(Sought::Member(&["LVM2_member", "crypto_LUKS"], None)),
        [name] if name.starts_with("md") => Some(Sought::Member(&["linux_raid_member"], None)),
        [name] => Some(Sought::Device(name)),
        _ => None,
    }
}

fn pool(dataset: &str) -> Sought<'_> {
    Sought::Member(&["zfs_member"], dataset.split('/').next())
}

fn holds(disk: &SurveyedDisk, sought: &Sought<'_>) -> bool {
    let whole = matches!(sought, Sought::Device(name) if *name == disk.name) || is(&disk.probe, sought);
    whole || disk.partitions.iter().any(|partition| is_partition(partition, sought))
}

fn is_partition(partition: &Partition, sought: &Sought<'_>) -> bool {
    let same =
        |found: &Option<String>, wanted: &str| found.as_ref().is_some_and(|found| found.eq_ignore_ascii_case(wanted));
    match sought {
        Sought::PartitionUuid(uuid) => same(&partition.partition_uuid, uuid),
        Sought::PartitionName(name) => partition.partition_name.as_deref() == Some(*name),
        Sought::Device(name) => partition.name.as_deref() == Some(*name),
        _ => is(&partition.probe, sought),
    }
}

fn is(content: &Content, sought: &Sought<'_>) -> bool {
    let Content::Found(Signature { filesystem, label, uuid, .. }) = content else { return false };
    match sought {
        Sought::Uuid(wanted) => uuid.as_ref().is_some_and(|uuid| uuid.eq_ignore_ascii_case(wanted)),
        Sought::Label(wanted) => label.as_deref() == Some(*wanted),
        Sought::Member(kinds, name) => {
            let kind = filesystem.as_deref().is_some_and(|filesystem| kinds.contains(&filesystem));
            kind && name.is_none_or(|name| label.as_deref() == Some(name))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_the_argument_is_understood_or_left_alone() {
        const MAPPED: Sought<'_> = Sought::Member(&["LVM2_member", "crypto_LUKS"], None);
        for (root, expected) in [
            ("UUID=abcd", Some(Sought::Uuid("abcd"))),
            ("/dev/disk/by-uuid/abcd", Some(Sought::Uuid("abcd"))),
            ("LABEL=root", Some(Sought::Label("root"))),
            ("PARTUUID=12-01", Some(Sought::PartitionUuid("12-01"))),
            ("PARTLABEL=root", Some(Sought::PartitionName("root"))),
            ("/dev/vda1", Some(Sought::Device("vda1"))),
            ("/dev/mapper/vg-root", Some(MAPPED)),
            ("/dev/vg/root", Some(MAPPED)),
            ("/dev/md0", Some(Sought::Member(&["linux_raid_member"], None))),
            ("ZFS=tank/root", Some(Sought::Member(&["zfs_member"], Some("tank")))),
            ("zfs:tank/root", Some(Sought::Member(&["zfs_member"], Some("tank")))),
            ("zfs:AUTO", None),
            ("/dev/disk/by-id/virtio-x", None),
            ("nfs:server:/root", None),
            ("", None),
        ] {
            assert_eq!(sought(root), expected, "{root}");
        }
    }

    fn found(filesystem: &str, label: &str, uuid: &str) -> Content {
        Content::Found(Signature {
            filesystem: Some(filesystem.to_owned()),
            label: Some(label.to_owned()),
            uuid: Some(uuid.to_owned()),
            ..Signature::default()
        })
    }

    #[test]
    fn a_disk_holds_the_root_itself_or_in_a_partition() {
        let content = found("zfs_member", "tank", "12345");
        assert!(is(&content, &sought("ZFS=tank/root").unwrap()) && !is(&content, &sought("ZFS=tan/root").unwrap()));
        assert!(!is(&Content::Unknown, &Sought::Uuid("ab")) && is(&found("ext4", "", "AB"), &Sought::Uuid("ab")));
        let partition: Partition = Partition {
            number: 2,
            name: Some("vda2".to_owned()),
            offset: 0,
            length: 1,
            seen_by: cloud_machine_system::survey::SeenBy::Both,
            r#type: None,
            partition_name: Some("root".to_owned()),
            partition_uuid: Some("ccab4f1b-7c75-4c71-9e58-1b7d3d2a6e03".to_owned()),
            probe: found("ext4", "r", "ab"),
        };
        for (root, expected) in [
            ("PARTUUID=CCAB4F1B-7C75-4C71-9E58-1B7D3D2A6E03", true),
            ("PARTUUID=ccab4f1b", false),
            ("PARTLABEL=root", true),
            ("PARTLABEL=roo", false),
            ("/dev/vda2", true),
            ("/dev/vda", false),
            ("UUID=ab", true),
            ("LABEL=R", false),
        ] {
            assert_eq!(is_partition(&partition, &sought(root).unwrap()), expected, "{root}");
        }
    }
}
