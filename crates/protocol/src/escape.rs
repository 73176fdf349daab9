//! Untrusted text made safe for a terminal: nothing in it can move a cursor, change a colour or reorder a line.
//! Must not decide what is shown.

use std::{borrow::Cow, fmt::Write as _};

/// `text` with its lines; whatever else a terminal would obey becomes visible, as of [`line()`].
#[must_use]
pub fn text(text: &str) -> Cow<'_, str> {
    if is_shown_as_it_is(text) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character == '\n' { shown.push(character) } else { push(&mut shown, character) }
    }
    Cow::Owned(shown)
}

/// A JSON document with the same meaning that a terminal shows as it is: `\uXXXX` for whatever it would obey.
#[must_use]
pub fn json(document: &str) -> Cow<'_, str> {
    escaped(document, |shown, character| {
        for unit in character.encode_utf16(&mut [0; 2]) {
            // Writing to a String cannot fail.
            let _ = write!(shown, "\\u{unit:04x}");
        }
    })
}

/// As [`json`], for a reader of YAML, which knows no pairs of `\uXXXX`.
#[must_use]
pub fn yaml(document: &str) -> Cow<'_, str> {
    escaped(document, |shown, character| {
        let _ = match u32::from(character) {
            number @ 0x1_0000.. => write!(shown, "\\U{number:08x}"),
            number => write!(shown, "\\u{number:04x}"),
        };
    })
}

fn escaped(document: &str, escape: impl Fn(&mut String, char)) -> Cow<'_, str> {
    if is_shown_as_it_is(document) {
        return Cow::Borrowed(document);
    }
    let mut shown = String::with_capacity(document.len());
    for character in document.chars() {
        if character == '\n' || is_safe(character) {
            shown.push(character);
        } else {
            // It stands in a string: the writer of the document uses none between them.
            escape(&mut shown, character);
        }
    }
    Cow::Owned(shown)
}

/// Whether a terminal obeys nothing in `text` but its ends of lines.
#[must_use]
pub fn is_shown_as_it_is(text: &str) -> bool {
    text.chars().all(|character| character == '\n' || is_safe(character))
}

/// `bytes` on one line of at most `longest` characters before escaping; a longer text ends in `…`. Control, format
/// and direction characters become `\n`, `\t`, `\r` or `\u{…}`, bytes that are not UTF-8 become `\xNN`.
#[must_use]
pub fn line(bytes: &[u8], longest: usize) -> String {
    let plain = |byte: &u8| matches!(byte, b' '..=b'~');
    if bytes.len() <= longest && bytes.iter().all(plain) {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let mut shown = String::new();
    let mut count = 0;
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if count == longest {
                shown.push('…');
                return shown;
            }
            count += 1;
            push(&mut shown, character);
        }
        for byte in chunk.invalid() {
            if count == longest {
                shown.push('…');
                return shown;
            }
            count += 1;
            // Writing to a String cannot fail.
            let _ = write!(shown, "\\x{byte:02x}");
        }
    }
    shown
}

/// The last `lines` lines of `bytes`, each made safe by [`line()`] and cut at 1,000 characters.
#[must_use]
pub fn tail(bytes: &[u8], lines: usize) -> String {
    let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let mut last: Vec<&[u8]> = text.rsplit(|byte| *byte == b'\n').take(lines).collect();
    last.reverse();
    last.into_iter().map(console_line).collect::<Vec<_>>().join("\n")
}

/// One line of a console, made safe by [`line()`] and cut at 1,000 characters.
#[must_use]
pub fn console_line(bytes: &[u8]) -> String {
    line(&console_text(bytes), 1000)
}

/// A console's line without what every console has: colours (ECMA-48, SGR) and the carriage returns at its end. What
/// else it holds stays, to be escaped.
fn console_text(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        match colour_length(rest) {
            Some(length) => rest = rest.get(length..).unwrap_or_default(),
            None => {
                text.push(*first);
                rest = after;
            }
        }
    }
    while text.last() == Some(&b'\r') {
        text.pop();
    }
    text
}

