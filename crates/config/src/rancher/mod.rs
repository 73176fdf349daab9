//! Settings of k3s and rke2: which of them fit, and what the program reads of them in its own file. Must not know where that is
//! written, nor refuse a key for not being known.

pub(crate) mod keys;

use std::{collections::BTreeMap, fmt::Write as _};

use cloud_machine_protocol::escape;
use serde_json::Value as Json;

use crate::{
    error::ConfigError,
    scalar::Scalar,
    settings::{Kind, check, json, stated, unfit},
    source::shortened,
    tree::{Entry, Node, Value, child_path},
};
use keys::{ROLE, ROLES, SHORT};

/// Path of the settings of both programs.
const PATH: &str = "rancher";
pub(crate) const DATA_DIR: &str = "data-dir";

/// A program that makes a machine part of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// k3s.
    K3s,
    /// rke2.
    Rke2,
}

impl Distribution {
    /// Both.
    pub const ALL: [Self; 2] = [Self::K3s, Self::Rke2];

    /// Its own name, also of its key.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::K3s => "k3s",
            Self::Rke2 => "rke2",
        }
    }

    /// The unit of systemd that runs this part of it, as its own installer makes it.
    #[must_use]
    pub const fn unit(self, role: Role) -> &'static str {
        match (self, role) {
            (Self::K3s, Role::Server) => "k3s.service",
            (Self::K3s, Role::Agent) => "k3s-agent.service",
            (Self::Rke2, Role::Server) => "rke2-server.service",
            (Self::Rke2, Role::Agent) => "rke2-agent.service",
        }
    }

    /// Where it keeps its data unless it is told.
    pub(crate) const fn data_dir(self) -> &'static str {
        match self {
            Self::K3s => "/var/lib/rancher/k3s",
            Self::Rke2 => "/var/lib/rancher/rke2",
        }
    }
}

/// Which part of the cluster a machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It has the control plane.
    Server,
    /// It has none.
    Agent,
}

impl Role {
    /// The part that a machine is not.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Server => Self::Agent,
            Self::Agent => Self::Server,
        }
    }
}

/// What k3s or rke2 is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Rancher {
    /// Which of them.
    pub distribution: Distribution,
    /// Which part of it runs.
    pub role: Role,
    settings: BTreeMap<String, Json>,
}

impl Rancher {
    /// The file `config.yaml`, its keys sorted. It may hold a token.
    #[must_use]
    pub fn config_yaml(&self) -> String {
        let mut text = String::new();
        for (key, value) in &self.settings {
            // A word that is known needs no quotes.
            let key = if keys::kind(key).is_some() { key.clone() } else { yaml(&Json::from(key.as_str())) };
            // Writing into a String cannot fail.
            let _ = match value {
                Json::Array(items) if !items.is_empty() => {
                    let items: String = items.iter().map(|item| format!("  - {}\n", yaml(item))).collect();
                    write!(text, "{key}:\n{items}")
                }
                value => writeln!(text, "{key}: {}", yaml(value)),
            };
        }
        text
    }

    /// Where it shall keep its data, or would by itself.
    #[must_use]
    pub fn data_dir(&self) -> &str {
        self.settings.get(DATA_DIR).and_then(Json::as_str).unwrap_or_else(|| self.distribution.data_dir())
    }
}

/// JSON's own form of a text and of a scalar is YAML's, too, whatever its version, but for the characters that YAML takes only
/// escaped, or for the end of a line (YAML 1.2, 5.1).
fn yaml(value: &Json) -> String {
    escape::yaml(&value.to_string()).into_owned()
}

/// The settings of `distribution` below `root`, when there are some.
pub(crate) fn node(root: &Node, distribution: Distribution) -> Option<&Node> {
    root.get(PATH)?.get(distribution.name()).filter(|settings| !stated(settings).is_empty())
}

/// Key path of the settings.
pub(crate) fn path(distribution: Distribution) -> String {
    child_path(PATH, distribution.name())
}

/// The settings in `root`; what does not fit is reported.
pub(crate) fn rancher(root: &Node, errors: &mut Vec<ConfigError>) -> Option<Rancher> {
    let both = Distribution::ALL.map(|distribution| node(root, distribution).map(|node| (distribution, node)));
    let (distribution, node) = match both {
        [None, None] => return None,
        [Some(one), None] | [None, Some(one)] => one,
        [Some(_), Some((_, second))] => {
            let error = ConfigError::new(&second.source, second.mark, PATH, "a machine runs k3s or rke2, not both");
            errors.push(error.suggestion(Some("leave one of them out".to_owned())));
            return None;
        }
    };
    let path = path(distribution);
    let role = role(node, &path, errors)?;
    let mut settings = BTreeMap::new();
    for entry in stated(node).into_iter().filter(|entry| entry.key.text() != ROLE) {
        let (name, path) = (entry.key.text(), child_path(&path, &entry.key.as_text()));
        let before = errors.len();
        fits(entry, &name, role, &path, errors);
        if errors.len() == before
            && let Some(value) = json(&entry.value, &path, errors)
        {
            settings.insert(name, value);
        }
    }
    joins(node, role, &path, errors);
    Some(Rancher { distribution, role, settings })
}

