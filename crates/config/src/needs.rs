//! What of a configuration a program in the image has to do. Must not know which programs an image has.

use crate::{
    error::{ConfigError, ConfigErrors},
    grammar::{ROOT, is_ours},
    merged::Merged,
    tree::{Node, Value, child_path},
    validate::AUTHORIZED_KEYS,
};

/// Refuses what nobody would do in a system without cloud-init: its keys, but for the one that is done without it, and to wait for
/// it.
///
/// # Errors
/// Each such key, with its place.
pub fn without_cloud_init(merged: &Merged) -> Result<(), ConfigErrors> {
    const WAY_OUT: &str =
        "take an image with cloud-init, such as one of the recipe debian-12-cloud-init, or leave this out";
    let root = merged.root();
    let theirs = root.entries().iter().filter(|entry| {
        let name = entry.key.text();
        !is_ours(&name) && name != AUTHORIZED_KEYS
    });
    let error = |node: &Node, mark, path: &str, text: &str| {
        ConfigError::new(&node.source, mark, path, text.to_owned()).suggestion(Some(WAY_OUT.to_owned()))
    };
    let mut errors: Vec<ConfigError> = theirs
        .map(|entry| {
            let path = child_path("", &entry.key.text());
            error(&entry.value, entry.mark, &path, "only cloud-init has this key, and the image is without cloud-init")
        })
        .collect();
    if let Some(wait_for) = root.get(ROOT).and_then(|ours| ours.get("wait-for"))
        && names_cloud_init(wait_for)
    {
        let path = child_path(ROOT, "wait-for");
        errors.push(error(wait_for, wait_for.mark, &path, "the image is without cloud-init"));
    }
    ConfigErrors::check(errors)
}

fn names_cloud_init(node: &Node) -> bool {
    let Value::List(items) = &node.value else { return false };
    items.iter().any(|item| matches!(&item.value, Value::Scalar(scalar) if scalar.text() == "cloud-init"))
}