/// Bytes of the colour sequence that `bytes` begins with: ESC, `[`, digits and semicolons, `m`.
fn colour_length(bytes: &[u8]) -> Option<usize> {
    let parameters = bytes.strip_prefix(b"\x1b[")?;
    let end = parameters.iter().position(|byte| !byte.is_ascii_digit() && *byte != b';')?;
    (parameters.get(end) == Some(&b'm')).then_some(end + 3)
}

fn push(shown: &mut String, character: char) {
    if is_safe(character) { shown.push(character) } else { shown.extend(character.escape_default()) }
}

fn is_safe(character: char) -> bool {
    let invisible = matches!(character,
        '\u{ad}' // soft hyphen
        | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' // direction, joiners
        | '\u{2028}' | '\u{2029}' // line and paragraph separators
        | '\u{115f}' | '\u{1160}' | '\u{180b}'..='\u{180f}' | '\u{3164}' | '\u{ffa0}' // blank letters and selectors
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}'
        | '\u{e000}'..='\u{f8ff}' // private use
        | '\u{e0000}'..='\u{10ffff}'); // tags, selectors, private use
    !character.is_control() && !invisible
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn terminal_and_direction_tricks_become_visible() {
        for (bytes, shown) in [
            (&b"plain text"[..], "plain text"),
            (b"\x1b]0;title\x07", "\\u{1b}]0;title\\u{7}"),
            (b"a\rb\nc\td", "a\\rb\\nc\\td"),
            ("\u{9b}31m".as_bytes(), "\\u{9b}31m"),
            ("a\u{202e}b\u{2066}c".as_bytes(), "a\\u{202e}b\\u{2066}c"),
            ("x\u{200b}y\u{feff}".as_bytes(), "x\\u{200b}y\\u{feff}"),
            (b"\xff\xc3", "\\xff\\xc3"),
            ("größe ✓".as_bytes(), "größe ✓"),
        ] {
            assert_eq!(line(bytes, 100), shown);
        }
        assert_eq!(line(b"abcdef", 3), "abc…");
        assert_eq!(line(b"abc", 3), "abc");
        assert_eq!(line(b"\xff\xff", 1), "\\xff…");
    }

    #[test]
    fn lines_stay_lines_and_json_keeps_its_meaning() {
        assert_eq!(text("a\nb\r\u{1b}[2J\u{202e}c"), "a\nb\\r\\u{1b}[2J\\u{202e}c");
        assert!(matches!(text("größe\n"), Cow::Borrowed(_)));
        let hostile = "\u{9b}31m \u{202e} \u{e0041} \u{7f} \u{1b}]0;x\u{7} \u{2028}";
        let document = serde_json::to_string(&[hostile]).unwrap();
        let shown = json(&document);
        assert!(shown.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{shown}");
        assert_eq!(serde_json::from_str::<[String; 1]>(&shown).unwrap(), [hostile.to_owned()]);
    }

    #[test]
    fn a_reader_of_yaml_takes_every_character_that_stands_there() {
        let hostile = "\u{7f}\u{85}\u{2028}\u{feff}\u{fffe}\u{ffff}\u{e0041} größe 🦀";
        let document = serde_json::to_string(hostile).unwrap();
        assert_eq!(yaml(&document), r#""\u007f\u0085\u2028\ufeff\ufffe\uffff\U000e0041 größe 🦀""#);
    }

    #[test]
    fn tail_keeps_the_last_lines() {
        assert_eq!(tail(b"one\r\ntwo\r\n\x1bthree\r\n", 2), "two\n\\u{1b}three");
        assert_eq!(tail(b"", 5), "");
        assert_eq!(tail(b"one", 5), "one");
        assert_eq!(tail(b"one\ntwo", 0), "");
    }

    proptest! {
        #[test]
        fn every_json_document_keeps_its_meaning(value in any::<String>()) {
            let document = serde_json::to_string(&value).unwrap();
            let shown = json(&document);
            prop_assert!(is_shown_as_it_is(&shown) && is_shown_as_it_is(&text(&value)));
            prop_assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), value);
        }

        #[test]
        fn nothing_that_a_terminal_obeys_comes_through(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let shown = line(&bytes, 50);
            prop_assert!(!shown.chars().any(char::is_control));
            prop_assert!(shown.chars().count() <= 50 * 10 + 1);
        }
    }
}
