//! Addresses as people may see them: as [`SecretUrl`] shows them, of a length that fits into a line. Must not show what
//! gives access.

use cloud_machine_protocol::SecretUrl;
use reqwest::Url;

/// The longest address that is shown whole, in bytes: it is ASCII.
const MAX_SHOWN: usize = 320;

/// `scheme://host[:port]/path` of an address; a text that says so when it is no address at all.
#[must_use]
pub fn shown(url: &str) -> String {
    match url.parse::<SecretUrl>() {
        Ok(url) => cut(url.redacted()),
        // What cannot be parsed cannot be cleaned either.
        Err(_) => "(not an address)".to_owned(),
    }
}

/// [`shown`] of an address that is parsed already.
pub(crate) fn shown_url(url: &Url) -> String {
    cut(SecretUrl::from(url.clone()).redacted())
}

fn cut(shown: String) -> String {
    shown.get(..MAX_SHOWN).map_or(shown.clone(), |start| format!("{start}..."))
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn only_scheme_host_port_and_path_are_shown() {
        for (url, expected) in [
            ("https://user:secret@example.org:8443/a/b?token=secret#secret", "https://example.org:8443/a/b"),
            ("//user:secret@example.org", "(not an address)"),
            ("http://user:secret@[", "(not an address)"),
        ] {
            assert_eq!(shown(url), expected, "{url}");
        }
    }

    #[test]
    fn a_long_address_is_cut() {
        let long = format!("http://h/{}", "a".repeat(10_000));
        assert_eq!(shown(&long), format!("http://h/{}...", "a".repeat(311)));
    }
}
