//! One note a key: what it states, the form of its value for a machine, unit, default, example and safety. Must not
//! repeat what the grammar knows: which keys there are and what an error calls allowed.

/// What cannot be read off the grammar.
pub(super) struct Note {
    /// Path below `cloud-machine`; `*` stands for a name.
    pub(super) path: &'static str,
    /// What it states, in one sentence without its name.
    pub(super) summary: &'static str,
    /// The form of its value.
    pub(super) form: Form,
    /// Unit and rounding; empty when there is none.
    pub(super) unit: &'static str,
    /// What holds when nobody states it.
    pub(super) default: &'static str,
    /// A value as YAML that may stand in a configuration; empty for a map.
    pub(super) example: &'static str,
    /// How a document from an address or a volume may change it; empty when it may change at will.
    pub(super) safety: &'static str,
}

/// The form of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A map.
    Map,
    /// A text on one line.
    Text,
    /// The name of an image in the store.
    ImageName,
    /// A text of a-z, 0-9 and -.
    Lower,
    /// One of some words.
    Words(&'static [&'static str]),
    /// A boolean, or one of some words.
    Flag(&'static [&'static str]),
    /// A whole number in a range, both ends included.
    Count(u32, u32),
    /// A number of GiB, or a size with a unit.
    Memory,
    /// A size with a unit.
    Size,
    /// A device by name, serial or world wide name.
    Device,
    /// `auto` or a unicast hardware address.
    Mac,
    /// The name of a network interface of the host.
    Interface,
    /// An address.
    Url,
    /// 64 hexadecimal digits.
    Sha256,
    /// Certificates in PEM.
    Pem,
    /// Bytes, a share or the rest.
    PartitionSize,
    /// The name of a type of partitions, or a GUID.
    PartitionType,
    /// The identifier of a filesystem.
    FilesystemUuid,
    /// A list of short texts.
    Options,
    /// A list of key paths.
    Paths,
    /// A list of public keys of minisign.
    Keys,
    /// An absolute path.
    Path,
    /// A list of properties of a ZFS dataset.
    Properties,
    /// A list of ZFS datasets.
    Datasets,
    /// A list of texts of a regular expression.
    Matching(&'static str),
    /// A list of some words, at least one.
    Items(&'static [&'static str]),
}

pub(super) const MAP: Note =
    Note { path: "", summary: "", form: Form::Map, unit: "", default: "", example: "", safety: "" };

const SIZE_UNIT: &str = "An integer and a unit: B; kB, MB, GB and TB count in thousands; KiB, MiB, GiB and TiB in 1024s. \
    The machine's disk is rounded up to whole 4096 bytes.";
const MEMORY_UNIT: &str = "A number without a unit counts GiB, may be fractional and is rounded up to whole MiB; an integer \
    with a unit is taken as it is. The machine's memory is rounded up to whole MiB.";

/// Types of filesystems.
pub(super) const FILESYSTEMS: &[&str] =
    &["ext4", "xfs", "btrfs", "vfat", "swap", "zfs", "iso9660", "squashfs", "erofs"];

