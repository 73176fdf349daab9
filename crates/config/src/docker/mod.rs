//! Settings of docker's engine: which of them fit, and what docker reads of them in its own file and in its environment. Must
//! not know where either is written, nor refuse a key for not being known.

pub(crate) mod keys;

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::{
    error::ConfigError,
    scalar::{Scalar, Written},
    source::shortened,
    tree::{Entry, Node, Value, child_path, item_path},
};
use keys::{ENVIRONMENT, Kind, VARIABLES};

/// Path of the settings.
pub(crate) const PATH: &str = "docker.engine";

/// What docker's engine is told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DockerEngine {
    settings: BTreeMap<String, Json>,
    environment: BTreeMap<String, String>,
}

impl DockerEngine {
    /// Whether it is told nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.settings.is_empty() && self.environment.is_empty()
    }

    /// The file `daemon.json`, its keys sorted; `None` when nothing belongs there.
    #[must_use]
    pub fn daemon_json(&self) -> Option<String> {
        let settings = self.settings.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        (!self.settings.is_empty()).then(|| format!("{:#}\n", Json::Object(settings)))
    }

    /// Variables of docker's environment: their names are those that a shell takes, their values without control characters.
    #[must_use]
    pub const fn environment(&self) -> &BTreeMap<String, String> {
        &self.environment
    }
}

/// The settings below `root`, when there are some.
pub(crate) fn node(root: &Node) -> Option<&Node> {
    root.get("docker")?.get("engine").filter(|engine| !stated(engine).is_empty())
}

/// The settings in `root`; what does not fit is left out and reported.
pub(crate) fn engine(root: &Node, errors: &mut Vec<ConfigError>) -> DockerEngine {
    let mut engine = DockerEngine::default();
    for entry in node(root).map(stated).unwrap_or_default() {
        let (name, path) = (entry.key.text(), child_path(PATH, &entry.key.as_text()));
        if name == ENVIRONMENT {
            engine.environment = environment(&entry.value, &path, errors);
            continue;
        }
        let before = errors.len();
        match (keys::kind(&name), keys::kind(&name.replace('_', "-"))) {
            (Some(kind), _) => check(&entry.value, kind, &path, errors),
            // dockerd has no key with `_`, and does not start with one that it does not know.
            (None, Some(_)) => errors.push(underscored(entry, &name, &path)),
            (None, None) => {}
        }
        if errors.len() == before
            && let Some(value) = json(&entry.value, &path, errors)
        {
            engine.settings.insert(name, value);
        }
    }
    engine
}

/// Entries that have a value.
fn stated(map: &Node) -> Vec<&Entry> {
    map.entries().iter().filter(|entry| !entry.value.is_null()).collect()
}

fn check(node: &Node, kind: &Kind, path: &str, errors: &mut Vec<ConfigError>) {
    match (kind, &node.value) {
        (Kind::Text, Value::Scalar(Scalar::Text(_)))
        | (Kind::Flag, Value::Scalar(Scalar::Bool(_)))
        | (Kind::Whole, Value::Scalar(Scalar::Integer(_) | Scalar::Large(_)))
        | (Kind::Map, Value::Map(_)) => {}
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
fn json(node: &Node, path: &str, errors: &mut Vec<ConfigError>) -> Option<Json> {
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

fn environment(node: &Node, path: &str, errors: &mut Vec<ConfigError>) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    if !matches!(node.value, Value::Map(_)) {
        errors.push(unfit(node, path, VARIABLES));
    }
    for entry in stated(node) {
        let (name, value) = (entry.key.text(), &entry.value);
        let path = child_path(path, &name);
        match &value.value {
            _ if !is_variable(&name) => {
                let message = format!("`{}` is no name of a variable", shortened(&name));
                errors.push(ConfigError::new(&value.source, entry.mark, &path, message).allowed(VARIABLES));
            }
            Value::Scalar(Scalar::Text(text))
                if value.written != Written::Binary && !text.contains(char::is_control) =>
            {
                variables.insert(name, text.clone());
            }
            Value::Scalar(Scalar::Text(_)) => {
                errors.push(unfit(value, &path, "a text on one line, without control characters"));
            }
            _ => errors.push(unfit(value, &path, "a text").suggestion(advice(value, &Kind::Text))),
        }
    }
    variables
}

fn is_variable(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name.starts_with(|first: char| !first.is_ascii_digit())
}

/// A value of another kind. It is not named: it may be the password of a registry.
fn unfit(node: &Node, path: &str, allowed: &str) -> ConfigError {
    ConfigError::new(&node.source, node.mark, path, format!("found {}", node.kind())).allowed(allowed)
}

fn underscored(entry: &Entry, name: &str, path: &str) -> ConfigError {
    ConfigError::new(&entry.value.source, entry.mark, path, format!("docker has no key `{}`", shortened(name)))
        .suggestion(Some(format!("did you mean `{}`?", name.replace('_', "-"))))
}

fn advice(node: &Node, kind: &Kind) -> Option<String> {
    let text = match (kind, &node.value) {
        (Kind::Text, Value::Scalar(scalar)) if !node.is_null() => {
            node.written.raw(scalar).map(|_| "write it in quotes, for the text")
        }
        (Kind::Flag | Kind::Whole, Value::Scalar(Scalar::Text(_))) => Some("write it without quotes"),
        _ => None,
    };
    text.map(str::to_owned)
}
