//! A merged configuration as JSON that keeps every origin, for the way from the host into the guest. Owns the format;
//! must not merge.
//!
//! `{"format": 1, "root": VALUE}`. A VALUE has an ORIGIN (`layer`, `source` and, by the kind of the source, `line` and
//! `column`, `argument`, or `variable`) and one of `plain` (a scalar without quotes, to be typed), `text`, `list` and
//! `map` (a list of `{key, line, column, value}`); and where they apply `hidden` (VALUEs with their `path` below the
//! hiding one), `final` (the ORIGIN of the lock), `binary` (a text that is base64 of bytes), `secret` and `replaces` (a map that leaves nothing of what lies below).

mod read;
mod write;

use serde::{Deserialize, Serialize};

use crate::{Document, LayerKind, Merged, error::ConfigErrors, source::Origin};

/// Version of the format.
const FORMAT: u32 = 1;
/// Largest text of layers, in bytes.
pub const MAX_LAYERS: usize = 16 << 20;
/// Most values of the layers together, hidden ones included.
const MAX_VALUES: usize = 100_000;

impl Merged {
    /// Everything, with all origins, as JSON for [`Document::from_layers`].
    #[must_use]
    pub fn to_layers(&self) -> Vec<u8> {
        write::written(self.root())
    }
}

impl Document {
    /// The document that [`Merged::to_layers`] wrote. Merged alone, or over [`crate::defaults`], it gives the same
    /// values with the same origins, locks and marks.
    ///
    /// It counts as the host's: safety keys in it are not held back. So its bytes must come from a source that only the
    /// host can write, such as a pinned volume.
    ///
    /// # Errors
    /// More than [`MAX_LAYERS`] bytes; JSON that is broken or not of this format; another version of it; values that
    /// no document could hold, such as a key that is there twice or nesting that is too deep.
    pub fn from_layers(text: &[u8]) -> Result<Self, ConfigErrors> {
        let root = read::read(text)?;
        Ok(Self::new(LayerKind::CommandLine, root).pinned())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Layers {
    format: u32,
    root: Written,
}

/// An ORIGIN.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenOrigin {
    layer: LayerKind,
    source: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    argument: Option<usize>,
    #[serde(default, skip_serializing_if = "is_false")]
    variable: bool,
}

/// A VALUE. Its origin lies beside its other fields, so that a person can read it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    plain: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    list: Option<Vec<Written>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    map: Option<Vec<WrittenEntry>>,
    layer: LayerKind,
    source: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    argument: Option<usize>,
    #[serde(default, skip_serializing_if = "is_false")]
    variable: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    hidden: Vec<Written>,
    #[serde(default, rename = "final", skip_serializing_if = "Option::is_none")]
    locked: Option<WrittenOrigin>,
    #[serde(default, skip_serializing_if = "is_false")]
    binary: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    secret: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    replaces: bool,
}

/// An entry of a map.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenEntry {
    key: WrittenKey,
    line: usize,
    column: usize,
    value: Written,
}

/// A key, with quotes or without.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WrittenKey {
    Plain(String),
    Text(String),
}

fn is_false(value: &bool) -> bool {
    !value
}

impl From<&Origin> for WrittenOrigin {
    fn from(origin: &Origin) -> Self {
        use crate::source::Location;
        let mut written = Self {
            layer: origin.layer,
            source: origin.source.as_ref().to_owned(),
            line: None,
            column: None,
            argument: None,
            variable: false,
        };
        match origin.location {
            Location::BuiltIn => {}
            Location::Argument(index) => written.argument = Some(index),
            Location::Variable => written.variable = true,
            Location::Text { line, column } => (written.line, written.column) = (Some(line), Some(column)),
        }
        written
    }
}
