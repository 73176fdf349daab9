//! The merged configuration: every value with its origin and with what it hid. Must not judge a value.

use std::{collections::BTreeMap, iter::repeat_with, sync::Arc};

use crate::{
    cloud_init::CloudInit,
    emit,
    error::{ConfigError, ConfigErrors},
    grammar::ROOT,
    key_location::locate,
    key_path,
    secret::Secrecy,
    source::{LayerKind, Origin},
    tree::{Node, Replaced, Value, child_path, segment},
};

/// All layers in one tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    root: Arc<Node>,
}

/// One value of the merged configuration: a scalar, a list, or a map without keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Leaf {
    /// Path of its key, such as `cloud-machine.resources.ram`; a key with other characters than letters, digits,
    /// `_` and `-` is in double quotes.
    pub path: String,
    /// The value.
    pub value: serde_yaml::Value,
    /// Where it comes from. For a list that was extended: where it was extended last.
    pub origin: Origin,
    /// What it replaced. Values that a map replaced are given once, at the leaf with the same path, or else at the
    /// first leaf below that map.
    pub hidden: Vec<Hidden>,
    /// Whether it, or a part of it, must not be shown; see [`Merged::redacted`].
    pub secret: bool,
    /// Where `!final` locked it, or a map around it.
    pub locked: Option<Origin>,
}

/// Keys below [`ROOT`] with which the host makes a machine, before the machine reads a document; `*` for a disk's name.
pub(crate) const MADE: [&str; 4] = ["driver", "resources.ram", "resources.cpus", "resources.disks.*.allocation"];

impl Leaf {
    /// Whether the value has no effect, since a document that only the machine reads changed what the machine is made
    /// of by then.
    #[must_use]
    pub fn is_late(&self) -> bool {
        let same = self.hidden.first().is_some_and(|hidden| hidden.path == self.path && hidden.value == self.value);
        let ours = self.path.strip_prefix(ROOT).and_then(|path| path.strip_prefix('.'));
        let of_machine = matches!(self.origin.layer, LayerKind::CloudInitUrl | LayerKind::Volume);
        of_machine && !same && ours.is_some_and(|path| MADE.iter().any(|pattern| key_path::matches(pattern, path)))
    }
}

/// A value that another one replaced.
#[derive(Clone, Debug, PartialEq)]
pub struct Hidden {
    /// Path of its key; another one than the leaf's when a map was replaced, or replaced something.
    pub path: String,
    /// The value.
    pub value: serde_yaml::Value,
    /// Where it came from.
    pub origin: Origin,
    /// Whether it, or a part of it, must not be shown.
    pub secret: bool,
}

impl Merged {
    pub(crate) fn new(root: Node) -> Self {
        Self { root: Arc::new(root) }
    }

    pub(crate) const fn root(&self) -> &Arc<Node> {
        &self.root
    }

    /// Every leaf, in the order of the documents.
    #[must_use]
    pub fn leaves(&self) -> Vec<Leaf> {
        let mut leaves = Vec::new();
        let around = Around { path: String::new(), secrecy: Secrecy::default(), locked: None };
        collect(&self.root, around, Vec::new(), &mut leaves);
        leaves
    }

    /// Path of each leaf and its origin, such as `project cloud-machine.yaml:12:9`. Of an argument `--set password=x`
    /// only the key stays: origins travel further than the configuration.
    #[must_use]
    pub fn origins(&self) -> BTreeMap<String, String> {
        self.redacted(&|_| String::new())
            .leaves()
            .into_iter()
            .map(|leaf| (leaf.path, leaf.origin.to_string()))
            .collect()
    }

    /// An error about the value of `key` below `cloud-machine`, at its place: for what only a caller can know, such as the
    /// names of the drivers that there are.
    #[must_use]
    pub fn error_at(&self, key: &str, message: &str, allowed: &str) -> ConfigErrors {
        let keys: Vec<&str> = key.split('.').collect();
        let (node, path) = locate(self.root.get(ROOT).unwrap_or(&self.root), &keys);
        ConfigError::new(&node.source, node.mark, &path, message).allowed(allowed).into()
    }

    /// The keys for cloud-init.
    #[must_use]
    pub fn cloud_init(&self) -> CloudInit {
        CloudInit::new(&self.root)
    }

