//! A tree as YAML text that our own parser reads back to the same values, and that other readers cannot mistake.
//! Must not fail.

use std::fmt::Write as _;

use crate::{
    grammar::is_ours,
    scalar::{Scalar, Written},
    tree::{Entry, Node, Value},
};

/// A whole document in block style, two blanks a level, one final line break.
///
/// Below a top-level key that is not ours, a scalar that was written without quotes is written so again.
pub(crate) fn document(root: &Node) -> String {
    match root.entries() {
        [] => flow(&root.value) + "\n",
        entries => entries.iter().map(top_level).collect(),
    }
}

/// A top-level key that is not ours, with everything below it.
pub(crate) fn foreign_entry(entry: &Entry) -> String {
    let mut writer = Writer { text: String::new(), raw: true };
    writer.entry(entry, 0);
    writer.text
}

/// What lies below a top-level key that is not ours, as a document of its own.
pub(crate) fn foreign_document(node: &Node) -> String {
    let mut writer = Writer { text: String::new(), raw: true };
    writer.block(node, 0);
    writer.text
}

fn top_level(entry: &Entry) -> String {
    let mut writer = Writer { text: String::new(), raw: !is_ours(&entry.key.text()) };
    writer.entry(entry, 0);
    writer.text
}

struct Writer {
    text: String,
    /// Whether scalars are written as they were.
    raw: bool,
}

impl Writer {
    fn block(&mut self, node: &Node, depth: usize) {
        match &node.value {
            Value::Map(entries) => entries.iter().for_each(|entry| self.entry(entry, depth)),
            Value::List(items) => {
                for item in items {
                    self.indent(depth);
                    self.text.push('-');
                    self.item(item, depth);
                }
            }
            Value::Scalar(_) => {}
        }
    }

    fn entry(&mut self, entry: &Entry, depth: usize) {
        self.indent(depth);
        self.scalar(&entry.key, &entry.written);
        self.text.push(':');
        if is_leaf(&entry.value.value) {
            self.leaf(&entry.value);
        } else {
            self.text.push('\n');
            self.block(&entry.value, depth + 1);
        }
    }

    /// A collection in a list begins on the line of its dash.
    fn item(&mut self, node: &Node, depth: usize) {
        if is_leaf(&node.value) {
            return self.leaf(node);
        }
        let mut below = Self { text: String::new(), raw: self.raw };
        below.block(node, depth + 1);
        self.text.push(' ');
        self.text.push_str(below.text.get(2 * (depth + 1)..).unwrap_or_default());
    }

    fn leaf(&mut self, node: &Node) {
        self.text.push(' ');
        match &node.value {
            Value::Scalar(scalar) => self.scalar(scalar, &node.written),
            value => self.text.push_str(&flow(value)),
        }
        self.text.push('\n');
    }

    fn scalar(&mut self, typed: &Scalar, written: &Written) {
        if *written == Written::Binary {
            self.text.push_str("!!binary ");
        }
        match written.raw(typed).filter(|raw| self.raw && is_plain(raw)) {
            Some(raw) => self.text.push_str(raw),
            None => self.text.push_str(&scalar(typed)),
        }
    }

    fn indent(&mut self, depth: usize) {
        (0..depth).for_each(|_| self.text.push_str("  "));
    }
}

fn is_leaf(value: &Value) -> bool {
    match value {
        Value::Scalar(_) => true,
        Value::List(items) => items.is_empty(),
        Value::Map(entries) => entries.is_empty(),
    }
}

/// Whether `raw` can stand without quotes in a block, after a key or a dash, and means there what it meant where it
/// was written. Narrower than YAML allows; what does not fit is a text for every reader.
fn is_plain(raw: &str) -> bool {
    let first = raw.strip_prefix(['-', '+', '.']).unwrap_or(raw).chars().next();
    let starts = first.is_some_and(|first| first.is_alphanumeric() || "~=</._$(^;\\".contains(first));
    let printable = |c: char| !c.is_control() && !c.is_whitespace() || c == ' ';
    starts
        && raw.chars().all(|c| printable(c) && !hides(c))
        && !raw.contains(": ")
        && !raw.contains(" #")
        && !raw.ends_with([':', ' '])
        && raw != "..."
}

/// Flow style, on one line.
pub(crate) fn flow(value: &Value) -> String {
    match value {
        Value::Scalar(value) => scalar(value),
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(|item| flow(&item.value)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Map(entries) => {
            let pair = |(key, value)| format!("{key}: {value}");
            let pairs = entries.iter().map(|entry| (scalar(&entry.key), flow(&entry.value.value)));
            format!("{{{}}}", pairs.map(pair).collect::<Vec<_>>().join(", "))
        }
    }
}

fn scalar(scalar: &Scalar) -> String {
    match scalar {
        Scalar::Text(text) if !is_safe(text) => quoted(text),
        other => other.text(),
    }
}

/// Whether every YAML reader, 1.1 or 1.2, takes `text` for the same text without quotes, in a block and in a flow.
fn is_safe(text: &str) -> bool {
    const WORDS: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"_./-+@".contains(&byte);
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/')
        && text.bytes().all(inner)
        && !WORDS.iter().any(|word| word.eq_ignore_ascii_case(text))
}

/// Whether a terminal or an editor shows nothing of a character, or shows others in another order because of it.
fn hides(character: char) -> bool {
    matches!(character,
        '\u{ad}' // soft hyphen
        | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' // lines, direction
        | '\u{115f}' | '\u{1160}' | '\u{180b}'..='\u{180f}' | '\u{3164}' | '\u{ffa0}' // blank letters, selectors
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff0}'..='\u{ffff}'
        | '\u{e000}'..='\u{f8ff}' | '\u{e0000}'..='\u{10ffff}') // private use, tags
}

/// Double-quoted, with the escapes of YAML 1.2.2, 5.7.
fn quoted(text: &str) -> String {
    let mut result = String::from("\"");
    for character in text.chars() {
        // Writing into a String cannot fail.
        let _ = match character {
            '"' | '\\' => write!(result, "\\{character}"),
            '\n' => write!(result, "\\n"),
            '\t' => write!(result, "\\t"),
            '\r' => write!(result, "\\r"),
            '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{a0}' => {
                write!(result, "\\x{:02X}", u32::from(character))
            }
            hidden @ '\u{10000}'.. if hides(hidden) => write!(result, "\\U{:08X}", u32::from(hidden)),
            hidden if hides(hidden) => write!(result, "\\u{:04X}", u32::from(hidden)),
            other => write!(result, "{other}"),
        };
    }
    result.push('"');
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_some_reader_takes_for_something_else_is_quoted() {
        for text in
            ["yes", "No", "0777", "12", "1:30", "2020-01-01", "", "~", "a: b", "-", "- a", "#", "null", "a b", ".inf"]
        {
            assert!(scalar(&Scalar::Text(text.into())).starts_with('"'), "{text:?}");
        }
        for text in ["debian-12", "/dev/vda", "a.b", "user@host"] {
            assert_eq!(scalar(&Scalar::Text(text.into())), text);
        }
        assert_eq!(quoted("a\"\\\n\u{1b}\u{2028}ä"), "\"a\\\"\\\\\\n\\x1B\\u2028ä\"");
        assert_eq!(quoted("\u{ad}\u{61c}\u{fe0f}\u{e0041}"), "\"\\u00AD\\u061C\\uFE0F\\U000E0041\"");
        assert!(!is_plain("a\u{202e}b") && !is_plain("a\u{ad}b") && is_plain("größe"));
    }
}
