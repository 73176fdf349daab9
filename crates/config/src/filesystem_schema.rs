//! The typed form of a filesystem on a disk or in a partition, as serde reads it. Must not hold a rule about more than one
//! value.

use serde::{
    Deserialize, Deserializer,
    de::{
        Error, MapAccess, Visitor,
        value::{MapAccessDeserializer, StrDeserializer},
    },
};

use crate::config::{Filesystem, FilesystemType};

/// A filesystem by its type, or a map.
#[derive(Debug)]
pub(crate) struct FilesystemValue(pub(crate) Filesystem);

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct FilesystemMap {
    r#type: FilesystemType,
    label: Option<FilesystemLabel>,
    kernel_module: Option<ModuleName>,
    uuid: Option<FilesystemUuid>,
    #[serde(default)]
    options: Vec<String>,
    #[serde(default)]
    grow: bool,
    #[serde(default)]
    properties: Vec<Property>,
    #[serde(default)]
    datasets: Vec<DatasetName>,
}

impl<'de> Deserialize<'de> for FilesystemValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FilesystemVisitor)
    }
}

struct FilesystemVisitor;

impl<'de> Visitor<'de> for FilesystemVisitor {
    type Value = FilesystemValue;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a filesystem or a map with one")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<FilesystemValue, E> {
        let kind = FilesystemType::deserialize(StrDeserializer::<E>::new(text))?;
        Ok(FilesystemValue(Filesystem::of(kind)))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<FilesystemValue, A::Error> {
        let FilesystemMap { r#type: kind, label, kernel_module, uuid, options, grow, properties, datasets } =
            FilesystemMap::deserialize(MapAccessDeserializer::new(map))?;
        Ok(FilesystemValue(Filesystem {
            kind,
            label: label.map(|label| label.0),
            kernel_module: kernel_module.map(|name| name.0),
            uuid: uuid.map(|uuid| uuid.0),
            options,
            grow,
            properties: properties.into_iter().map(|property| property.0).collect(),
            datasets: datasets.into_iter().map(|dataset| dataset.0).collect(),
        }))
    }
}

/// A label that every program takes for a label: nothing in it is an option, a path or a list.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct FilesystemLabel(String);

impl TryFrom<String> for FilesystemLabel {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let length = (1..=32).contains(&text.len());
        if length && text.bytes().all(fits) && !text.starts_with('-') { Ok(Self(text)) } else { Err("no label") }
    }
}

/// The identifier of a filesystem in the form in which libblkid tells it: a UUID, or the eight digits of FAT.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct FilesystemUuid(String);

impl TryFrom<String> for FilesystemUuid {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let groups: Vec<usize> = text.split('-').map(str::len).collect();
        let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        match groups.as_slice() {
            [4, 4] if digits => Ok(Self(text.to_ascii_uppercase())),
            [8, 4, 4, 4, 12] if digits => Ok(Self(text.to_ascii_lowercase())),
            _ => Err("no identifier of a filesystem"),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct ModuleName(String);

impl TryFrom<String> for ModuleName {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let length = (1..=56).contains(&text.len());
        if length && text.bytes().all(fits) { Ok(Self(text)) } else { Err("no name of a module") }
    }
}

/// A property of a ZFS dataset as `zfs set` takes it.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Property(String);

impl TryFrom<String> for Property {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b":_.-".contains(&byte);
        let named = |name: &str| name.starts_with(|first: char| first.is_ascii_lowercase()) && name.bytes().all(fits);
        let valued = |value: &str| !value.is_empty() && value.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        match text.split_once('=') {
            Some((name, value)) if named(name) && valued(value) => Ok(Self(text)),
            _ => Err("no property"),
        }
    }
}

/// A dataset below that of its pool (zfs(8)): nothing in it is an option, a snapshot or a way up.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct DatasetName(String);

impl TryFrom<String> for DatasetName {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"_-:.".contains(&byte);
        let first = |part: &str| part.starts_with(|first: char| first.is_ascii_alphanumeric());
        let fits = text.len() <= 100 && text.split('/').all(|part| first(part) && part.bytes().all(inner));
        if fits { Ok(Self(text)) } else { Err("no dataset") }
    }
}
