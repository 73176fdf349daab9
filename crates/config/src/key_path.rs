//! The notation of key paths: keys with a `.` between them, in double quotes where a key could be mistaken. Must not
//! know any key.

/// The first segment of `path`, as it is written, and the path below it.
pub(crate) fn split_first(path: &str) -> (&str, &str) {
    let end = segment_end(path).unwrap_or(path.len());
    let (first, rest) = path.split_at_checked(end).unwrap_or((path, ""));
    (first, rest.strip_prefix('.').unwrap_or(rest))
}

/// The keys of `path`; `None` when a key is empty, or a quote or an escape is wrong.
pub(crate) fn parse(path: &str) -> Option<Vec<String>> {
    let mut keys = Vec::new();
    let mut rest = path;
    loop {
        let end = segment_end(rest)?;
        let (first, tail) = rest.split_at_checked(end)?;
        let key = match first.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')) {
            Some(inner) => unescaped(inner)?,
            None => first.to_owned(),
        };
        if key.is_empty() {
            return None;
        }
        keys.push(key);
        match tail.strip_prefix('.') {
            Some(below) => rest = below,
            None => return tail.is_empty().then_some(keys),
        }
    }
}

/// Where the first segment ends, in bytes; `None` for a quote that is not closed.
fn segment_end(path: &str) -> Option<usize> {
    let Some(quoted) = path.strip_prefix('"') else {
        return Some(path.find('.').unwrap_or(path.len()));
    };
    let mut escaped = false;
    for (offset, character) in quoted.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(offset + 2),
            _ => {}
        }
    }
    None
}

/// The text of a quoted key, with the escapes `\" \\ \' \n \r \t \0 \u{…}`.
fn unescaped(inner: &str) -> Option<String> {
    let mut text = String::new();
    let mut rest = inner.chars();
    while let Some(character) = rest.next() {
        text.push(if character == '\\' { escape(&mut rest)? } else { character });
    }
    Some(text)
}

fn escape(rest: &mut std::str::Chars<'_>) -> Option<char> {
    Some(match rest.next()? {
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        '0' => '\0',
        'u' => {
            let (digits, tail) = rest.as_str().strip_prefix('{')?.split_once('}')?;
            *rest = tail.chars();
            char::from_u32(u32::from_str_radix(digits, 16).ok()?)?
        }
        other @ ('"' | '\\' | '\'') => other,
        _ => return None,
    })
}

/// Whether `path` is one of `pattern`, in which `*` stands for one key.
pub fn matches(pattern: &str, path: &str) -> bool {
    let (wanted, found): (Vec<&str>, Vec<&str>) = (pattern.split('.').collect(), path.split('.').collect());
    wanted.len() == found.len() && wanted.iter().zip(&found).all(|(want, part)| *want == "*" || want == part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::child_path;

    #[test]
    fn a_path_that_was_written_is_read_again() {
        for keys in [vec!["a"], vec!["a", "b.c"], vec!["x\u{1b}\"\\\n'", "ü", "-"]] {
            let path = keys.iter().fold(String::new(), |path, key| child_path(&path, key));
            assert_eq!(parse(&path).unwrap(), keys, "{path}");
            assert_eq!(parse(split_first(&path).0).unwrap(), keys[..1]);
        }
        assert_eq!(split_first("a.\"b.c\".d"), ("a", "\"b.c\".d"));
        assert_eq!(split_first("a"), ("a", ""));
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for path in ["", ".", "a.", ".a", "a..b", "\"a", "\"a\"b", "\"\\x\"", "\"\\u{110000}\"", "\"\""] {
            assert_eq!(parse(path), None, "{path}");
        }
    }
}