/// The notes.
pub(super) const NOTES: &[Note] = &[
    Note {
        path: "driver",
        summary: "Name of the driver that has the machine.",
        form: Form::Lower,
        default: "qemu",
        example: "qemu",
        ..MAP
    },
    Note {
        path: "image",
        summary: "Packed image that the system disk is made from, by its name in the store.",
        form: Form::ImageName,
        default: "none; a machine cannot be created without one",
        example: "debian-12",
        safety: "must stay as it is",
        ..MAP
    },
    Note {
        path: "image-keys",
        summary: "Public keys of minisign, one of which must have signed the image; two while one takes the place of the other.",
        form: Form::Keys,
        default: "no signature is asked for",
        example: "[RWQE+8mldKDxaDYv75VjfYzuyijEmhy7cjP0tLBFJ5D9GqEkd4OHLij3]",
        safety: "must stay as it is",
        ..MAP
    },
    Note {
        path: "require",
        summary: "Keys that a driver must honour exactly or better; otherwise nothing is created. A map stands for all keys set below it.",
        form: Form::Paths,
        default: "nothing is required",
        example: "[resources.ram]",
        safety: "may get more entries",
        ..MAP
    },
    Note { path: "resources", summary: "What the machine is made of.", ..MAP },
    Note {
        path: "resources.ram",
        summary: "Memory.",
        form: Form::Memory,
        unit: MEMORY_UNIT,
        default: "1",
        example: "1.5",
        ..MAP
    },
    Note {
        path: "resources.cpus",
        summary: "Processors.",
        form: Form::Count(1, 64),
        default: "2",
        example: "2",
        ..MAP
    },
    Note {
        path: "resources.disks",
        summary: "Every disk of the machine by name. Exactly one has `boot-partition: true`.",
        default: "one disk named `system` with `boot-partition: true`",
        example: "scratch: {allocation: 10GiB, wipe-on-boot: true, filesystem: ext4, mountpoint: /data}",
        safety: "no disk may be added or taken away",
        ..MAP
    },
    Note {
        path: "resources.disks.*.devicepath",
        summary: "Which device it is. A kernel's name depends on the order of discovery; a serial does not.",
        form: Form::Device,
        default: "`serial:` and the disk's name",
        example: "serial:system",
        safety: "must stay as it is",
        ..MAP
    },
    Note {
        path: "resources.disks.*.bus",
        summary: "How it is attached. `cdrom` is an optical drive with `source` as its disc.",
        form: Form::Words(&["virtio", "scsi", "nvme", "cdrom"]),
        default: "as a name in `devicepath` tells, such as `scsi` for `/dev/sda`; otherwise `virtio`",
        example: "virtio",
        safety: "must stay as it is",
        ..MAP
    },
    Note {
        path: "resources.disks.*.allocation",
        summary: "Size that a driver gives it.",
        form: Form::Size,
        unit: SIZE_UNIT,
        default: "the system disk is as large as its image, a disk with `source` as large as that; any other disk must state it",
        example: "20GiB",
        ..MAP
    },
    Note {
        path: "resources.disks.*.source",
        summary: "File on the host whose bytes the disk has, such as an ISO image. Only of a disk with `readonly: true`.",
        form: Form::Path,
        default: "none; the disk is empty at first",
        example: "/srv/media/tools.iso",
        safety: "must stay as it is",
        ..MAP
    },
    Note {
        path: "resources.disks.*.filesystem",
        summary: "The filesystem on it: a name, or a map such as `{type: ext4, label: data}`. It is made when the disk is empty or was wiped; one that is there already with this type and label is used. The system disk may only have `zfs`: the image's files are received into a pool.",
        form: Form::Words(FILESYSTEMS),
        default: "none; the disk stays as it is",
        example: "ext4",
        safety: "must stay as it is",
        ..MAP
    },
    Note {
        path: "resources.disks.*.filesystem.type",
        summary: "The filesystem's type, when it stands in a map.",
        form: Form::Words(FILESYSTEMS),
        default: "none; a map must have it",
        example: "ext4",
        safety: "must stay as it is",
        ..MAP
    },
    Note {
        path: "resources.disks.*.filesystem.label",
        summary: "The filesystem's label. Labels by which systems find their configuration are refused.",
        form: Form::Text,
        default: "none is written, and any is taken",
        example: "data",
        safety: "must stay as it is",
        ..MAP
    },
    Note {
        path: "resources.disks.*.filesystem.kernel-module",
        summary: "Kernel module that is loaded before the disk is used. `image pack --kernel-module` brings it.",
        form: Form::Text,
        default: "`zfs` for zfs; for other types the booted system loads what it needs",
        example: "zfs",
        safety: "must stay as it is",
        ..MAP
    },
    Note {
        path: "resources.disks.*.filesystem.properties",
        summary: "Properties of the pool's own dataset, which all others inherit (zfsprops(7)). Only of zfs.",
        form: Form::Properties,
        default: "[]",
        example: "[compression=zstd, atime=off]",
        safety: "must stay as it is",
        ..MAP
    },
    Note {
        path: "resources.disks.*.filesystem.datasets",
        summary: "Datasets of the pool besides its own, each mounted below its mountpoint. Only of zfs.",
        form: Form::Datasets,
        default: "[]",
        example: "[logs, work/cache]",
        safety: "must stay as it is",
        ..MAP
    },
    Note {
        path: "resources.disks.*.overwrite",
        summary: "Whether content that is not the described filesystem may be replaced; otherwise the machine does not come up.",
        form: Form::Flag(&[]),
        default: "false",
        example: "false",
        safety: "`true` may become `false`",
        ..MAP
    },
    Note {
        path: "resources.disks.*.wipe-on-boot",
        summary: "Whether and how every boot wipes it. `true`: discarded where the device can, else zeros; `zero`: zeros; `discard`: discarded, or refused where the device cannot. Of each, every byte is then read as zero. `recreate`: signatures are removed, the data is not erased. `crypto`: the same, and the filesystem lies behind a cipher whose key ends with the boot.",
        form: Form::Flag(&["zero", "recreate", "discard", "crypto"]),
        default: "false",
        example: "false",
        safety: "may become a later one of `false`, `recreate`, `discard`, `true`, `zero`; `crypto` is the host's alone",
        ..MAP
    },
    Note {
        path: "resources.disks.*.on-reimage",
        summary: "What a reimage does with it: `wipe` makes it zero, `recreate` removes its signatures without erasing the data, `keep` leaves it. What is not erased is reported as not covered.",
        form: Form::Words(&["wipe", "keep", "recreate"]),
        default: "wipe",
        example: "wipe",
        safety: "may become a later one of `keep`, `recreate`, `wipe`",
        ..MAP
    },
    Note {
        path: "resources.disks.*.boot-partition",
        summary: "Whether it is the system disk, which holds the image.",
        form: Form::Flag(&[]),
        default: "false",
        example: "true",
        safety: "must stay as it is",
        ..MAP
    },
    Note {
        path: "resources.disks.*.readonly",
        summary: "Whether it is never written: the kernel refuses writes to it, and it is mounted read-only.",
        form: Form::Flag(&[]),
        default: "false",
        example: "false",
        safety: "must stay as it is",
        ..MAP
    },
    Note {
        path: "resources.disks.*.required",
        summary: "Whether the machine does not come up when a filesystem of a kept disk cannot be mounted; otherwise it comes up without it. Any other disk is required in any case.",
        form: Form::Flag(&[]),
        default: "false",
        example: "true",
        safety: "must stay as it is",
        ..MAP
    },
    Note {
        path: "resources.disks.*.mountpoint",
        summary: "Folder in which the booted system mounts its filesystem.",
        form: Form::Text,
        default: "`/mnt/` and the disk's name; swap has none",
        example: "/data",
        safety: "must stay as it is",
        ..MAP
    },
    Note {
        path: "resources.cloud-init-url",
        summary: "The same as `cloud-init-url`; only one of the two may be set.",
        form: Form::Url,
        default: "none",
        example: "https://config.example/machine.yaml",
        safety: "must stay as it is",
        ..MAP
    },
    Note {
        path: "resources.cloud-init-url.url",
        summary: "The address, when it stands in a map.",
        form: Form::Url,
        default: "none; a map must have it",
        example: "https://config.example/machine.yaml",
        safety: "must stay as it is",
        ..MAP
    },
    Note {
        path: "resources.cloud-init-url.sha256",
        summary: "SHA-256 that the document must have. An http address must have one.",
        form: Form::Sha256,
        default: "any document",
        example: "\"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"",
        safety: "must stay as it is",
        ..MAP
    },
    Note {
        path: "resources.cloud-init-url.ca",
        summary: "Certificates that are trusted for this https address, instead of the public ones.",
        form: Form::Pem,
        default: "the public ones, as they were when the agent was built",
        example: "\"-----BEGIN CERTIFICATE-----\\n…\"",
        safety: "must stay as it is",
        ..MAP
    },
    Note {
        path: "disks-undeclared",
        summary: "What a disk means that is there and not declared: `refuse` stops the machine, `ignore` reports it.",
        form: Form::Words(&["refuse", "ignore"]),
        default: "refuse",
        example: "refuse",
        safety: "`ignore` may become `refuse`",
        ..MAP
    },
    Note { path: "identity", summary: "What a machine keeps of its identity at a reimage.", ..MAP },
    Note {
        path: "identity.ssh-host-keys",
        summary: "Whether a reimage makes a new SSH host key (`rotate`), or writes the one again that the host keeps for the machine (`keep`): earlier jobs could copy that one, and `verify` says so.",
        form: Form::Words(&["rotate", "keep"]),
        default: "rotate",
        example: "rotate",
        safety: "`keep` may become `rotate`",
        ..MAP
    },
    Note {
        path: "cloud-init-url",
        summary: "Where one more document for the machine is: an address, or a map `{url: …, sha256: …, ca: …}`. The machine fetches it before it touches a disk; a `file:` address names a file of the host.",
        form: Form::Url,
        default: "none",
        example: "https://config.example/machine.yaml",
        safety: "must stay as it is",
        ..MAP
    },
    Note {
        path: "cloud-init-url.url",
        summary: "The address, when it stands in a map.",
        form: Form::Url,
        default: "none; a map must have it",
        example: "https://config.example/machine.yaml",
        safety: "must stay as it is",
        ..MAP
    },
    Note {
        path: "cloud-init-url.sha256",
        summary: "SHA-256 that the document must have. An http address must have one.",
        form: Form::Sha256,
        default: "any document",
        example: "\"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"",
        safety: "must stay as it is",
        ..MAP
    },
    Note {
        path: "cloud-init-url.ca",
        summary: "Certificates that are trusted for this https address, instead of the public ones.",
        form: Form::Pem,
        default: "the public ones, as they were when the agent was built",
        example: "\"-----BEGIN CERTIFICATE-----\\n…\"",
        safety: "must stay as it is",
        ..MAP
    },
    Note {
        path: "drives",
        summary: "Which volumes labelled `CLOUD-INIT` count besides the host's: `read-only` those that are attached with `--drive`, `trusted` also one that a job may have written.",
        form: Form::Words(&["read-only", "trusted"]),
        default: "read-only",
        example: "read-only",
        safety: "`trusted` may become `read-only`",
        ..MAP
    },
    Note {
        path: "wait-for",
        summary: "What a machine's system must have done before the machine counts as started: `ssh` that it answers, `cloud-init` that cloud-init has ended well, too.",
        form: Form::Items(&["ssh", "cloud-init"]),
        default: "ssh, and cloud-init where the system has it",
        example: "[ssh, cloud-init]",
        safety: "must stay as it is",
        ..MAP
    },
];