fn role(node: &Node, path: &str, errors: &mut Vec<ConfigError>) -> Option<Role> {
    let Some(stated) = node.get(ROLE).filter(|role| !role.is_null()) else {
        let error = ConfigError::new(&node.source, node.mark, path, "nothing says which part of the cluster it is");
        errors.push(error.suggestion(Some(format!("`{ROLE}: server` or `{ROLE}: agent`"))));
        return None;
    };
    match &stated.value {
        Value::Scalar(Scalar::Text(text)) if text == "server" => Some(Role::Server),
        Value::Scalar(Scalar::Text(text)) if text == "agent" => Some(Role::Agent),
        _ => {
            errors.push(unfit(stated, &child_path(path, ROLE), ROLES));
            None
        }
    }
}

/// Reports why `entry` is no setting of a machine of this role.
fn fits(entry: &Entry, name: &str, role: Role, path: &str, errors: &mut Vec<ConfigError>) {
    let value = &entry.value;
    let refused = |message: String| ConfigError::new(&value.source, entry.mark, path, message);
    if let Some((_, long)) = SHORT.iter().find(|(short, _)| *short == name) {
        errors.push(refused("keys of one letter are not taken".to_owned()).suggestion(Some(format!("write `{long}`"))));
        return;
    }
    // What `key+` adds to is in files of the image, which a merge of layers does not see.
    let known = keys::kind(name.strip_suffix('+').unwrap_or(name));
    match (known, keys::kind(&name.replace('_', "-"))) {
        (Some((_, true)), _) if role == Role::Agent => {
            let way_out = format!("leave it out, or say `{ROLE}: server`");
            errors.push(refused("only a server has this".to_owned()).suggestion(Some(way_out)));
        }
        (Some((kind, _)), _) if name.ends_with('+') && !matches!(kind, Kind::Texts) => {
            errors.push(refused("only to a list something can be added".to_owned()));
        }
        (Some((kind, _)), _) => check(value, kind, path, errors),
        (None, Some(_)) => {
            let way_out = format!("did you mean `{}`?", name.replace('_', "-"));
            errors.push(refused(format!("there is no key `{}`", shortened(name))).suggestion(Some(way_out)));
        }
        // Each becomes an argument of the program.
        (None, None) if is_argument(value) => {}
        (None, None) => errors.push(unfit(value, path, "a text, number or boolean, or a list of those")),
    }
    if matches!(name, "token" | "agent-token" | "server")
        && let Value::Scalar(Scalar::Text(text)) = &value.value
    {
        let wrong = match name {
            "server" => !text.starts_with("https://") || text.contains(|letter: char| letter.is_whitespace()),
            _ => text.is_empty() || text.contains(|letter: char| letter.is_whitespace() || letter.is_control()),
        };
        let allowed =
            if name == "server" { "an address such as https://server.example:6443" } else { "a text without blanks" };
        errors.extend(wrong.then(|| unfit(value, path, allowed)));
    }
}

fn is_argument(node: &Node) -> bool {
    match &node.value {
        Value::Scalar(_) => true,
        Value::List(items) => items.iter().all(|item| matches!(item.value, Value::Scalar(_)) && !item.is_null()),
        Value::Map(_) => false,
    }
}

/// An agent is none without a server and what lets it in; a server that joins another one needs that, too.
fn joins(node: &Node, role: Role, path: &str, errors: &mut Vec<ConfigError>) {
    const TOKEN: &str = "take the one in the file `server/token` in the server's data folder";
    let has = |name: &str| node.get(name).is_some_and(|value| !value.is_null());
    let let_in = has("token") || has("token-file");
    let (missing, way_out) = match role {
        Role::Agent if !has("server") => (
            "an agent needs `server`",
            "name the address of one: `https://HOST:6443` of k3s, `https://HOST:9345` of rke2",
        ),
        Role::Agent if !let_in => ("an agent needs `token`, or `token-file`", TOKEN),
        Role::Server if has("server") && !let_in => {
            ("a server that joins another one needs `token`, or `token-file`", TOKEN)
        }
        _ => return,
    };
    let error = ConfigError::new(&node.source, node.mark, path, missing);
    errors.push(error.suggestion(Some(way_out.to_owned())));
}
