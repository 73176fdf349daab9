//! What every key means, for people and for editors: JSON Schema, reference page and annotated example, all walked
//! from the grammar. Must not hold a list of keys of its own that a test does not hold against the grammar.

mod docker;
mod example;
mod nic_notes;
mod notes;
mod partition_notes;
mod program;
mod rancher;
mod reference;
mod schema;
#[cfg(test)]
mod tests;

pub use example::example;
pub use reference::{Support, reference};
pub use schema::schema;

use crate::{
    grammar::{self, Key, MACHINE, Shape},
    key_path,
};
use notes::{Form, NOTES, Note};

/// What is known about one key, for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Path below `cloud-machine`, `*` in place of a disk's name.
    pub path: String,
    /// What it states, in one sentence.
    pub summary: &'static str,
    /// What it may hold.
    pub allowed: String,
    /// What holds when nobody states it.
    pub default: &'static str,
}

/// What is known about the key at `path` below `cloud-machine`, with a disk's real name or `*` in it; `None` when there
/// is no such key.
#[must_use]
pub fn about(path: &str) -> Option<About> {
    let mut found = None;
    walk(&mut |entry| {
        if key_path::matches(&entry.path, path) {
            found = Some(About {
                summary: entry.note.summary,
                allowed: allowed(entry.shape),
                default: entry.note.default,
                path: entry.path,
            });
        }
    });
    found
}

/// Whether the key at `path` below `cloud-machine`, with a disk's real name in it, holds a value and not a map.
#[must_use]
pub fn is_value(path: &str) -> bool {
    matches!(
        grammar::shape_of(path.split('.')),
        Some(Shape::Scalar(_) | Shape::List(_) | Shape::Words(_) | Shape::Either(..))
    )
}

/// Paths below `cloud-machine` of all keys that hold a value, with `*` for a disk's name.
#[must_use]
pub fn values() -> Vec<String> {
    let mut paths = Vec::new();
    walk(&mut |entry| {
        if is_value(&entry.path) {
            paths.push(entry.path);
        }
    });
    paths
}

/// A key of the grammar with its note.
struct Described<'a> {
    path: String,
    shape: &'a Shape,
    note: &'a Note,
}

/// Calls `visit` for every key of the grammar, parents first, in the grammar's order.
fn walk(visit: &mut dyn FnMut(Described<'_>)) {
    walk_keys("", MACHINE, visit);
}

fn walk_keys(prefix: &str, keys: &[Key], visit: &mut dyn FnMut(Described<'_>)) {
    for key in keys {
        let path = if prefix.is_empty() { key.name.to_owned() } else { format!("{prefix}.{}", key.name) };
        let below = path.clone();
        visit(Described { note: note(&path), path, shape: &key.shape });
        match &key.shape {
            Shape::Map(keys) | Shape::Either(_, keys) => {
                walk_keys(&below, keys, visit);
            }
            Shape::Named(_, keys) => walk_keys(&format!("{below}.*"), keys, visit),
            Shape::Scalar(_) | Shape::List(_) | Shape::Words(_) | Shape::Program => {}
        }
    }
}

/// The note on the key at `path`; a test sees to it that every key has one.
fn note(path: &str) -> &'static Note {
    static MISSING: Note =
        Note { path: "", summary: "", form: Form::Map, unit: "", default: "", example: "", safety: "" };
    notes().find(|note| note.path == path).unwrap_or(&MISSING)
}

fn notes() -> impl Iterator<Item = &'static Note> {
    NOTES.iter().chain(&nic_notes::NOTES).chain(&partition_notes::NOTES)
}

/// What a key may hold, in words; the grammar's own words where it has some.
fn allowed(shape: &Shape) -> String {
    match (shape, shape.allowed()) {
        (Shape::Named(what, _), _) => what.allowed().to_owned(),
        (_, "") => "a map".to_owned(),
        (_, text) => text.to_owned(),
    }
}
