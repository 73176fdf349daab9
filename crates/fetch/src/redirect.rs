//! Where a server may send the client (RFC 9110, 15.4): pure, without the network. Must not follow anything itself.

use std::net::IpAddr;

use reqwest::Url;

use crate::{
    FetchError, MAX_REDIRECTS, Refusal,
    shown::{shown, shown_url},
};

/// The address of a document.
///
/// # Errors
/// [`FetchError::InvalidUrl`] when it is none, has another scheme than `http` and `https`.
pub(crate) fn parse(text: &str) -> Result<Url, FetchError> {
    let invalid = |source| FetchError::InvalidUrl { url: shown(text), source };
    let url = Url::parse(text).map_err(|error| invalid(error.into()))?;
    if is_web(&url) { Ok(url) } else { Err(invalid("only http and https are known".into())) }
}

/// The next address: `location` as `from` said it, in a chain of `followed` redirects that began at `origin`.
///
/// # Errors
/// [`FetchError::Redirect`] naming both addresses and the reason.
pub(crate) fn next(origin: &Url, from: &Url, location: &str, followed: usize) -> Result<Url, FetchError> {
    let refused = |to: String, refusal| FetchError::Redirect { from: shown_url(from), to, refusal };
    let to = from.join(location).map_err(|_| refused(shown(location), Refusal::Invalid))?;
    let refusal = if !is_web(&to) {
        Refusal::Scheme
    } else if from.scheme() == "https" && to.scheme() == "http" {
        Refusal::Downgrade
    } else if is_local(&to) && !is_local(origin) {
        Refusal::Local
    } else if followed >= MAX_REDIRECTS {
        Refusal::TooMany
    } else {
        return Ok(to);
    };
    Err(refused(shown_url(&to), refusal))
}

fn is_web(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https") && url.has_host()
}

/// Whether the host is an address that only this machine or its link gives a meaning. The parser has brought every
/// spelling of an IPv4 address into the one with four numbers.
fn is_local(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let host = host.strip_suffix('.').unwrap_or(host);
    match host.trim_matches(['[', ']']).parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V4(address)) => address.is_loopback() || address.is_link_local() || address.is_unspecified(),
        Ok(IpAddr::V6(address)) => address.is_loopback() || address.is_unicast_link_local() || address.is_unspecified(),
        // RFC 6761, 6.3: these names are loopback.
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(origin: &str, from: &str, location: &str, followed: usize) -> Result<String, String> {
        let url = |text| Url::parse(text).unwrap();
        next(&url(origin), &url(from), location, followed).map(String::from).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_followed() {
        for (from, location, expected) in [
            ("http://a.test/x/y?q", "z", "http://a.test/x/z"),
            ("http://a.test/x", "/z?t=1", "http://a.test/z?t=1"),
            ("http://a.test/", "https://b.test/", "https://b.test/"),
            ("https://a.test/", "//b.test/z", "https://b.test/z"),
            ("http://a.test/", "http://10.0.0.1/", "http://10.0.0.1/"),
            ("http://a.test/", "http://localhost.test/", "http://localhost.test/"),
        ] {
            assert_eq!(step(from, from, location, 0).as_deref(), Ok(expected), "{from} to {location}");
        }
        assert!(step("http://a.test/", "http://a.test/", "/z", MAX_REDIRECTS - 1).is_ok());
    }

    #[test]
    fn what_is_refused() {
        let reach = "an address of this machine or its link is not reached from elsewhere";
        for (location, to, reason) in [
            ("http://a.test/", "http://a.test/", "https is not left for http"),
            ("file:///etc/shadow", "file:///etc/shadow", "only http and https are followed"),
            ("ftp://b.test/x?secret", "ftp://b.test/x", "only http and https are followed"),
            ("https://[", "(not an address)", "it is not a URL"),
            ("https://169.254.169.254/latest?secret", "https://169.254.169.254/latest", reach),
            ("https://2852039166/", "https://169.254.169.254/", reach),
            ("https://0xa9fea9fe/", "https://169.254.169.254/", reach),
            ("https://[::ffff:169.254.169.254]/", "https://[::ffff:a9fe:a9fe]/", reach),
            ("https://127.1/", "https://127.0.0.1/", reach),
            ("https://0.0.0.0/", "https://0.0.0.0/", reach),
            ("https://[::]/", "https://[::]/", reach),
            ("https://[::1]/", "https://[::1]/", reach),
            ("https://[fe80::1]/", "https://[fe80::1]/", reach),
            ("https://localhost/", "https://localhost/", reach),
            ("https://x.localhost./", "https://x.localhost./", reach),
        ] {
            assert_eq!(
                step("https://a.test/", "https://a.test/here?secret", location, 0),
                Err(format!("refused to follow https://a.test/here to {to}: {reason}"))
            );
        }
        assert_eq!(
            step("http://a.test/", "http://a.test/x", "/y", MAX_REDIRECTS),
            Err("refused to follow http://a.test/x to http://a.test/y: more than 5 redirects".to_owned())
        );
    }

    #[test]
    fn a_chain_that_began_here_may_stay_here() {
        for origin in ["http://127.0.0.1:8080/", "http://localhost/", "http://169.254.169.254/"] {
            assert!(step(origin, "http://a.test/", "http://[::1]:1/", 1).is_ok(), "{origin}");
        }
        // It is the first address that counts, not the last.
        assert!(step("http://a.test/", "http://127.0.0.1/", "http://127.0.0.1/", 1).is_err());
    }

    #[test]
    fn addresses_of_other_kinds_are_none() {
        for (text, expected) in [
            ("", "(not an address) is not a URL to fetch from"),
            ("seed.yaml", "(not an address) is not a URL to fetch from"),
            ("file:///etc/passwd", "file:///etc/passwd is not a URL to fetch from"),
            ("ftp://user:secret@example.org/", "ftp://example.org/ is not a URL to fetch from"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), expected);
        }
    }
}
