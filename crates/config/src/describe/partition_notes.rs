//! The notes on partitions, and on what a filesystem may say for its program and its mount. Must not repeat what the
//! grammar knows.

use super::notes::{Form, MAP, Note};

const FIXED: &str = "must stay as it is";

/// Types of filesystems that can be in a partition.
const FILESYSTEMS: &[&str] = &["ext4", "xfs", "btrfs", "vfat", "swap"];

const fn of_filesystem(path: &'static str, form: Form, summary: &'static str) -> Note {
    Note { path, summary, form, safety: FIXED, ..MAP }
}

const fn uuid(path: &'static str) -> Note {
    Note {
        default: "one that its program chooses, and any is taken",
        example: "\"6f1a2b3c-0d4e-4f5a-8b6c-7d8e9f0a1b2c\"",
        ..of_filesystem(path, Form::FilesystemUuid, "The filesystem's identifier; not of every type can it be chosen.")
    }
}

const fn options(path: &'static str) -> Note {
    Note {
        default: "those of its program",
        example: "[-m, \"1\"]",
        ..of_filesystem(
            path,
            Form::Options,
            "Options of the program that makes the filesystem, each with its value behind it: those that shape it, none that name a file, a device or a label. They count only when it is made.",
        )
    }
}

const fn grow(path: &'static str) -> Note {
    Note {
        default: "false",
        example: "true",
        ..of_filesystem(
            path,
            Form::Flag(&[]),
            "Whether it is grown to the size of its disk or partition at every boot, when it is smaller; ext4, xfs and btrfs.",
        )
    }
}

const fn mount_options(path: &'static str) -> Note {
    Note {
        default: "`nosuid`, `nodev` and `noexec` on a disk that is kept, `errors=remount-ro` for ext4",
        example: "[noatime, exec]",
        ..of_filesystem(
            path,
            Form::Options,
            "Options of its mount, or of its swap area. `suid`, `dev`, `exec` and another `errors=` take the place of the default that they contradict.",
        )
    }
}

/// The notes.
pub(super) const NOTES: [Note; 17] = [
    uuid("resources.disks.*.filesystem.uuid"),
    options("resources.disks.*.filesystem.options"),
    grow("resources.disks.*.filesystem.grow"),
    mount_options("resources.disks.*.mount-options"),
    Note {
        path: "resources.disks.*.partitions",
        summary: "Its partitions by name, in a GPT; a disk has either these or a `filesystem`. The table is made when the disk is empty or was wiped; one that is there already and lists exactly these is used.",
        default: "none; what the disk holds takes all of it",
        example: "{one: {size: 25%, filesystem: ext4}, two: {filesystem: xfs}}",
        safety: FIXED,
        ..MAP
    },
    Note {
        path: "resources.disks.*.partitions.*.number",
        summary: "Its number in the table, and its place on the disk: they lie one behind the other by number.",
        form: Form::Count(1, 128),
        default: "the lowest that none states, in the order of the document; what later layers add comes last",
        example: "1",
        safety: FIXED,
        ..MAP
    },
    Note {
        path: "resources.disks.*.partitions.*.size",
        summary: "How large it is: bytes, a share of the room between the tables, or `rest` for what the others leave, which one partition of a disk may have.",
        form: Form::PartitionSize,
        unit: "Bytes as for `allocation`, rounded up to whole MiB; a share is rounded down to whole MiB.",
        default: "rest",
        example: "64MiB",
        safety: FIXED,
    },
    Note {
        path: "resources.disks.*.partitions.*.type",
        summary: "Its type in the table, by name or GUID.",
        form: Form::PartitionType,
        default: "linux",
        example: "linux",
        safety: FIXED,
        ..MAP
    },
    Note {
        path: "resources.disks.*.partitions.*.filesystem",
        summary: "The filesystem in it, as on a disk: a name, or a map such as `{type: ext4, label: data}`.",
        form: Form::Words(FILESYSTEMS),
        default: "none; it stays as it is, its first and last MiB zero when the table is made",
        example: "ext4",
        safety: FIXED,
        ..MAP
    },
    Note {
        default: "none; a map must have it",
        example: "ext4",
        ..of_filesystem(
            "resources.disks.*.partitions.*.filesystem.type",
            Form::Words(FILESYSTEMS),
            "The filesystem's type, when it stands in a map.",
        )
    },
    Note {
        default: "none is written, and any is taken",
        example: "data",
        ..of_filesystem(
            "resources.disks.*.partitions.*.filesystem.label",
            Form::Text,
            "The filesystem's label. Labels by which systems find their configuration are refused.",
        )
    },
    uuid("resources.disks.*.partitions.*.filesystem.uuid"),
    options("resources.disks.*.partitions.*.filesystem.options"),
    grow("resources.disks.*.partitions.*.filesystem.grow"),
    Note {
        default: "the kernel finds it by the type",
        example: "xfs",
        ..of_filesystem(
            "resources.disks.*.partitions.*.filesystem.kernel-module",
            Form::Text,
            "Kernel module that is loaded before the disk is used. `image pack --kernel-module` brings it.",
        )
    },
    Note {
        default: "`/mnt/`, the disk's name, a dash and its own; swap has none",
        example: "/data",
        ..of_filesystem(
            "resources.disks.*.partitions.*.mountpoint",
            Form::Text,
            "Folder in which the booted system mounts its filesystem.",
        )
    },
    mount_options("resources.disks.*.partitions.*.mount-options"),
];
