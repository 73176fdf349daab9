//! The merged configuration: every value with its origin and with what it hid. Must not judge a value.

use std::collections::BTreeMap;

use crate::{
    emit,
    source::Origin,
    tree::{Hidden, Node, Value, child_path},
};

/// All layers in one tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    root: Node,
}

/// One value of the merged configuration: a scalar, a list, or a map without keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Leaf {
    /// Path of its key, such as `cloud-machine.resources.ram`; a key with other characters than letters, digits,
    /// `_` and `-` is in double quotes.
    pub path: String,
    /// The value.
    pub value: serde_yaml::Value,
    /// Where it comes from.
    pub origin: Origin,
    /// What it replaced, the latest first: `VALUE (ORIGIN)`. A replaced map is given as its leaves, each `PATH: VALUE`.
    pub hidden: Vec<String>,
}

impl Merged {
    pub(crate) const fn new(root: Node) -> Self {
        Self { root }
    }

    pub(crate) const fn root(&self) -> &Node {
        &self.root
    }

    /// Every leaf, in the order of the documents.
    #[must_use]
    pub fn leaves(&self) -> Vec<Leaf> {
        let mut leaves = Vec::new();
        collect(&self.root, "", &[], &mut leaves);
        leaves
    }

    /// Path of each leaf and its origin, such as `project cloud-machine.yaml:12:9`.
    #[must_use]
    pub fn origins(&self) -> BTreeMap<String, String> {
        self.leaves().into_iter().map(|leaf| (leaf.path, leaf.origin.to_string())).collect()
    }

    /// The whole as a YAML document, which parses to the same values again.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        emit::block(&self.root)
    }
}

/// `above` is what the maps around `node` replaced; each of their leaves hides it.
fn collect(node: &Node, path: &str, above: &[Hidden], leaves: &mut Vec<Leaf>) {
    let hidden: Vec<Hidden> = node.hidden.iter().chain(above).cloned().collect();
    match &node.value {
        Value::Map(entries) if !entries.is_empty() => {
            for entry in entries {
                collect(&entry.value, &child_path(path, &entry.key.text()), &hidden, leaves);
            }
        }
        _ if path.is_empty() => {}
        _ => leaves.push(Leaf {
            path: path.to_owned(),
            value: node.to_value(),
            origin: node.origin(),
            hidden: hidden.iter().map(Hidden::to_string).collect(),
        }),
    }
}
