//! A value, its origin and what it hid, ready to be shown in each form. Must not be handed a secret.

use cloud_machine_config::{Hidden, Leaf, Merged, Origin, Place};
use cloud_machine_driver::escape;
use serde::Serialize;

use crate::{arguments::Global, failure::Failure, open_store, redaction};

/// Longest value in a line for people; the other forms have all of it.
const LONGEST: usize = 120;

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
        let (line, column) = match origin.place {
            Place::Text { line, column } => (Some(line), Some(column)),
            _ => (None, None),
        };
        let argument = match origin.place {
            Place::Argument(index) => Some(index),
            _ => None,
        };
        let (layer, source) = (origin.layer.to_string(), origin.source.clone());
        Self { text: origin.to_string(), layer, source, line, column, argument }
    }
}

/// A value that another one replaced.
#[derive(Clone, Debug, Serialize)]
pub(super) struct HiddenRow {
    key: String,
    value: serde_json::Value,
    origin: OriginRow,
}

impl HiddenRow {
    pub(super) fn of(leaf: &Leaf) -> Vec<Self> {
        let row = |hidden: &Hidden| Self {
            key: hidden.path.clone(),
            value: json(&hidden.value),
            origin: OriginRow::from(&hidden.origin),
        };
        leaf.hidden.iter().map(row).collect()
    }

    /// On one line, with its key only when it is another one than `key`.
    pub(super) fn text(&self, key: &str) -> String {
        let name = if self.key == key { String::new() } else { format!("{}: ", self.key) };
        format!("{name}{} ({})", shown(&self.value), self.origin.text)
    }
}

/// A value as JSON. A key that JSON does not know makes a text of the whole.
pub(super) fn json(value: &serde_yaml::Value) -> serde_json::Value {
    serde_json::to_value(value).unwrap_or_else(|_| serde_yaml::to_string(value).unwrap_or_default().into())
}

/// A value on one line that is safe to print.
pub(super) fn shown(value: &serde_json::Value) -> String {
    escape::line(value.to_string().as_bytes(), LONGEST)
}

/// The same configuration without any secret.
pub(super) fn redacted(global: &Global, merged: &Merged) -> Result<Merged, Failure> {
    redaction::redacted(merged, &|| Ok(open_store(global)?.root().to_owned()))
}
