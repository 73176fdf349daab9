//! A tree as YAML text that our own parser reads back to the same values, and that other readers cannot mistake.
//! Must not fail.

use std::fmt::Write as _;

use crate::{
    scalar::Scalar,
    tree::{Node, Value},
};

/// Block style, two blanks a level, one final line break.
pub(crate) fn block(node: &Node) -> String {
    let mut text = String::new();
    match &node.value {
        Value::Map(entries) if !entries.is_empty() => write_block(&mut text, node, 0),
        Value::List(items) if !items.is_empty() => write_block(&mut text, node, 0),
        value => text = flow(value) + "\n",
    }
    text
}

fn write_block(text: &mut String, node: &Node, depth: usize) {
    match &node.value {
        Value::Map(entries) => {
            for entry in entries {
                indent(text, depth);
                text.push_str(&scalar(&entry.key));
                text.push(':');
                write_below(text, &entry.value, depth);
            }
        }
        Value::List(items) => {
            for item in items {
                indent(text, depth);
                text.push('-');
                write_item(text, item, depth);
            }
        }
        Value::Scalar(_) => {}
    }
}

fn write_below(text: &mut String, node: &Node, depth: usize) {
    if is_leaf(&node.value) {
        text.push(' ');
        text.push_str(&flow(&node.value));
        text.push('\n');
    } else {
        text.push('\n');
        write_block(text, node, depth + 1);
    }
}

/// A collection in a list begins on the line of its dash.
fn write_item(text: &mut String, node: &Node, depth: usize) {
    if is_leaf(&node.value) {
        return write_below(text, node, depth);
    }
    let mut below = String::new();
    write_block(&mut below, node, depth + 1);
    text.push(' ');
    text.push_str(below.get(2 * (depth + 1)..).unwrap_or_default());
}

fn indent(text: &mut String, depth: usize) {
    (0..depth).for_each(|_| text.push_str("  "));
}

fn is_leaf(value: &Value) -> bool {
    match value {
        Value::Scalar(_) => true,
        Value::List(items) => items.is_empty(),
        Value::Map(entries) => entries.is_empty(),
    }
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
            '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff0}'..='\u{ffff}' => {
                write!(result, "\\u{:04X}", u32::from(character))
            }
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
    }
}
