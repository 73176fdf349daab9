//! The annotated example: every key once, with what it states, in a document that loads. Must not teach a value that
//! is refused.

use crate::grammar::{Key, MACHINE, Named, ROOT, Shape};

use super::{docker, note, notes::Note, rancher};

/// Widest line of a comment.
const WIDTH: usize = 116;
/// Name of the disk that shows every key of a disk.
const DISK: &str = "system";
/// Says the same as another key, and only one of the two may be set.
const TWIN: &str = "resources.cloud-init-url";

const HEAD: &str = "\
#cloud-init
# yaml-language-server: $schema=config.schema.json
#
# Every key of cloud-machine, with a value that may stand there. Nothing here has to be written: a key that is left out,
# or whose value is empty, has its default. `cloud-machine config audit` shows what holds and where it comes from.
";

const TAIL: &str = "
# Every other key is handed to cloud-init in the machine, untouched.
ssh_authorized_keys:
  - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE1lY2hhbmljYWwgZXhhbXBsZSBrZXkgMDAwMDAwMDAw you@example
";

/// The annotated example, a YAML document.
#[must_use]
pub fn example() -> String {
    let mut text = format!("{HEAD}{ROOT}:\n");
    keys(&mut text, "", MACHINE, 1);
    text + docker::EXAMPLE + rancher::EXAMPLE + TAIL
}

/// Keys that the system disk cannot have, or seldom has.
const NOT_SHOWN: [&str; 5] = ["required", "filesystem", "mountpoint", "mount-options", "partitions"];

fn keys(text: &mut String, prefix: &str, keys_here: &[Key], depth: usize) {
    for key in keys_here {
        let path = if prefix.is_empty() { key.name.to_owned() } else { format!("{prefix}.{}", key.name) };
        let note = note(&path);
        comment(text, &remark(note, &key.shape), depth);
        match &key.shape {
            Shape::Map(below) => {
                line(text, &format!("{}:", key.name), depth);
                keys(text, &path, below, depth + 1);
            }
            Shape::Named(Named::Disk, below) => {
                line(text, &format!("{}:", key.name), depth);
                line(text, &format!("{DISK}:"), depth + 1);
                keys(text, &format!("{path}.*"), below, depth + 2);
                line(text, note.example, depth + 1);
            }
            // The disk of the example is the system disk.
            _ if path == TWIN || key.name == "source" || NOT_SHOWN.contains(&key.name) => {
                line(text, &format!("#{}: {}", key.name, note.example), depth)
            }
            Shape::Scalar(_) | Shape::List(_) | Shape::Words(_) | Shape::Either(..) => {
                line(text, &format!("{}: {}", key.name, note.example), depth)
            }
            // The system disk, which shows all other keys, cannot have any.
            Shape::Named(..) | Shape::Program => line(text, &format!("#{}: {}", key.name, note.example), depth),
        }
    }
}

fn remark(note: &Note, shape: &Shape) -> String {
    let mut text = note.summary.to_owned();
    if !shape.allowed().is_empty() {
        text += &format!(" Allowed: {}.", shape.allowed());
    }
    if !note.unit.is_empty() {
        text += &format!(" {}", note.unit);
    }
    if !note.default.is_empty() {
        text += &format!(" Default: {}.", note.default);
    }
    text
}

/// `words` as comment lines that are not too wide.
fn comment(text: &mut String, words: &str, depth: usize) {
    let mut current = String::from("#");
    for word in words.split_whitespace() {
        if current.len() > 1 && 2 * depth + current.chars().count() + 1 + word.chars().count() > WIDTH {
            line(text, &current, depth);
            current = String::from("#");
        }
        current.push(' ');
        current.push_str(word);
    }
    line(text, &current, depth);
}

fn line(text: &mut String, content: &str, depth: usize) {
    (0..depth).for_each(|_| text.push_str("  "));
    text.push_str(content);
    text.push('\n');
}
