//! The tree of a document: maps, lists and typed scalars, each with the place where it was written. Must not merge
//! or judge.

use std::{fmt, sync::Arc};

use crate::{
    scalar::Scalar,
    source::{Mark, Origin, Source, shown},
};

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) source: Arc<Source>,
    pub(crate) mark: Mark,
    pub(crate) value: Value,
    /// Values of earlier layers that this one replaced, the latest first.
    pub(crate) hidden: Vec<Hidden>,
    /// Set on a map that replaced a scalar or a list: what lies even further below is replaced as well.
    pub(crate) replaces: bool,
}

/// A replaced value: a leaf of what was replaced, and its path there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Hidden {
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) origin: Origin,
}

impl fmt::Display for Hidden {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(formatter, "{}: ", self.path)?;
        }
        write!(formatter, "{} ({})", shown(&self.text), self.origin)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key and its value; both were written in the value's source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: Scalar,
    pub(crate) mark: Mark,
    pub(crate) value: Node,
}

impl Node {
    pub(crate) fn new(source: &Arc<Source>, mark: Mark, value: Value) -> Self {
        Self { source: Arc::clone(source), mark, value, hidden: Vec::new(), replaces: false }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self.value, Value::Scalar(Scalar::Null))
    }

    pub(crate) fn origin(&self) -> Origin {
        self.source.origin(self.mark)
    }

    /// Entries of a map; none for anything else.
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The value under `key`, unless it is absent or empty.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.entries()
            .iter()
            .find(|entry| entry.key.text() == key)
            .map(|entry| &entry.value)
            .filter(|node| !node.is_null())
    }

    /// What kind of value it is, with an article, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Scalar(Scalar::Null) => "an empty value",
            Value::Scalar(Scalar::Bool(_)) => "a boolean",
            Value::Scalar(Scalar::Integer(_) | Scalar::Float(_)) => "a number",
            Value::Scalar(Scalar::Text(_)) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    /// The value for serde. Maps keep their order; entries with an empty value are kept.
    pub(crate) fn to_value(&self) -> serde_yaml::Value {
        match &self.value {
            Value::Scalar(scalar) => scalar_value(scalar),
            Value::List(items) => serde_yaml::Value::Sequence(items.iter().map(Self::to_value).collect()),
            Value::Map(entries) => {
                let pairs = entries.iter().map(|entry| (scalar_value(&entry.key), entry.value.to_value()));
                serde_yaml::Value::Mapping(pairs.collect())
            }
        }
    }
}

/// A scalar for serde.
pub(crate) fn scalar_value(scalar: &Scalar) -> serde_yaml::Value {
    match scalar {
        Scalar::Null => serde_yaml::Value::Null,
        Scalar::Bool(value) => (*value).into(),
        Scalar::Float(value) => (*value).into(),
        Scalar::Text(text) => text.as_str().into(),
        // The table only stores what one of these two holds.
        Scalar::Integer(value) => match u64::try_from(*value) {
            Ok(unsigned) => unsigned.into(),
            Err(_) => i64::try_from(*value).map_or_else(|_| value.to_string().into(), Into::into),
        },
    }
}

/// Path of `key` below `parent`: `parent.key`; a key with other characters than `A-Z a-z 0-9 _ -` is quoted.
pub(crate) fn child_path(parent: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    let segment = if plain { key.to_owned() } else { format!("{key:?}") };
    if parent.is_empty() { segment } else { format!("{parent}.{segment}") }
}

/// Path of the item with `index`, from 0: `parent[index]`.
pub(crate) fn item_path(parent: &str, index: usize) -> String {
    format!("{parent}[{index}]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_quote_what_could_be_mistaken() {
        assert_eq!(child_path("", "cloud-machine"), "cloud-machine");
        assert_eq!(child_path("a", "b.c"), "a.\"b.c\"");
        assert_eq!(child_path("a", "x\u{1b}"), "a.\"x\\u{1b}\"");
        assert_eq!(item_path("runcmd", 2), "runcmd[2]");
    }

    #[test]
    fn integers_keep_their_value_for_serde() {
        assert_eq!(scalar_value(&Scalar::Integer(u64::MAX.into())), serde_yaml::Value::from(u64::MAX));
        assert_eq!(scalar_value(&Scalar::Integer(i64::MIN.into())), serde_yaml::Value::from(i64::MIN));
    }
}
