//! A value, its origin and what it hid, ready to be shown in each form. Must not be handed a secret.

use std::borrow::Cow;

use cloud_machine_config::{Hidden, Leaf, Location, Merged, Origin};
use cloud_machine_protocol::escape;
use serde::{Serialize, Serializer};

use crate::{arguments::Global, failure::Failure, redaction, state::open_store};

/// Longest value in a line for people; the other forms have all of it.
const MAX_SHOWN: usize = 120;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct OriginRow {
    pub(super) text: String,
    layer: String,
    source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    /// Index of the argument among --config, --set and --unset, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    argument: Option<usize>,
}

impl From<&Origin> for OriginRow {
    fn from(origin: &Origin) -> Self {
        let (line, column) = match origin.location {
            Location::Text { line, column } => (Some(line), Some(column)),
            _ => (None, None),
        };
        let argument = match origin.location {
            Location::Argument(index) => Some(index),
            _ => None,
        };
        let (layer, source) = (origin.layer.to_string(), origin.source.as_ref().to_owned());
        Self { text: origin.to_string(), layer, source, line, column, argument }
    }
}

impl OriginRow {
    /// An origin, for serde.
    pub(super) fn serialize_origin<S: Serializer>(origin: &Origin, serializer: S) -> Result<S::Ok, S::Error> {
        Self::from(origin).serialize(serializer)
    }

    /// The origin of a lock, for serde.
    pub(super) fn serialize_lock<S: Serializer>(lock: &Option<&Origin>, serializer: S) -> Result<S::Ok, S::Error> {
        lock.map(Self::from).serialize(serializer)
    }
}

/// A value that another one replaced.
#[derive(Clone, Debug, Serialize)]
pub(super) struct HiddenRow {
    key: String,
    value: serde_json::Value,
    origin: OriginRow,
}

impl From<&Hidden> for HiddenRow {
    fn from(hidden: &Hidden) -> Self {
        let (value, origin) = (json(&hidden.value), OriginRow::from(&hidden.origin));
        Self { key: hidden.path.clone(), value, origin }
    }
}

impl HiddenRow {
    /// All of a value, for serde.
    pub(super) fn serialize_all<S: Serializer>(hidden: &[Hidden], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(hidden.iter().map(Self::from))
    }
}

/// A value that another one replaced, on one line, with its key only when it is another one than `key`.
pub(super) fn hides(hidden: &Hidden, key: &str) -> String {
    let name = if hidden.path == key { String::new() } else { format!("{}: ", hidden.path) };
    format!("{name}{} ({})", shown_json(&hidden.value), hidden.origin)
}

/// A value as JSON. A key that JSON does not know makes a text of the whole.
pub(super) fn json(value: &serde_yaml::Value) -> serde_json::Value {
    serde_json::to_value(value).unwrap_or_else(|_| serde_yaml::to_string(value).unwrap_or_default().into())
}

/// [`json`], for serde.
pub(super) fn serialize_json<S: Serializer>(value: &serde_yaml::Value, serializer: S) -> Result<S::Ok, S::Error> {
    json(value).serialize(serializer)
}

/// A value on one line that is safe to print.
pub(super) fn shown(value: &serde_json::Value) -> String {
    escape::line(value.to_string().as_bytes(), MAX_SHOWN)
}

/// [`shown`] of [`json`]. A scalar, as nearly all values are, is written at once.
pub(super) fn shown_json(value: &serde_yaml::Value) -> String {
    match value {
        serde_yaml::Value::Sequence(_) | serde_yaml::Value::Mapping(_) => shown(&json(value)),
        scalar => match serde_json::to_string(scalar) {
            Ok(text) => escape::line(text.as_bytes(), MAX_SHOWN),
            Err(_) => shown(&json(scalar)),
        },
    }
}

/// The same configuration without any secret, itself if it has none; `leaves` are those of `merged`.
pub(super) fn redacted<'a>(global: &Global, merged: &'a Merged, leaves: &[Leaf]) -> Result<Cow<'a, Merged>, Failure> {
    redaction::redacted(merged, leaves, &|| Ok(open_store(global)?.root().to_owned()))
}
