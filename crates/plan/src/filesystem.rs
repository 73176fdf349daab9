//! The filesystem that a disk or a partition shall hold, and which of the contents that a look finds is that filesystem.
//! Must not look at a device, and must not guess between contradicting signatures.

use std::fmt;

use cloud_machine_config::{DiskConfig, Filesystem, FilesystemType};
use cloud_machine_protocol::{DataContent, DiskName, History, Probe, Provenance, Signature};
use serde::{Deserialize, Serialize};

use crate::decision::{Content, Decision, Refusal, decide};

/// Kernel module of ZFS.
pub const ZFS_MODULE: &str = "zfs";
/// What mount(8) calls the filesystem of a pool, whose signature libblkid calls otherwise.
pub(crate) const MOUNTED_ZFS: &str = "zfs";

/// The filesystem that a disk shall hold, and what may be done for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedFilesystem {
    /// Its type, in the words of libblkid.
    pub kind: String,
    /// Its label; any will do when there is none.
    pub label: Option<String>,
    /// Its identifier; any will do when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// More arguments of the program that makes it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// Whether it is grown to the size of what it lies on at every boot.
    #[serde(default)]
    pub grow: bool,
    /// Where it is mounted; `None` for swap.
    pub mountpoint: Option<String>,
    /// Options of its mount, or of its swap area.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mount_options: Vec<String>,
    /// Whether other content may be replaced.
    pub overwrite: bool,
    /// Whether the disk is never written.
    #[serde(default)]
    pub read_only: bool,
    /// Whether the booted system cannot do without it, even when it is kept.
    #[serde(default)]
    pub required: bool,
    /// Kernel module that is loaded before.
    #[serde(default)]
    pub kernel_module: Option<String>,
    /// Properties of a ZFS pool's own dataset, each `NAME=VALUE`.
    #[serde(default)]
    pub properties: Vec<String>,
    /// Datasets below that of a ZFS pool.
    #[serde(default)]
    pub datasets: Vec<String>,
}

impl WantedFilesystem {
    /// What the configuration says of a disk; `None` when it says nothing.
    #[must_use]
    pub fn of(name: &DiskName, disk: &DiskConfig) -> Option<Self> {
        let filesystem = disk.filesystem.as_ref().filter(|_| !disk.boot_partition)?;
        Some(Self {
            label: disk.pool(name).map(str::to_owned).or_else(|| filesystem.label.clone()),
            mountpoint: disk.mountpoint.clone(),
            mount_options: disk.mount_options.clone(),
            overwrite: disk.overwrite,
            read_only: disk.readonly,
            required: disk.required,
            ..Self::new(filesystem)
        })
    }

    /// What the configuration says of a filesystem, without where it is mounted and what may be done for it.
    pub(crate) fn new(filesystem: &Filesystem) -> Self {
        let implied = (filesystem.kind == FilesystemType::Zfs).then(|| ZFS_MODULE.to_owned());
        Self {
            kind: filesystem.kind.word().to_owned(),
            label: filesystem.label.clone(),
            uuid: filesystem.uuid.clone(),
            options: filesystem.options.clone(),
            grow: filesystem.grow,
            mountpoint: None,
            mount_options: Vec::new(),
            overwrite: false,
            read_only: false,
            required: false,
            kernel_module: filesystem.kernel_module.clone().or(implied),
            properties: filesystem.properties.clone(),
            datasets: filesystem.datasets.clone(),
        }
    }

    /// What becomes of a disk on which `probe` was found, and of which the host's record says `history`. A disk that is
    /// never written holds what was described, or is refused.
    #[must_use]
    pub fn decision(&self, probe: &Probe, history: History, wiped: bool) -> Decision {
        match decide(self.content(probe), history, wiped, self.overwrite) {
            decision if !self.read_only => decision,
            used @ (Decision::Reuse | Decision::Refuse(Refusal::Unreadable)) => used,
            _ => Decision::Refuse(Refusal::ReadOnly),
        }
    }

    /// Name of the ZFS pool, when it is one.
    #[must_use]
    pub fn pool(&self) -> Option<&str> {
        self.label.as_deref().filter(|_| self.kind == FilesystemType::Zfs.word())
    }

