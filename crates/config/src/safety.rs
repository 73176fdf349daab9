//! The safety keys in one table, and how a layer that the host does not vouch for may tighten each. Must not know how
//! documents are merged.

use crate::{
    emit,
    error::ConfigError,
    grammar::{NETWORK, ROOT},
    redact::redacted,
    secret::Secrecy,
    source::shortened,
    tree::{Node, Value, child_path},
};

/// How a safety key may change.
enum Rule {
    /// Not at all.
    Fixed,
    /// From one of these values to a later one.
    Rises(&'static [&'static str]),
    /// A list that keeps its items and may get more.
    Grows,
    /// A map to which no key is added, and from which none is taken.
    SameKeys,
}

/// A safety key below [`ROOT`], `*` for a disk's name; its rule; and what holds when nobody states it.
struct Row {
    keys: &'static [&'static str],
    rule: Rule,
    default: &'static str,
}

const fn row(keys: &'static [&'static str], rule: Rule, default: &'static str) -> Row {
    Row { keys, rule, default }
}

/// How a boot wipes, from what leaves most to what leaves least. `crypto` is not among them: it changes where the data of
/// today lies too, and none of the others does as much or less.
const WIPES: &[&str] = &["false", "recreate", "discard", "true", "zero"];

/// The safety keys.
///
/// Disks cannot be added: a disk that nobody declared stops the machine or is left alone, and a declaration would turn
/// it into one that is wiped or kept. They cannot be taken away, for the reverse reason. What is made on one and where
/// it is mounted is what the host verifies. One that is never written is not wiped either. The hardware address is part
/// of the identity, and the host has connected the interface and reaches the machine through it.
const TABLE: &[Row] = &[
    row(&["image"], Rule::Fixed, ""),
    row(&["image-keys"], Rule::Fixed, "[]"),
    row(&["require"], Rule::Grows, "[]"),
    row(&["disks-undeclared"], Rule::Rises(&["ignore", "refuse"]), "refuse"),
    row(&["identity", "ssh-host-keys"], Rule::Rises(&["keep", "rotate"]), "rotate"),
    row(&["cloud-init-url"], Rule::Fixed, ""),
    row(&["resources", "cloud-init-url"], Rule::Fixed, ""),
    row(&["wait-for"], Rule::Fixed, ""),
    row(&["drives"], Rule::Rises(&["trusted", "read-only"]), "read-only"),
    row(&["resources", "nic", "mac"], Rule::Fixed, "auto"),
    row(&["resources", "nic", "network"], Rule::Fixed, "user"),
    row(&["resources", "nic", "host-access"], Rule::Fixed, ""),
    row(&["resources", "nic", "address"], Rule::Fixed, "dhcp"),
    row(&["resources", "nics"], Rule::Fixed, ""),
    row(&["resources", "disks"], Rule::SameKeys, "{}"),
    row(&["resources", "disks", "*", "devicepath"], Rule::Fixed, ""),
    row(&["resources", "disks", "*", "bus"], Rule::Fixed, ""),
    row(&["resources", "disks", "*", "source"], Rule::Fixed, ""),
    row(&["resources", "disks", "*", "boot-partition"], Rule::Fixed, "false"),
    row(&["resources", "disks", "*", "overwrite"], Rule::Rises(&["true", "false"]), "false"),
    row(&["resources", "disks", "*", "wipe-on-boot"], Rule::Rises(WIPES), "false"),
    row(&["resources", "disks", "*", "on-reimage"], Rule::Rises(&["keep", "recreate", "wipe"]), "wipe"),
    row(&["resources", "disks", "*", "filesystem"], Rule::Fixed, ""),
    row(&["resources", "disks", "*", "mountpoint"], Rule::Fixed, ""),
    row(&["resources", "disks", "*", "mount-options"], Rule::Fixed, "[]"),
    row(&["resources", "disks", "*", "partitions"], Rule::Fixed, "{}"),
    row(&["resources", "disks", "*", "required"], Rule::Fixed, "false"),
    row(&["resources", "disks", "*", "readonly"], Rule::Fixed, "false"),
];

/// The top-level keys below which, or at which, there are safety keys.
pub(crate) const TOP_LEVEL: [&str; 2] = [ROOT, NETWORK];

/// What is said of the values at `keys`, on the way there in any of `roots`.
fn secrecy(roots: &[&Node], keys: &[&str]) -> Secrecy {
    roots.iter().fold(Secrecy::default(), |mut secrecy, root| {
        let (mut node, mut below) = (Some(*root), Secrecy::default());
        for key in keys {
            node = node.and_then(|node| node.get(key));
            below = below.below(key).marked(node.is_some_and(|node| node.secret));
        }
        if below.is_told() {
            secrecy = below;
        }
        secrecy
    })
}

/// Reports every safety key that `document` loosened or redirected between `before` and `after`.
pub(crate) fn compare(before: &Node, after: &Node, document: &Node, errors: &mut Vec<ConfigError>) {
    for row in TABLE {
        for keys in expanded(row.keys, before, after) {
            let change = Change { row, before: find(before, &keys), after: find(after, &keys) };
            if !change.is_allowed() {
                errors.push(change.error(document, &keys, secrecy(&[before, after], &keys)));
            }
        }
    }
    // As cloud-init reads it, to which a text and a number that look the same are two things.
    let handed = |root: &Node| root.get(NETWORK).map(emit::foreign_document);
    if handed(before) != handed(after) {
        let cause = cause(document, &[NETWORK]);
        let message = "a description of the network is the host's alone, which reaches the machine by it";
        let way_out = "write it in a layer of the host, or leave it out".to_owned();
        errors.push(ConfigError::new(&cause.source, cause.mark, NETWORK, message).suggestion(Some(way_out)));
    }
}

