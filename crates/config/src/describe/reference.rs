//! The reference page: every key with all that is known about it. Must not explain how to use them together; that is
//! the guide's.

use std::fmt::Write as _;

use crate::{grammar::Shape, merged::MADE};

use super::{Described, allowed, docker, is_value, rancher, walk};

/// What a driver makes of the key at a path below `cloud-machine`, in words.
pub type Support<'a> = &'a dyn Fn(&str) -> String;

const HEAD: &str = "\
# Configuration: every key

This page is generated: `cloud-machine config reference` prints it. How layers, tags and audit work is in
[the guide](../guides/configuration.md); [cloud-machine.yaml](cloud-machine.yaml) shows every key in place, and
[config.schema.json](config.schema.json) tells an editor.

Paths are below the top-level key `cloud-machine`. `*` stands for the name of a disk, a partition or an interface. A key that is left out or has an empty
value has its default. What a document from an address or a volume may do holds for one that is not pinned.
";

/// The reference page in Markdown. `drivers` are names of drivers, each with what it makes of a key.
#[must_use]
pub fn reference(drivers: &[(&str, Support<'_>)]) -> String {
    let mut page = HEAD.to_owned();
    walk(&mut |key| section(&mut page, &key, drivers));
    page + &docker::reference() + &rancher::reference()
}

fn section(page: &mut String, key: &Described<'_>, drivers: &[(&str, Support<'_>)]) {
    let note = key.note;
    let mut rows: Vec<(String, String)> = Vec::new();
    let mut row = |title: &str, text: String| {
        if !text.is_empty() {
            rows.push((title.to_owned(), text));
        }
    };
    row("allowed", allowed(key.shape));
    row("unit", note.unit.to_owned());
    row("default", note.default.to_owned());
    if !note.example.is_empty() && !matches!(key.shape, Shape::Named(..)) {
        let name = key.path.rsplit('.').next().unwrap_or_default();
        row("example", format!("`{name}: {}`", note.example));
    }
    let late =
        MADE.contains(&key.path.as_str()).then_some("no effect: the machine is made before it reads the document");
    row("from an address or a volume", late.unwrap_or(note.safety).to_owned());
    if is_value(&key.path) {
        for (driver, support) in drivers {
            row(&format!("driver {driver}"), support(&key.path));
        }
    }
    // Writing into a String cannot fail.
    let _ = write!(page, "\n## `{}`\n{}\n\n| | |\n|---|---|\n", key.path, note.summary);
    for (title, text) in rows {
        let _ = writeln!(page, "| {title} | {} |", text.replace('|', "\\|"));
    }
}