    /// Its type in the words of the configuration.
    pub(crate) fn word(&self) -> &str {
        if self.pool().is_some() { MOUNTED_ZFS } else { &self.kind }
    }

    /// What a probe of the whole disk is for this filesystem.
    #[must_use]
    pub fn content(&self, probe: &Probe) -> Content {
        Content::of(probe, matches!(probe, Probe::Found(signature) if self.is(signature)))
    }

    fn is(&self, found: &Signature) -> bool {
        let labelled = self.label.as_ref().is_none_or(|label| self.same_label(label, found.label.as_deref()));
        let same = |wanted: &String| found.uuid.as_ref().is_some_and(|uuid| uuid.eq_ignore_ascii_case(wanted));
        let identified = self.uuid.as_ref().is_none_or(same);
        found.filesystem.as_ref() == Some(&self.kind) && found.partition_table.is_none() && labelled && identified
    }

    /// FAT keeps labels in capitals, whatever was written.
    fn same_label(&self, label: &str, found: Option<&str>) -> bool {
        let found = found.unwrap_or_default();
        if self.kind == FilesystemType::Vfat.word() { found.eq_ignore_ascii_case(label) } else { found == label }
    }

    /// What was decided, in the report's words. A disk that is refused has no report that counts.
    pub(crate) fn made(&self, decision: Decision) -> DataContent {
        DataContent::Filesystem { filesystem: self.word().to_owned(), provenance: decision.provenance() }
    }
}

impl Decision {
    /// Where that leaves the content come from.
    pub(crate) fn provenance(self) -> Provenance {
        match self {
            Self::Reuse => Provenance::Reused,
            Self::Create | Self::Replace | Self::Refuse(_) => Provenance::Created,
        }
    }
}

impl fmt::Display for WantedFilesystem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.label {
            Some(pool) if self.pool().is_some() => write!(formatter, "the zfs pool `{pool}`")?,
            Some(label) => write!(formatter, "{} labelled `{label}`", self.kind)?,
            None => formatter.write_str(&self.kind)?,
        }
        self.uuid.as_ref().map_or(Ok(()), |uuid| write!(formatter, " with the identifier `{uuid}`"))
    }
}

