//! The tree of a document: maps, lists and typed scalars, each with the place where it was written. Must not merge
//! or judge.

use std::{borrow::Cow, collections::BTreeSet, sync::Arc};

use crate::{
    scalar::{Scalar, Written},
    source::{Mark, Origin, Source},
};

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) source: Arc<Source>,
    pub(crate) mark: Mark,
    pub(crate) value: Value,
    /// Of a scalar, how it was written.
    pub(crate) written: Written,
    /// Values of earlier layers that this one replaced, the latest first.
    pub(crate) hidden: Vec<Replaced>,
    /// What of earlier layers this value ends.
    pub(crate) erases: Erases,
    /// On a map that only leads to resets: it is not there for its own sake.
    pub(crate) implied: bool,
    /// On a list that extends an inherited one: how many of its items come before the inherited ones.
    pub(crate) extends: Option<usize>,
    /// Where `!final` was written.
    pub(crate) locked: Option<Box<Origin>>,
    /// Whether it was marked `!secret`, here or in an earlier layer.
    pub(crate) secret: bool,
}

/// What of earlier layers a value ends. Scalars and lists end everything that they meet, and say nothing here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Erases {
    /// Nothing: a map merges by key.
    #[default]
    Nothing,
    /// All but the built-in defaults: what was reset. With an empty value, the reset itself.
    Inherited,
    /// All: a map that replaced a scalar or a list, or that overrides.
    Everything,
}

/// A replaced value: a scalar, list or empty map, and its path below the node that hides it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Replaced {
    pub(crate) path: String,
    pub(crate) node: Node,
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
    pub(crate) written: Written,
    pub(crate) mark: Mark,
    pub(crate) value: Node,
}

/// Entries that are looked at one by one to find a key: an index of so few would take longer to make.
pub(crate) const FEW: usize = 8;

/// Whether a map that is being read has a key already.
#[derive(Default)]
pub(crate) struct Keys(BTreeSet<String>);

impl Keys {
    /// Notes the key `name`, which comes after `entries`; `false` when it is one of theirs.
    pub(crate) fn insert(&mut self, name: &str, entries: &[Entry]) -> bool {
        if entries.len() < FEW {
            return entries.iter().all(|entry| entry.key.as_text() != name);
        }
        if self.0.is_empty() {
            self.0.extend(entries.iter().map(|entry| entry.key.text()));
        }
        self.0.insert(name.to_owned())
    }
}

impl Entry {
    /// A key that no document wrote.
    pub(crate) fn new(key: &str, mark: Mark, value: Node) -> Self {
        Self { key: Scalar::Text(key.to_owned()), written: Written::Quoted, mark, value }
    }
}

impl Node {
    pub(crate) fn new(source: &Arc<Source>, mark: Mark, value: Value) -> Self {
        Self {
            source: Arc::clone(source),
            mark,
            value,
            written: Written::Quoted,
            hidden: Vec::new(),
            erases: Erases::Nothing,
            implied: false,
            extends: None,
            locked: None,
            secret: false,
        }
    }

    /// What forgets the inherited value.
    pub(crate) fn reset(source: &Arc<Source>, mark: Mark) -> Self {
        Self { erases: Erases::Inherited, ..Self::new(source, mark, Value::Scalar(Scalar::Null)) }
    }

    /// Marks every map in which each key leads to a reset, and says whether this is one.
    pub(crate) fn imply(&mut self) -> bool {
        let merges = self.erases == Erases::Nothing && self.locked.is_none();
        let Value::Map(entries) = &mut self.value else {
            return false;
        };
        let (mut resets, mut states) = (false, !merges);
        for entry in entries {
            let leads = entry.value.imply() || entry.value.is_reset();
            resets |= leads;
            states |= !leads;
        }
        self.implied = resets && !states;
        self.implied
    }

    /// Whether there is no value: it is empty, or a reset.
    pub(crate) fn is_null(&self) -> bool {
        matches!(self.value, Value::Scalar(Scalar::Null))
    }

    /// Whether it says anything: an empty list, an empty map and no value do not.
    pub(crate) fn states_something(&self) -> bool {
        match &self.value {
            Value::Scalar(_) => !self.is_null(),
            Value::List(items) => !items.is_empty(),
            Value::Map(entries) => !entries.is_empty(),
        }
    }

    pub(crate) fn is_reset(&self) -> bool {
        self.is_null() && self.erases != Erases::Nothing
    }

    /// Whether it is empty, so that what was inherited stays.
    pub(crate) fn states_nothing(&self) -> bool {
        self.is_null() && self.erases == Erases::Nothing
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
        self.entry(key).map(|entry| &entry.value).filter(|node| !node.is_null())
    }

    /// The entry of `key`.
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key.as_text() == key)
    }

    /// What kind of value it is, with an article, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Scalar(Scalar::Null) => "an empty value",
            Value::Scalar(Scalar::Bool(_)) => "a boolean",
            Value::Scalar(Scalar::Integer(_) | Scalar::Large(_) | Scalar::Float(_)) => "a number",
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
        Scalar::Integer(value) => (*value).into(),
        Scalar::Large(value) => (*value).into(),
    }
}

/// Path of `key` below `parent`: `parent.key`; a key with other characters than `A-Z a-z 0-9 _ -` is quoted.
pub(crate) fn child_path(parent: &str, key: &str) -> String {
    let mut path = String::with_capacity(parent.len() + key.len() + 1);
    path.push_str(parent);
    if !parent.is_empty() {
        path.push('.');
    }
    path.push_str(&segment(key));
    path
}

/// A key as it stands in a path.
pub(crate) fn segment(key: &str) -> Cow<'_, str> {
    let plain = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if plain { key.into() } else { format!("{key:?}").into() }
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
        assert_eq!(scalar_value(&Scalar::Large(u64::MAX)), serde_yaml::Value::from(u64::MAX));
        assert_eq!(scalar_value(&Scalar::Integer(i64::MIN)), serde_yaml::Value::from(i64::MIN));
    }
}
