//! Settings of another program: values of the kinds that its table says, and as JSON. Must not know a program, nor refuse a key.

use serde_json::Value as Json;

use crate::{
    error::ConfigError,
    grammar::BOOLEAN,
    scalar::{Scalar, Written},
    tree::{Entry, Node, Value, child_path, item_path},
};

/// What a value may be.
pub(crate) enum Kind {
    Text,
    Flag,
    Whole,
    /// A text, or a list of texts.
    Texts,
    /// A map of any form.
    Map,
    List(&'static Self),
    /// A map with names that its author chose, and a value of this kind below each.
    MapOf(&'static Self),
    /// A map of which these keys are known.
    Fields(&'static [(&'static str, Self)]),
}

impl Kind {
    /// In words.
    pub(crate) fn allowed(&self) -> String {
        match self {
            Self::Text => "a text".to_owned(),
            Self::Flag => BOOLEAN.to_owned(),
            Self::Whole => "a whole number".to_owned(),
            Self::Texts => "a text, or a list of texts".to_owned(),
            Self::Map => "a map".to_owned(),
            Self::List(below) => format!("a list, of each item {}", below.allowed()),
            Self::MapOf(below) => format!("a map, of each value {}", below.allowed()),
            Self::Fields(fields) => {
                let fields: Vec<String> =
                    fields.iter().map(|(name, kind)| format!("{name}: {}", kind.allowed())).collect();
                format!("a map {{{}}}", fields.join(", "))
            }
        }
    }
}

/// Entries that have a value.
pub(crate) fn stated(map: &Node) -> Vec<&Entry> {
    map.entries().iter().filter(|entry| !entry.value.is_null()).collect()
}

/// Reports what in `node` is of no such kind.
pub(crate) fn check(node: &Node, kind: &Kind, path: &str, errors: &mut Vec<ConfigError>) {
    match (kind, &node.value) {
        (Kind::Text, Value::Scalar(Scalar::Text(_)))
        | (Kind::Flag, Value::Scalar(Scalar::Bool(_)))
        | (Kind::Whole, Value::Scalar(Scalar::Integer(_) | Scalar::Large(_)))
        | (Kind::Texts, Value::Scalar(Scalar::Text(_)))
        | (Kind::Map, Value::Map(_)) => {}
        (Kind::Texts, Value::List(_)) => check(node, &Kind::List(&Kind::Text), path, errors),
        (Kind::List(below), Value::List(items)) => {
            for (index, item) in items.iter().enumerate() {
                check(item, below, &item_path(path, index), errors);
            }
        }
        (Kind::MapOf(below), Value::Map(_)) => {
            for entry in stated(node) {
                check(&entry.value, below, &child_path(path, &entry.key.as_text()), errors);
            }
        }
        (Kind::Fields(fields), Value::Map(_)) => {
            for entry in stated(node) {
                let name = entry.key.as_text();
                if let Some((_, below)) = fields.iter().find(|(field, _)| *field == name) {
                    check(&entry.value, below, &child_path(path, &name), errors);
                }
            }
        }
        _ => errors.push(unfit(node, path, &kind.allowed()).suggestion(advice(node, kind))),
    }
}

/// `node` as JSON, without entries that state nothing. What JSON has no word for is reported.
pub(crate) fn json(node: &Node, path: &str, errors: &mut Vec<ConfigError>) -> Option<Json> {
    match &node.value {
        Value::Scalar(_) if node.written == Written::Binary => {
            errors.push(ConfigError::new(&node.source, node.mark, path, "JSON has no bytes, as `!!binary` makes them"));
            None
        }
        Value::Scalar(scalar) => Some(match scalar {
            Scalar::Null => Json::Null,
            Scalar::Bool(value) => (*value).into(),
            Scalar::Integer(value) => (*value).into(),
            Scalar::Large(value) => (*value).into(),
            Scalar::Text(text) => text.as_str().into(),
            Scalar::Float(value) => match serde_json::Number::from_f64(*value) {
                Some(number) => number.into(),
                None => {
                    errors.push(unfit(node, path, "a number that JSON has: neither infinite nor `.nan`"));
                    return None;
                }
            },
        }),
        Value::List(items) => {
            let below =
                items.iter().enumerate().filter_map(|(index, item)| json(item, &item_path(path, index), errors));
            Some(Json::Array(below.collect()))
        }
        Value::Map(_) => {
            let mut below = serde_json::Map::new();
            for entry in stated(node) {
                let (name, path) = (entry.key.text(), child_path(path, &entry.key.as_text()));
                if let Some(value) = json(&entry.value, &path, errors) {
                    below.insert(name, value);
                }
            }
            Some(Json::Object(below))
        }
    }
}

/// A value of another kind. It is not named: it may be a secret.
pub(crate) fn unfit(node: &Node, path: &str, allowed: &str) -> ConfigError {
    ConfigError::new(&node.source, node.mark, path, format!("found {}", node.kind())).allowed(allowed)
}

/// The way from `node` to a value of this kind, where one is short to tell.
pub(crate) fn advice(node: &Node, kind: &Kind) -> Option<String> {
    let text = match (kind, &node.value) {
        (Kind::Text | Kind::Texts, Value::Scalar(scalar)) if !node.is_null() => {
            node.written.raw(scalar).map(|_| "write it in quotes, for the text")
        }
        (Kind::Flag | Kind::Whole, Value::Scalar(Scalar::Text(_))) => Some("write it without quotes"),
        _ => None,
    };
    text.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_in_words() {
        const POOL: &Kind = &Kind::Fields(&[("base", Kind::Text), ("size", Kind::Whole)]);
        assert_eq!(Kind::List(&Kind::Text).allowed(), "a list, of each item a text");
        assert_eq!(Kind::MapOf(&Kind::Flag).allowed(), "a map, of each value true or false");
        assert_eq!(Kind::List(POOL).allowed(), "a list, of each item a map {base: a text, size: a whole number}");
    }
}
