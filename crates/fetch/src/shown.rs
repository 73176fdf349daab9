//! Addresses as people may see them. Must not show what gives access: user, password, query, fragment.

use reqwest::Url;

/// The longest path that is shown whole, in bytes: it is ASCII.
const MAX_PATH: usize = 256;

/// `scheme://host[:port]/path` of an address; a text that says so when it is no address at all.
#[must_use]
pub fn shown(url: &str) -> String {
    match Url::parse(url) {
        Ok(url) => shown_url(&url),
        // What cannot be parsed cannot be cleaned either.
        Err(_) => "(not an address)".to_owned(),
    }
}

/// [`shown`] of an address that is parsed already.
pub(crate) fn shown_url(url: &Url) -> String {
    let Some(host) = url.host_str() else {
        // `data:` and the like carry their content in the path.
        return format!("{}:", url.scheme());
    };
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let path = url.path();
    let path = path.get(..MAX_PATH).map_or_else(|| path.to_owned(), |start| format!("{start}..."));
    format!("{}://{host}{port}{path}", url.scheme())
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn only_scheme_host_port_and_path_are_shown() {
        for (url, expected) in [
            ("https://user:secret@example.org:8443/a/b?token=secret#secret", "https://example.org:8443/a/b"),
            ("HTTP://EXAMPLE.org:80", "http://example.org/"),
            ("http://[fe80::1]:81/x", "http://[fe80::1]:81/x"),
            ("http://example.org/\u{1b}[31m\n", "http://example.org/%1B[31m"),
            ("file:///etc/shadow", "file:"),
            ("data:text/plain,secret", "data:"),
            ("//user:secret@example.org", "(not an address)"),
            ("http://user:secret@[", "(not an address)"),
        ] {
            assert_eq!(shown(url), expected, "{url}");
        }
    }

    #[test]
    fn a_long_path_is_cut() {
        let long = format!("http://h/{}", "a".repeat(10_000));
        assert_eq!(shown(&long), format!("http://h/{}...", "a".repeat(255)));
    }
}
