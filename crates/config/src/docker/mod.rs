//! Settings of docker's engine: which of them fit, and what docker reads of them in its own file and in its environment. Must
//! not know where either is written, nor refuse a key for not being known.

pub(crate) mod keys;
pub(crate) mod swarm;

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::{
    error::ConfigError,
    scalar::{Scalar, Written},
    settings::{Kind, advice, check, json, stated, unfit},
    source::shortened,
    tree::{Entry, Node, Value, child_path},
};
use keys::{ENVIRONMENT, VARIABLES};

/// Path of the settings.
pub(crate) const PATH: &str = "docker.engine";
pub(crate) const DATA_ROOT: &str = "data-root";
/// What docker called it once, and still reads: nobody would look at where that is.
const OLD_DATA_ROOT: &str = "graph";
/// Where docker keeps its data unless it is told.
pub(crate) const DEFAULT_DATA_ROOT: &str = "/var/lib/docker";

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

    /// Where it shall keep images and containers, when it is told.
    #[must_use]
    pub fn data_root(&self) -> Option<&str> {
        self.settings.get(DATA_ROOT)?.as_str()
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
        if name == OLD_DATA_ROOT {
            let message = format!("`{OLD_DATA_ROOT}` is docker's old name of `{DATA_ROOT}`");
            let error = ConfigError::new(&entry.value.source, entry.mark, &path, message);
            errors.push(error.suggestion(Some(format!("write `{DATA_ROOT}`"))));
        }
        if errors.len() == before
            && let Some(value) = json(&entry.value, &path, errors)
        {
            engine.settings.insert(name, value);
        }
    }
    engine
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

fn underscored(entry: &Entry, name: &str, path: &str) -> ConfigError {
    ConfigError::new(&entry.value.source, entry.mark, path, format!("docker has no key `{}`", shortened(name)))
        .suggestion(Some(format!("did you mean `{}`?", name.replace('_', "-"))))
}