    /// Errors that somebody else found, each a path of keys and of places in lists, such as `users.0`, and what is wrong there: at
    /// the place of the value, or of the one around it.
    #[must_use]
    pub fn errors_at(&self, found: &[(String, String)]) -> ConfigErrors {
        let error = |(path, what): &(String, String)| {
            let node = nearest(&self.root, path);
            ConfigError::new(&node.source, node.mark, path, what.as_str())
        };
        ConfigErrors::all(found.iter().map(error).collect())
    }

    /// The whole as a YAML document, which parses to the same values again.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        emit::document(&self.root)
    }
}

/// The node at `path`, or the last one on the way there.
fn nearest<'tree>(root: &'tree Node, path: &str) -> &'tree Node {
    let below = |node: &'tree Node, part: &str| match &node.value {
        Value::List(items) => part.parse::<usize>().ok().and_then(|index| items.get(index)),
        _ => node.get(part),
    };
    let mut node = root;
    for part in path.split('.') {
        match below(node, part) {
            Some(found) => node = found,
            None => break,
        }
    }
    node
}

/// What the maps around a node say about it.
struct Around<'tree> {
    path: String,
    secrecy: Secrecy,
    locked: Option<&'tree Origin>,
}

/// A replaced value on its way to the leaf that shows it: its path below the present node, and its whole path.
struct Passed<'tree> {
    below: &'tree str,
    path: String,
    node: &'tree Node,
    secrecy: Secrecy,
}

fn collect<'tree>(node: &'tree Node, around: Around<'tree>, passed: Vec<Passed<'tree>>, leaves: &mut Vec<Leaf>) {
    let around = Around {
        secrecy: around.secrecy.marked(node.secret),
        locked: node.locked.as_deref().or(around.locked),
        path: around.path,
    };
    let own = node.hidden.iter().map(|replaced| Passed::new(replaced, &around));
    let hidden: Vec<Passed<'tree>> = own.chain(passed).collect();
    match &node.value {
        Value::Map(entries) if !entries.is_empty() => {
            // Most maps hid nothing, and then nobody asks for a place by its name.
            let named = entries.iter().enumerate().filter(|_| !hidden.is_empty());
            let names: BTreeMap<String, usize> =
                named.map(|(index, entry)| (segment(&entry.key.as_text()).into_owned(), index)).collect();
            let mut shares: Vec<Vec<Passed<'tree>>> = names.iter().map(|_| Vec::new()).collect();
            for one in hidden {
                let (index, one) = one.descend(&names);
                if let Some(share) = shares.get_mut(index) {
                    share.push(one);
                }
            }
            for (entry, share) in entries.iter().zip(shares.into_iter().chain(repeat_with(Vec::new))) {
                let name = entry.key.as_text();
                let below = Around {
                    path: child_path(&around.path, &name),
                    secrecy: around.secrecy.below(&name),
                    locked: around.locked,
                };
                collect(&entry.value, below, share, leaves);
            }
        }
        _ if around.path.is_empty() => {}
        _ => leaves.push(Leaf {
            value: node.to_value(),
            origin: node.origin(),
            hidden: hidden.iter().map(Passed::hidden).collect(),
            secret: around.secrecy.hides(node),
            locked: around.locked.cloned(),
            path: around.path,
        }),
    }
}

impl<'tree> Passed<'tree> {
    fn new(replaced: &'tree Replaced, around: &Around<'_>) -> Self {
        let path = match (around.path.as_str(), replaced.path.as_str()) {
            (path, "") => path.to_owned(),
            (path, below) => format!("{path}.{below}"),
        };
        let secrecy = around.secrecy.along(&replaced.path);
        Self { below: &replaced.path, path, node: &replaced.node, secrecy }
    }

    /// The entry that shows it: the one of its own path, or the first.
    fn descend(self, names: &BTreeMap<String, usize>) -> (usize, Self) {
        let (first, rest) = key_path::split_first(self.below);
        let (index, below) = names.get(first).map_or((0, ""), |index| (*index, rest));
        (index, Self { below, ..self })
    }

    fn hidden(&self) -> Hidden {
        Hidden {
            path: self.path.clone(),
            value: self.node.to_value(),
            origin: self.node.origin(),
            secret: self.secrecy.marked(self.node.secret).hides(self.node),
        }
    }
}
