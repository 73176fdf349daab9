//! The typed form of everything below `cloud-machine`, as serde reads it. Must not hold a rule about more than one
//! value.

use std::collections::BTreeMap;

use cloud_machine_protocol::{Bus, ByteSize, DeviceSelector, DiskName, ImageName, NicName, SecretPolicy};
use serde::{
    Deserialize, Deserializer,
    de::{Error, Unexpected, Visitor},
};

use crate::{
    config::{Awaited, Drives, Undeclared, WipeOnBoot},
    filesystem_schema::FilesystemValue,
    mountpoint::Mountpoint,
    nic_schema::{FurtherNic, Nic},
    partition_schema::Partitions,
    url::UrlValue,
};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(crate) struct Machine {
    pub(crate) driver: Option<Lower>,
    pub(crate) image: Option<ImageName>,
    pub(crate) image_keys: Vec<ImageKey>,
    pub(crate) require: Vec<String>,
    pub(crate) resources: Resources,
    pub(crate) disks_undeclared: Undeclared,
    pub(crate) identity: Identity,
    pub(crate) cloud_init_url: Option<UrlValue>,
    pub(crate) drives: Drives,
    pub(crate) wait_for: Option<Awaited>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(crate) struct Resources {
    pub(crate) ram: Option<Ram>,
    pub(crate) cpus: Option<Cpus>,
    pub(crate) disks: BTreeMap<DiskName, Disk>,
    pub(crate) nic: Nic,
    pub(crate) nics: BTreeMap<NicName, FurtherNic>,
    pub(crate) cloud_init_url: Option<UrlValue>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(crate) struct Disk {
    pub(crate) devicepath: Option<DeviceSelector>,
    pub(crate) bus: Option<Bus>,
    pub(crate) allocation: Option<Allocation>,
    pub(crate) source: Option<SourcePath>,
    pub(crate) overwrite: bool,
    pub(crate) wipe_on_boot: WipeOnBootValue,
    pub(crate) on_reimage: OnReimage,
    pub(crate) boot_partition: bool,
    pub(crate) readonly: bool,
    pub(crate) required: bool,
    pub(crate) filesystem: Option<FilesystemValue>,
    pub(crate) mountpoint: Option<Mountpoint>,
    pub(crate) mount_options: Vec<String>,
    pub(crate) partitions: Partitions,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(crate) struct Identity {
    pub(crate) ssh_host_keys: SecretPolicy,
}

macro_rules! words {
    ($name:ident { $($(#[$attribute:meta])* $word:ident),+ }) => {
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub(crate) enum $name { $($(#[$attribute])* $word),+ }
    };
}

words!(OnReimage {
    #[default]
    Wipe,
    Keep,
    Recreate
});

/// The absolute path of a file on the host.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct SourcePath(pub(crate) String);

impl TryFrom<String> for SourcePath {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let fits = text.starts_with('/') && !text.ends_with('/') && !text.contains(char::is_control);
        if fits { Ok(Self(text)) } else { Err("no absolute path") }
    }
}

/// A text of a-z, 0-9 and -.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Lower(pub(crate) String);

impl TryFrom<String> for Lower {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if text.is_empty() || !text.bytes().all(fits) { Err("not a-z, 0-9 and -") } else { Ok(Self(text)) }
    }
}

/// A public key as minisign writes it: base64 of `Ed`, 8 bytes of id and 32 bytes of key.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct ImageKey(pub(crate) String);

impl TryFrom<String> for ImageKey {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
        let begins = text.starts_with("RW") && matches!(text.as_bytes().get(2), Some(b'Q'..=b'T'));
        if begins && text.len() == 56 && text.bytes().all(base64) { Ok(Self(text)) } else { Err("no public key") }
    }
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "u64")]
pub(crate) struct Cpus(pub(crate) u32);

impl TryFrom<u64> for Cpus {
    type Error = &'static str;

    fn try_from(count: u64) -> Result<Self, Self::Error> {
        match u32::try_from(count) {
            Ok(count @ 1..=64) => Ok(Self(count)),
            _ => Err("not from 1 to 64"),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Allocation(pub(crate) ByteSize);

impl TryFrom<String> for Allocation {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.parse::<ByteSize>() {
            Ok(size) if size.bytes() > 0 => Ok(Self(size)),
            _ => Err("no size above 0"),
        }
    }
}

/// Memory: a number counts GiB and is rounded up to whole MiB, a text with a unit is exact.
#[derive(Debug)]
pub(crate) struct Ram(pub(crate) ByteSize);

/// Most memory, in GiB; beyond it the number is a mistake.
const MAX_RAM: u32 = 65_536;

impl<'de> Deserialize<'de> for Ram {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RamVisitor)
    }
}

struct RamVisitor;

impl Visitor<'_> for RamVisitor {
    type Value = Ram;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a number of GiB or a size with a unit")
    }

    fn visit_u64<E: Error>(self, gib: u64) -> Result<Ram, E> {
        self.visit_f64(u32::try_from(gib).map_or(f64::INFINITY, f64::from))
    }

    fn visit_f64<E: Error>(self, gib: f64) -> Result<Ram, E> {
        if !(gib > 0.0 && gib <= f64::from(MAX_RAM)) {
            return Err(E::invalid_value(Unexpected::Float(gib), &self));
        }
        // Positive, whole and far below 2^53: the conversion is exact.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let mib = (gib * 1024.0).ceil() as u64;
        Ok(Ram(ByteSize(mib * ByteSize::MIB)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Ram, E> {
        match text.parse::<ByteSize>() {
            Ok(size) if size.bytes() > 0 && size.bytes() <= u64::from(MAX_RAM) * ByteSize::GIB => Ok(Ram(size)),
            _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
        }
    }
}

/// What happens to a disk at every boot: a boolean or a method.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WipeOnBootValue(pub(crate) Option<WipeOnBoot>);

impl<'de> Deserialize<'de> for WipeOnBootValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WipeVisitor)
    }
}

struct WipeVisitor;

impl Visitor<'_> for WipeVisitor {
    type Value = WipeOnBootValue;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("true, false or a method")
    }

    fn visit_bool<E: Error>(self, wipe: bool) -> Result<WipeOnBootValue, E> {
        Ok(WipeOnBootValue(wipe.then_some(WipeOnBoot::Auto)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<WipeOnBootValue, E> {
        let method = match text {
            "zero" => WipeOnBoot::Zero,
            "recreate" => WipeOnBoot::Recreate,
            "discard" => WipeOnBoot::Discard,
            "crypto" => WipeOnBoot::Crypto,
            _ => return Err(E::invalid_value(Unexpected::Str(text), &self)),
        };
        Ok(WipeOnBootValue(Some(method)))
    }
}
