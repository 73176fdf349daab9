//! The typed form of the partitions of a disk, as serde reads it, in the order of the merged documents. Must not hold
//! a rule about more than one value.

use std::fmt;

use cloud_machine_protocol::{ByteSize, DiskName};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};

use crate::{
    config::PartitionSize, filesystem_schema::FilesystemValue, mountpoint::Mountpoint, partition_type::PartitionType,
};

/// Partitions by name. A map of the standard library would lose their order.
#[derive(Debug, Default)]
pub(crate) struct Partitions(pub(crate) Vec<(DiskName, Partition)>);

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(crate) struct Partition {
    pub(crate) number: Option<Number>,
    pub(crate) size: Option<Size>,
    pub(crate) r#type: PartitionType,
    pub(crate) filesystem: Option<FilesystemValue>,
    pub(crate) mountpoint: Option<Mountpoint>,
    pub(crate) mount_options: Vec<String>,
}

impl<'de> Deserialize<'de> for Partitions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(InOrder)
    }
}

struct InOrder;

impl<'de> Visitor<'de> for InOrder {
    type Value = Partitions;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a map of partitions")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Partitions, A::Error> {
        let mut partitions = Vec::new();
        while let Some(entry) = map.next_entry()? {
            partitions.push(entry);
        }
        Ok(Partitions(partitions))
    }
}

/// Most partitions of a table that every tool reads (UEFI 2.10, section 5.3.2).
pub(crate) const MAX_PARTITIONS: u32 = 128;

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "u64")]
pub(crate) struct Number(pub(crate) u32);

impl TryFrom<u64> for Number {
    type Error = &'static str;

    fn try_from(number: u64) -> Result<Self, Self::Error> {
        match u32::try_from(number) {
            Ok(number @ 1..=MAX_PARTITIONS) => Ok(Self(number)),
            _ => Err("not from 1 to 128"),
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Size(pub(crate) PartitionSize);

impl TryFrom<String> for Size {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text == "rest" {
            return Ok(Self(PartitionSize::Rest));
        }
        if let Some(digits) = text.strip_suffix('%') {
            let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
            return match digits.parse::<u8>() {
                Ok(percent @ 1..=100) if plain => Ok(Self(PartitionSize::Percent(percent))),
                _ => Err("not from 1% to 100%"),
            };
        }
        match text.parse::<ByteSize>() {
            Ok(size) if size.bytes() > 0 => Ok(Self(PartitionSize::Bytes(size))),
            _ => Err("no size above 0"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_bytes_a_share_or_the_rest() {
        let of = |text: &str| Size::try_from(text.to_owned()).ok().map(|size| size.0);
        assert_eq!(of("512MiB"), Some(PartitionSize::Bytes(ByteSize(512 << 20))));
        assert_eq!(of("25%"), Some(PartitionSize::Percent(25)));
        assert_eq!(of("100%"), Some(PartitionSize::Percent(100)));
        assert_eq!(of("rest"), Some(PartitionSize::Rest));
        for text in ["", "0%", "101%", "+5%", "05%", "2.5%", "%", "50", "0B", "Rest", "5 %"] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
