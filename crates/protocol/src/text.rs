//! Texts for people that have something in them which nobody here wrote: an error with all its causes, and what a device,
//! a program or a volume calls itself. Must not choose where they are shown.

use std::{error::Error, iter::from_fn};

use serde::Serialize;

/// Most bytes of [`causes`]: more than any line that is meant, less than a report can carry many times.
const MAX_CAUSES: usize = 4096;

/// The text of an error and of each cause below it, outermost first.
pub fn each_cause<'a>(error: &'a (dyn Error + 'a)) -> impl Iterator<Item = String> + 'a {
    let mut next = Some(error);
    from_fn(move || {
        let error = next?;
        next = error.source().map(|cause| cause as &dyn Error);
        Some(error.to_string())
    })
}

/// An error and all its causes in one text, outermost first, with `: ` between them. What is longer than 4096 bytes is cut
/// at its end.
#[must_use]
pub fn causes(error: &dyn Error) -> String {
    let mut text = String::new();
    for cause in each_cause(error) {
        let separator = if text.is_empty() { "" } else { ": " };
        text.push_str(separator);
        text.push_str(&cause);
        if text.len() > MAX_CAUSES {
            text.truncate(text.floor_char_boundary(MAX_CAUSES - '…'.len_utf8()));
            text.push('…');
            break;
        }
    }
    text
}

/// `text` with its control characters, invisible and direction-changing letters escaped, so that no terminal obeys it and no
/// line breaks. Quotes and backslashes stay: nothing obeys them, and they stand in many names.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        if matches!(letter, '\'' | '"' | '\\') {
            safe.push(letter);
        } else {
            safe.extend(letter.escape_debug());
        }
    }
    safe
}

/// `value` as indented JSON of printable ASCII, with a line feed at its end. All else is escaped, which JSON can do without a change of
/// the value: what a device calls itself must not command the terminal of whoever prints it.
///
/// # Errors
/// The encoder's error.
pub fn safe_json(value: &impl Serialize) -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(value).map(safe)
}

fn safe(text: String) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_ascii() && letter != '\x7f' {
            safe.push(letter);
        } else {
            for unit in letter.encode_utf16(&mut [0; 2]) {
                safe.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    safe.push('\n');
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An error with a cause below it, for each of `texts` but the first.
    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: String,
        source: Option<Box<Layer>>,
    }

    fn error(texts: &[&str]) -> Layer {
        let below = |source, text: &&str| Some(Box::new(Layer { text: (*text).to_owned(), source }));
        let source = texts[1..].iter().rev().fold(None, below);
        Layer { text: texts[0].to_owned(), source }
    }

    #[test]
    fn no_cause_is_lost_however_deep() {
        assert_eq!(causes(&error(&["only"])), "only");
        let deep = ["cannot probe", "cannot read /sys/x", "permission denied", "the policy"];
        assert_eq!(causes(&error(&deep)), "cannot probe: cannot read /sys/x: permission denied: the policy");
        assert_eq!(each_cause(&error(&deep)).collect::<Vec<_>>(), deep);
    }

    #[test]
    fn the_text_is_bounded_and_begins_with_the_outermost() {
        let long = "ö".repeat(MAX_CAUSES);
        for texts in [&[long.as_str()][..], &["outer", &long], &["outer", &long, "inner"]] {
            let text = causes(&error(texts));
            assert!(text.len() <= MAX_CAUSES && text.ends_with("ö…"), "{}", text.len());
            assert!(text.starts_with(if texts.len() > 1 { "outer: ö" } else { "ö" }));
        }
        let fits = "x".repeat(MAX_CAUSES);
        assert_eq!(causes(&error(&[&fits])), fits);
    }

    #[test]
    fn nothing_that_is_escaped_can_steer_a_terminal_or_begin_a_line() {
        let text = escaped("it's \"C:\\\" \u{1b}[2J\u{9b}2J\r\n\u{202e}\u{200b}\u{feff}\u{7f} ö");
        let steers =
            |letter: char| letter.is_control() || ('\u{200b}'..='\u{202e}').contains(&letter) || letter == '\u{feff}';
        assert!(!text.contains(steers), "{text:?}");
        assert!(text.starts_with("it's \"C:\\\" \\u{1b}[2J") && text.ends_with(" ö"), "{text:?}");
    }
}
