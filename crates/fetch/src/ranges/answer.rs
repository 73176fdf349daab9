//! What the head of an answer to a range says (RFC 9110, 14 and 15.3.7): pure, on text. Must not read a body.

use std::ops::Range;

/// Longest text of a header that an error repeats, in bytes: it is ASCII.
const MAX_TEXT: usize = 100;

/// `bytes=a-b`, both inclusive; the range is not empty.
pub(super) fn range(asked: &Range<u64>) -> String {
    format!("bytes={}-{}", asked.start, asked.end.saturating_sub(1))
}

/// `Content-Range`, as far as it is about bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ContentRange {
    /// The bytes that follow; `None` for `*`, when none do.
    pub(super) bytes: Option<Range<u64>>,
    /// Bytes of the whole; `None` for `*`.
    pub(super) total: Option<u64>,
}

impl ContentRange {
    /// `bytes first-last/total`, where `first-last` or `total` may be `*`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (unit, rest) = text.trim().split_once(' ')?;
        let (bytes, total) = rest.trim().split_once('/')?;
        let total = if total == "*" { None } else { Some(number(total)?) };
        let bytes = match bytes.split_once('-') {
            Some((first, last)) => Some(number(first)?..number(last)?.checked_add(1)?),
            None if bytes == "*" => None,
            None => return None,
        };
        let empty = bytes.as_ref().is_some_and(Range::is_empty);
        let beyond = bytes.as_ref().zip(total).is_some_and(|(bytes, total)| bytes.end > total);
        (unit.eq_ignore_ascii_case("bytes") && !empty && !beyond).then_some(Self { bytes, total })
    }
}

/// Digits alone: the standard library also takes a sign.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// What tells one version of a file from another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Version {
    /// `ETag`.
    pub(super) etag: Option<String>,
    /// `Last-Modified`.
    pub(super) modified: Option<String>,
}

impl Version {
    /// The value of `If-Range`: a strong `ETag`, else the date. A weak `ETag` must not be sent there.
    pub(super) fn condition(&self) -> Option<&str> {
        let strong = self.etag.as_deref().filter(|tag| tag.starts_with('"'));
        strong.or(self.modified.as_deref().filter(|_| self.etag.is_none()))
    }

    /// What `other`, an answer to a later range, says differently: before and now. An answer to `If-Range` must repeat
    /// the `ETag`, but may leave the date out.
    pub(super) fn differs<'a>(&'a self, other: &'a Self) -> Option<(&'a str, &'a str)> {
        match (self.etag.as_deref(), other.etag.as_deref()) {
            (Some(before), Some(now)) if before == now => None,
            (None, None) => {
                self.modified.as_deref().zip(other.modified.as_deref()).filter(|(before, now)| before != now)
            }
            (before, now) => Some((before.unwrap_or("no ETag"), now.unwrap_or("no ETag"))),
        }
    }
}

/// Whether a `Content-Type` is that of a page for people.
pub(super) fn is_page(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("text/html") || kind.eq_ignore_ascii_case("application/xhtml+xml")
}

/// The text of a header as an error may repeat it.
pub(super) fn cut(text: &str) -> String {
    text.get(..MAX_TEXT).map_or_else(|| text.to_owned(), |start| format!("{start}..."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_of_a_range_are_in_it() {
        assert_eq!(range(&(0..1)), "bytes=0-0");
        assert_eq!(range(&(4096..8192)), "bytes=4096-8191");
        assert_eq!(range(&(0..u64::MAX)), format!("bytes=0-{}", u64::MAX - 1));
    }

    #[test]
    fn content_ranges() {
        let known = |bytes, total| Some(ContentRange { bytes, total });
        for (text, expected) in [
            ("bytes 0-0/1", known(Some(0..1), Some(1))),
            ("Bytes 5-9/10", known(Some(5..10), Some(10))),
            ("bytes 5-9/*", known(Some(5..10), None)),
            ("bytes */10", known(None, Some(10))),
            ("bytes */*", known(None, None)),
            ("bytes 5-9/9", None),
            ("bytes 9-5/10", None),
            ("bytes 5-18446744073709551615/*", None),
            ("bytes +5-9/10", None),
            ("bytes 5-/10", None),
            ("bytes -5/10", None),
            ("bytes 5-9", None),
            ("bytes=5-9/10", None),
            ("bytes 5-9/", None),
            ("items 5-9/10", None),
            ("", None),
        ] {
            assert_eq!(ContentRange::parse(text), expected, "{text:?}");
        }
    }

    fn version(etag: &str, modified: &str) -> Version {
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Version { etag: some(etag), modified: some(modified) }
    }

    #[test]
    fn only_what_is_strong_is_a_condition() {
        assert_eq!(version("\"a\"", "Sun").condition(), Some("\"a\""));
        assert_eq!(version("", "Sun").condition(), Some("Sun"));
        // The date of a file whose server calls its tag weak is no better than the tag.
        assert_eq!(version("W/\"a\"", "Sun").condition(), None);
        assert_eq!(version("", "").condition(), None);
    }

    #[test]
    fn versions_that_differ() {
        for (before, now, differs) in [
            (version("\"a\"", "Sun"), version("\"a\"", ""), None),
            (version("W/\"a\"", ""), version("W/\"a\"", ""), None),
            (version("\"a\"", ""), version("\"b\"", ""), Some(("\"a\"", "\"b\""))),
            (version("\"a\"", "Sun"), version("", "Sun"), Some(("\"a\"", "no ETag"))),
            (version("", "Sun"), version("\"a\"", "Sun"), Some(("no ETag", "\"a\""))),
            (version("", "Sun"), version("", "Mon"), Some(("Sun", "Mon"))),
            (version("", "Sun"), version("", ""), None),
            (version("", ""), version("", ""), None),
        ] {
            assert_eq!(before.differs(&now), differs);
        }
    }

    #[test]
    fn pages_for_people() {
        assert!(is_page("text/html; charset=utf-8") && is_page("Text/HTML") && is_page("application/xhtml+xml"));
        assert!(!is_page("application/octet-stream") && !is_page("text/htmlx") && !is_page(""));
    }

    #[test]
    fn a_long_header_is_cut() {
        assert_eq!(cut("short"), "short");
        assert_eq!(cut(&"a".repeat(1000)), format!("{}...", "a".repeat(100)));
    }
}
