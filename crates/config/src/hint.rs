//! What a person probably meant by text that is not YAML. Owns suggestions only; must not accept anything.

use crate::{
    secret::is_told_in,
    source::{Mark, lines, shortened},
};

/// Message and suggestion for what the parser said of `mark` in `text`.
pub(crate) fn explain(text: &str, mark: Mark, parser: &str) -> (String, Option<String>) {
    let suggestion = if parser.contains("mapping values are not allowed") {
        value_and_keys(text, mark).or_else(|| second_colon(text, mark))
    } else if parser.contains("must be followed by a valid YAML whitespace") {
        Some("write a space after the colon, not a tab".to_owned())
    } else if parser.contains("tab") {
        Some("indent with spaces".to_owned())
    } else {
        None
    };
    (shortened(parser), suggestion)
}

/// A key that has a value, and then more keys below it:
/// ```yaml
/// filesystem: zfs
///     kernel-module: zfs
/// ```
fn value_and_keys(text: &str, mark: Mark) -> Option<String> {
    let above = lines(text).take(mark.line - 1).filter(|line| !is_blank(line)).last()?;
    let line = lines(text).nth(mark.line - 1)?;
    if indentation(line) <= indentation(above) {
        return None;
    }
    if is_told_in(above) || is_told_in(line) {
        return None;
    }
    let (key, value) = pair(above)?;
    let (below, below_value) = pair(line)?;
    if value.is_empty() || key.contains(['{', '[', '"', '\'']) {
        return None;
    }
    // The one shape that people do write; here the name of the missing key is known.
    let first = if key == "filesystem" { format!("type: {value}") } else { format!("…: {value}") };
    let whole = shortened(&format!("{key}: {{{first}, {below}: {below_value}}}"));
    let key = shortened(key);
    Some(format!("`{key}` cannot have a value and keys below it: write `{whole}`"))
}

/// A value with a colon and a space in it, such as `title: a: b`.
fn second_colon(text: &str, mark: Mark) -> Option<String> {
    let line = lines(text).nth(mark.line - 1)?;
    let (key, value) = pair(line)?;
    if is_told_in(line) {
        return Some("quote the value, which is not shown, since it may hold a secret".to_owned());
    }
    let quoted = !value.contains('"') && value.contains(':');
    quoted.then(|| shortened(&format!("write `{key}: \"{value}\"`")))
}

fn pair(line: &str) -> Option<(&str, &str)> {
    let line = line.split_once(" #").map_or(line, |(before, _)| before);
    let (key, value) = line.trim().trim_start_matches("- ").split_once(':')?;
    Some((key.trim(), value.trim()))
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

fn is_blank(line: &str) -> bool {
    line.trim().is_empty() || line.trim_start().starts_with('#')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suggestion(text: &str, line: usize) -> Option<String> {
        explain(text, Mark { line, column: 1, width: 1 }, "mapping values are not allowed in this context").1
    }

    #[test]
    fn a_value_with_keys_below_it_is_written_as_a_map() {
        let text = "a:\n  filesystem: zfs # fast\n\n    # why\n    kernel-module: zfs\n";
        let expected =
            "`filesystem` cannot have a value and keys below it: write `filesystem: {type: zfs, kernel-module: zfs}`";
        assert_eq!(suggestion(text, 5).as_deref(), Some(expected));
        assert!(suggestion("nic: up\n  mac: auto", 2).unwrap().ends_with("write `nic: {…: up, mac: auto}`"));
    }

    #[test]
    fn a_suggestion_repeats_no_secret() {
        for text in ["password: hunter2: x", "url: https://me:hunter2@h/: x"] {
            let advice = suggestion(text, 1).unwrap();
            assert!(!advice.contains("hunter2"), "{advice}");
        }
        assert_eq!(suggestion("password: hunter2\n  x: y", 2), None);
    }

    #[test]
    fn a_second_colon_is_quoted() {
        assert_eq!(suggestion("title: a: b", 1).as_deref(), Some("write `title: \"a: b\"`"));
        assert_eq!(suggestion("nothing", 1), None);
        assert_eq!(suggestion("", 7), None);
    }
}
