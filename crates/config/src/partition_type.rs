//! Types of partitions by name: the one list for values, errors and the schema. Must not know a disk.

use gpt::partition_types as types;
use serde::Deserialize;
use uuid::{Uuid, uuid};

/// Names with their GUIDs; the last ones are of the Discoverable Partitions Specification and unknown to `gpt`.
pub(crate) const TYPES: [(&str, Uuid); 14] = [
    ("linux", types::LINUX_FS.guid),
    ("swap", types::LINUX_SWAP.guid),
    ("esp", types::EFI.guid),
    ("bios", types::BIOS.guid),
    ("boot", types::FREEDESK_BOOT.guid),
    ("home", types::LINUX_HOME.guid),
    ("srv", types::LINUX_SRV.guid),
    ("lvm", types::LINUX_LVM.guid),
    ("raid", types::LINUX_RAID.guid),
    ("luks", types::LINUX_LUKS.guid),
    // The type that ZFS itself uses, on every system (OpenZFS, lib/libefi).
    ("zfs", types::MACOS_ZFS.guid),
    ("windows", types::BASIC.guid),
    ("var", uuid!("4d21b016-b534-45c2-a9fb-5c16e091fd2d")),
    ("tmp", uuid!("7ec6f557-3bc5-4aca-b293-16ef5df639d1")),
];

/// What a type may be, for people.
pub(crate) const ALLOWED: &str =
    "linux, swap, esp, bios, boot, home, srv, lvm, raid, luks, zfs, windows, var, tmp, or a GUID with dashes";

/// A type by its name or GUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct PartitionType(pub(crate) Uuid);

impl Default for PartitionType {
    fn default() -> Self {
        Self(types::LINUX_FS.guid)
    }
}

impl TryFrom<String> for PartitionType {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let named = TYPES.iter().find(|(name, _)| *name == text).map(|(_, guid)| *guid);
        // One form only: `try_parse` alone would take braces and URNs too.
        let parsed = || Uuid::try_parse(&text).ok().filter(|guid| text.len() == 36 && !guid.is_nil());
        named.or_else(parsed).map(Self).ok_or("no type of a partition")
    }
}

/// The name that `found` was probably meant to be.
pub(crate) fn nearest(found: &str) -> Option<&'static str> {
    let found = found.to_ascii_lowercase();
    // The distance is dear, and a text may be long.
    let short = found.len() <= 16;
    let near = |(name, _): &(&'static str, Uuid)| (strsim::damerau_levenshtein(&found, name), *name);
    let (distance, name) = TYPES.iter().filter(|_| short).map(near).min()?;
    (distance <= (name.len() / 3).max(1)).then_some(name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn of(text: &str) -> Option<String> {
        PartitionType::try_from(text.to_owned()).ok().map(|found| found.0.to_string())
    }

    #[test]
    fn a_type_is_a_name_or_a_guid_in_one_form() {
        assert_eq!(of("linux").unwrap(), "0fc63daf-8483-4772-8e79-3d69d8477de4");
        assert_eq!(of("zfs").unwrap(), "6a898cc3-1dd2-11b2-99a6-080020736631");
        let guid = "0FC63DAF-8483-4772-8E79-3D69D8477DE4";
        assert_eq!(of(guid), of("linux"));
        for text in ["", "Linux", "0x83", &guid.replace('-', ""), &format!("{{{guid}}}"), &Uuid::nil().to_string()] {
            assert_eq!(of(text), None, "{text}");
        }
    }

    #[test]
    fn every_name_is_listed_once_and_for_people() {
        let names: BTreeSet<&str> = TYPES.iter().map(|(name, _)| *name).collect();
        let guids: BTreeSet<Uuid> = TYPES.iter().map(|(_, guid)| *guid).collect();
        assert_eq!((names.len(), guids.len()), (TYPES.len(), TYPES.len()));
        assert!(ALLOWED.starts_with(&TYPES.map(|(name, _)| name).join(", ")));
    }

    #[test]
    fn a_slip_of_the_pen_is_found() {
        assert_eq!(nearest("lunux"), Some("linux"));
        assert_eq!(nearest("LVM"), Some("lvm"));
        assert_eq!(nearest("something"), None);
        assert_eq!(nearest(&"x".repeat(9000)), None);
    }
}