/// The paths of a row. A disk that is not on both sides has its own error.
fn expanded<'tree>(keys: &[&'tree str], before: &'tree Node, after: &Node) -> Vec<Vec<&'tree str>> {
    let Some(star) = keys.iter().position(|key| *key == "*") else {
        return vec![std::iter::once(ROOT).chain(keys.iter().copied()).collect()];
    };
    let (parents, below) = keys.split_at(star);
    let parents: Vec<&str> = std::iter::once(ROOT).chain(parents.iter().copied()).collect();
    let disks = find(before, &parents).map(Node::entries).unwrap_or_default();
    let remaining = find(after, &parents);
    let named = disks.iter().filter_map(|entry| match &entry.key {
        crate::scalar::Scalar::Text(name) => Some(name.as_str()),
        _ => None,
    });
    named
        .filter(|name| remaining.is_some_and(|disks| disks.get(name).is_some()))
        .map(|name| parents.iter().copied().chain([name]).chain(below.iter().skip(1).copied()).collect())
        .collect()
}

fn find<'tree>(root: &'tree Node, keys: &[&str]) -> Option<&'tree Node> {
    keys.iter().try_fold(root, |node, key| node.get(key))
}

/// A safety key before and after a document.
struct Change<'tree> {
    row: &'static Row,
    before: Option<&'tree Node>,
    after: Option<&'tree Node>,
}

impl Change<'_> {
    fn text(&self, node: Option<&Node>) -> String {
        node.map_or_else(|| self.row.default.to_owned(), |node| emit::flow(&node.value))
    }

    fn is_allowed(&self) -> bool {
        let (before, after) = (self.text(self.before), self.text(self.after));
        match &self.row.rule {
            Rule::SameKeys => keys(self.before) == keys(self.after),
            Rule::Grows if before != after => match (items(self.before), items(self.after)) {
                (Some(before), Some(after)) => before.iter().all(|item| after.contains(item)),
                _ => false,
            },
            Rule::Rises(steps) if before != after => {
                let step = |text: &str| steps.iter().position(|step| *step == text);
                matches!((step(&before), step(&after)), (Some(before), Some(after)) if before < after)
            }
            _ => before == after,
        }
    }

    /// The value for people; what is secret in it is not shown.
    fn shown(&self, node: Option<&Node>, secrecy: Secrecy) -> String {
        let hidden = node.map(|node| redacted(node, secrecy, &|_| "not shown".to_owned()));
        quoted(&self.text(hidden.as_ref()))
    }

    fn error(&self, document: &Node, keys: &[&str], secrecy: Secrecy) -> ConfigError {
        let path = keys.iter().fold(String::new(), |path, key| child_path(&path, key));
        let cause = cause(document, keys);
        let origin = self.before.map_or_else(|| "built-in default".to_owned(), |node| node.origin().to_string());
        let message = match self.row.rule {
            Rule::SameKeys => format!("the disks of the machine are those of the host ({origin})"),
            _ => format!(
                "a safety key may only be tightened: {} ({origin}) cannot become {}",
                self.shown(self.before, secrecy),
                self.shown(self.after, secrecy),
            ),
        };
        ConfigError::new(&cause.source, cause.mark, &path, message)
            .allowed(self.allowed())
            .suggestion(Some("set it in a layer of the host, or pin the volume".to_owned()))
    }

    fn allowed(&self) -> String {
        match self.row.rule {
            Rule::Fixed => "the value of the host".to_owned(),
            Rule::Rises(steps) => format!("the value of the host, or a later one of {}", steps.join(", ")),
            Rule::Grows => "the items of the host and more, as with `!append`".to_owned(),
            Rule::SameKeys => "the same disks".to_owned(),
        }
    }
}

fn quoted(text: &str) -> String {
    if text.is_empty() { "no value".to_owned() } else { format!("`{}`", shortened(text)) }
}

/// Names of the entries that have a value.
fn keys(node: Option<&Node>) -> Vec<String> {
    let entries = node.map(Node::entries).unwrap_or_default();
    let mut keys: Vec<String> =
        entries.iter().filter(|entry| !entry.value.is_null()).map(|entry| entry.key.text()).collect();
    keys.sort();
    keys
}

/// Items of a list, in text; absent counts as an empty list.
fn items(node: Option<&Node>) -> Option<Vec<String>> {
    match node.map(|node| &node.value) {
        None => Some(Vec::new()),
        Some(Value::List(items)) => Some(items.iter().map(|item| emit::flow(&item.value)).collect()),
        Some(_) => None,
    }
}

/// What the document says at `keys`, or on the way there.
fn cause<'tree>(document: &'tree Node, keys: &[&str]) -> &'tree Node {
    let mut node = document;
    for key in keys {
        match node.entry(key) {
            Some(entry) => node = &entry.value,
            None => break,
        }
    }
    node
}
