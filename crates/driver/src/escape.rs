//! Untrusted text made safe for a terminal: nothing in it can move a cursor, change a colour or reorder a line.
//! Must not decide what is shown.

use std::fmt::Write as _;

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
    let all: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    let start = all.len().saturating_sub(lines);
    let shown: Vec<String> = all.iter().skip(start).map(|bytes| line(&console_text(bytes), 1000)).collect();
    shown.join("\n")
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
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}'
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
    fn tail_keeps_the_last_lines() {
        assert_eq!(tail(b"one\r\ntwo\r\n\x1bthree\r\n", 2), "two\n\\u{1b}three");
        assert_eq!(tail(b"", 5), "");
        assert_eq!(tail(b"one", 5), "one");
        assert_eq!(tail(b"one\ntwo", 0), "");
    }

    proptest! {
        #[test]
        fn nothing_that_a_terminal_obeys_comes_through(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let shown = line(&bytes, 50);
            prop_assert!(!shown.chars().any(char::is_control));
            prop_assert!(shown.chars().count() <= 50 * 10 + 1);
        }
    }
}
