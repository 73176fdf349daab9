//! What is part of the language and nothing does yet: found in merged values, so that nobody gets another machine than
//! the described one. Must not judge whether a value is allowed; that is `validate`.

use crate::{
    check::not_yet,
    error::{ConfigError, ConfigErrors},
    grammar::{Key, MACHINE, PROGRAMS, ROOT, Shape},
    merged::Merged,
    tree::{Node, Value, child_path},
};

/// Refuses what nothing does yet. A configuration may well be shown and audited with it.
///
/// # Errors
/// Every such key, with its place.
pub fn supported(merged: &Merged) -> Result<(), ConfigErrors> {
    let root = merged.root();
    let mut errors = Vec::new();
    let machine = root.get(ROOT).map(|node| (ROOT, node, MACHINE));
    if let Some((path, node, keys)) = machine {
        map(node, keys, path, &mut errors);
    }
    map(root, PROGRAMS, "", &mut errors);
    ConfigErrors::check(errors)
}

fn map(node: &Node, keys: &[Key], path: &str, errors: &mut Vec<ConfigError>) {
    for entry in node.entries() {
        let name = entry.key.text();
        let Some(key) = keys.iter().find(|key| key.name == name) else { continue };
        let below = child_path(path, &name);
        let value = &entry.value;
        match &key.shape {
            Shape::Later(_) if states_something(value) => {
                errors.push(not_yet(&value.source, entry.mark, &below, &format!("`{name}`")));
            }
            Shape::Map(keys) => map(value, keys, &below, errors),
            Shape::Disks(keys) => {
                for disk in value.entries() {
                    let path = child_path(&below, &disk.key.text());
                    map(&disk.value, keys, &path, errors);
                }
            }
            Shape::Partitions(keys) => {
                for one in value.entries() {
                    map(&one.value, keys, &child_path(&below, &one.key.text()), errors);
                }
            }
            Shape::Either(_, keys) => map(value, keys, &below, errors),
            _ => {}
        }
    }
}

fn states_something(node: &Node) -> bool {
    !node.is_null() && !matches!(&node.value, Value::Map(entries) if entries.is_empty())
}