/// What a probe found, for people.
pub(crate) fn described(probe: &Probe) -> String {
    match probe {
        Probe::Empty => "nothing".to_owned(),
        Probe::Unknown => "data of no kind that is known".to_owned(),
        Probe::Silent { seconds } => format!("nobody knows what: it did not answer within {seconds} s"),
        Probe::Ambivalent => "signatures that contradict each other".to_owned(),
        Probe::Unreadable { reason } => format!("what cannot be read ({})", reason.escape_default()),
        Probe::Found(signature) => {
            let label = signature.label.as_ref().map(|label| format!(" labelled `{}`", label.escape_debug()));
            let table = signature.partition_table.as_ref().map(|table| format!("a partition table ({table})"));
            if signature.filesystem.as_deref() == Some(FilesystemType::Zfs.word()) && table.is_none() {
                return format!("a zfs pool{}", label.unwrap_or_default().replace(" labelled", " called"));
            }
            match (&signature.filesystem, table) {
                (Some(kind), None) => kind.clone() + &label.unwrap_or_default(),
                (Some(kind), Some(table)) => format!("{kind}{} and {table}", label.unwrap_or_default()),
                (None, table) => table.unwrap_or_else(|| "a signature without a type".to_owned()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::tests::{CONTENTS, HISTORIES};

    fn wanted(kind: &str, label: Option<&str>) -> WantedFilesystem {
        WantedFilesystem {
            kind: kind.to_owned(),
            label: label.map(str::to_owned),
            uuid: None,
            options: Vec::new(),
            grow: false,
            mountpoint: Some("/data".to_owned()),
            mount_options: Vec::new(),
            overwrite: false,
            read_only: false,
            required: false,
            kernel_module: None,
            properties: Vec::new(),
            datasets: Vec::new(),
        }
    }

    fn found(kind: Option<&str>, label: Option<&str>, table: Option<&str>) -> Probe {
        let text = |text: Option<&str>| text.map(str::to_owned);
        Probe::Found(Signature { filesystem: text(kind), label: text(label), uuid: None, partition_table: text(table) })
    }

    #[test]
    fn what_is_there_is_told_by_type_label_and_table() {
        let ext4 = wanted("ext4", Some("data"));
        for (probe, content) in [
            (Probe::Empty, Content::Empty),
            (Probe::Unknown, Content::Unknown),
            (Probe::Silent { seconds: 20 }, Content::Unreadable),
            (Probe::Ambivalent, Content::Ambivalent),
            (Probe::Unreadable { reason: String::new() }, Content::Unreadable),
            (found(Some("ext4"), Some("data"), None), Content::Wanted),
            (found(Some("ext4"), Some("Data"), None), Content::Other),
            (found(Some("ext4"), None, None), Content::Other),
            (found(Some("ext4"), Some("data"), Some("dos")), Content::Other),
            (found(Some("xfs"), Some("data"), None), Content::Other),
            (found(None, None, Some("gpt")), Content::Other),
        ] {
            assert_eq!(ext4.content(&probe), content, "{probe:?}");
        }
        assert_eq!(wanted("ext4", None).content(&found(Some("ext4"), Some("x"), None)), Content::Wanted);
        assert_eq!(wanted("vfat", Some("data")).content(&found(Some("vfat"), Some("DATA"), None)), Content::Wanted);
    }

    #[test]
    fn a_disk_that_is_never_written_is_used_or_refused() {
        for (content, history) in CONTENTS.into_iter().flat_map(|content| HISTORIES.map(|history| (content, history))) {
            for overwrite in [false, true] {
                let wanted = WantedFilesystem { read_only: true, overwrite, ..wanted("ext4", None) };
                let probe = match content {
                    Content::Empty => Probe::Empty,
                    Content::Unknown => Probe::Unknown,
                    Content::Wanted => found(Some("ext4"), None, None),
                    Content::Other => found(Some("xfs"), None, None),
                    Content::Ambivalent => Probe::Ambivalent,
                    Content::Unreadable => Probe::Unreadable { reason: String::new() },
                };
                let decision = wanted.decision(&probe, history, false);
                let used = decision == Decision::Reuse;
                assert!(used == (content == Content::Wanted), "{content:?}, overwrite {overwrite}: {decision:?}");
                assert!(used || matches!(decision, Decision::Refuse(_)), "{content:?}: {decision:?}");
            }
        }
    }

    #[test]
    fn a_pool_is_told_as_the_configuration_calls_it() {
        let pool = wanted("zfs_member", Some("tank"));
        assert_eq!(pool.made(Decision::Reuse).to_string(), "reuse zfs");
        assert_eq!(pool.to_string(), "the zfs pool `tank`");
    }

    #[test]
    fn an_identifier_that_is_described_has_to_be_there() {
        let described = WantedFilesystem { uuid: Some("1A2B-3C4D".to_owned()), ..wanted("vfat", None) };
        let with = |uuid: Option<&str>| {
            let Probe::Found(signature) = found(Some("vfat"), None, None) else { unreachable!() };
            Probe::Found(Signature { uuid: uuid.map(str::to_owned), ..signature })
        };
        assert_eq!(described.content(&with(Some("1a2b-3c4d"))), Content::Wanted);
        assert_eq!(described.content(&with(Some("1A2B-3C4E"))), Content::Other);
        assert_eq!(described.content(&with(None)), Content::Other);
        assert_eq!(described.to_string(), "vfat with the identifier `1A2B-3C4D`");
    }

    #[test]
    fn what_was_found_is_told_without_control_characters() {
        for (probe, text) in [
            (found(Some("xfs"), Some("a\x1b[31m"), None), "xfs labelled `a\\u{1b}[31m`"),
            (found(None, None, Some("gpt")), "a partition table (gpt)"),
            (found(Some("ext4"), None, Some("dos")), "ext4 and a partition table (dos)"),
            (Probe::Ambivalent, "signatures that contradict each other"),
        ] {
            assert_eq!(described(&probe), text);
        }
    }
}
