//! Addresses in text that give access to whoever reads them: with a user, a password, a query or a fragment. Must not
//! make anything unreadable itself.

use cloud_machine_protocol::SecretUrl;

/// What ends the part of an address before its path.
const ENDS: [char; 10] = ['/', '?', '#', ' ', '\t', '"', '\'', '<', '>', '\\'];
/// What stands around an address in a line of a document.
const AROUND: [char; 10] = [' ', '\t', '"', '\'', ',', '{', '}', '[', ']', '='];

/// The address that `text` is, when it gives access.
pub(crate) fn address(text: &str) -> Option<SecretUrl> {
    let whole = text.contains("://") && !text.contains(|c: char| c.is_whitespace() || c.is_control());
    let url: SecretUrl = if whole { text.parse().ok()? } else { return None };
    let all = url.reveal();
    let gives = is_web(all.scheme()) || all.password().is_some() || all.query().is_some();
    (gives && url.gives_access()).then_some(url)
}

/// Whether `text` is such an address, or holds one with a user or password.
pub(crate) fn gives_access(text: &str) -> bool {
    text.contains("://") && (holds_login(text) || address(text).is_some())
}

/// Whether a line of a document may hold such an address.
pub(crate) fn is_told_in(line: &str) -> bool {
    let may = |word: &str| word.split_once("://").is_some_and(|(_, rest)| rest.contains(['@', '?', '#']));
    line.contains("://") && (holds_login(line) || line.split(AROUND).any(may))
}

fn holds_login(text: &str) -> bool {
    text.match_indices("://").any(|(at, separator)| {
        let (before, rest) = (text.get(..at).unwrap_or_default(), text.get(at + separator.len()..).unwrap_or_default());
        let login = rest.split(ENDS).next().and_then(|authority| authority.rsplit_once('@')).map(|(login, _)| login);
        let scheme = before.rsplit(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
        // `ssh://git@host` names a user that everybody knows; in an address of the web a user alone may be a token.
        login.is_some_and(|login| login.contains(':') || is_web(scheme))
    })
}

fn is_web(scheme: &str) -> bool {
    ["http", "https"].iter().any(|web| scheme.eq_ignore_ascii_case(web))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_give_access() {
        for text in [
            "https://h/x?token=a",
            "https://a@h/x",
            "HTTPS://a:b@h",
            "https://h/#a",
            "postgres://a:b@h/db",
            "curl 'https://a:b@h/x' | sh",
            "deb https://a:b@h/debian trixie main",
            "https://a:b@[",
        ] {
            assert!(gives_access(text), "{text}");
        }
        for text in ["", "https://h/x", "ssh://git@h/x", "curl https://h/x?y | sh", "a@b", "see https://h/ or a@b"] {
            assert!(!gives_access(text), "{text}");
        }
    }

    #[test]
    fn lines_that_may_hold_one() {
        for line in ["  url: https://h/?a", "{url: 'https://a:b@h'}", "--set x=https://a:b@h/x", "[https://h/#a]"] {
            assert!(is_told_in(line), "{line}");
        }
        for line in ["url: https://h/x # why?", "ram: 4", "a: b@c"] {
            assert!(!is_told_in(line), "{line}");
        }
    }
}
