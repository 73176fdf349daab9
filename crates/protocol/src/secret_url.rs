//! An address that may give access by itself: with a user, a password, a token in its query. Owns how it is shown, which
//! is the same for text, JSON and debugging; must not let the rest of it out but by [`SecretUrl::reveal`].

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use url::Url;

use crate::ParseError;

/// An address. Displayed and serialized it is [`SecretUrl::redacted`]: what evidence, records for people and errors hold
/// is never more. [`revealed`] is the serialization for the two places that need all of it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(Url);

impl SecretUrl {
    /// All of the address, for whoever opens it or hands it on to whoever does.
    #[must_use]
    pub const fn reveal(&self) -> &Url {
        &self.0
    }

    /// The address without what gives access: user, password, query and fragment.
    #[must_use]
    pub fn redacted(&self) -> String {
        let url = &self.0;
        let Some(host) = url.host_str() else {
            // A file has its place in the path; `data:` and the like carry their content there.
            let path = if url.scheme() == "file" { url.path() } else { "" };
            return if path.is_empty() { format!("{}:", url.scheme()) } else { format!("file://{path}") };
        };
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}://{host}{port}{}", url.scheme(), url.path())
    }

    /// The address that is shown, as an address.
    #[must_use]
    pub fn without_access(&self) -> Self {
        let mut url = self.0.clone();
        // An address that cannot have a user or password has none.
        let (_, _) = (url.set_username(""), url.set_password(None));
        url.set_query(None);
        url.set_fragment(None);
        Self(url)
    }

    /// Whether [`SecretUrl::redacted`] leaves something out.
    #[must_use]
    pub fn gives_access(&self) -> bool {
        self.without_access() != *self
    }
}

impl From<Url> for SecretUrl {
    fn from(url: Url) -> Self {
        Self(url)
    }
}

impl FromStr for SecretUrl {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        // What cannot be parsed cannot be cleaned either, so that the error does not repeat it.
        Url::parse(text).map(Self).map_err(|_| ParseError::new("address", "(not shown)", "SCHEME://HOST/PATH"))
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.redacted())
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl Serialize for SecretUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.redacted())
    }
}

impl<'de> Deserialize<'de> for SecretUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// All of an address, for serde: `#[serde(with = "revealed")]`.
pub(crate) mod revealed {
    use super::{Deserialize, Deserializer, SecretUrl, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(url: &Option<SecretUrl>, serializer: S) -> Result<S::Ok, S::Error> {
        url.as_ref().map(|url| url.reveal().as_str()).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretUrl>, D::Error> {
        Option::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> SecretUrl {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_is_shown_without_what_gives_access() {
        for (text, shown) in [
            ("https://images.example/debian-12.image", "https://images.example/debian-12.image"),
            ("https://u:p@images.example:8443/a@b/c?token=x@y#z", "https://images.example:8443/a@b/c"),
            ("HTTP://u:p@EXAMPLE.org:80", "http://example.org/"),
            ("http://u:p@[fe80::1]:81/", "http://[fe80::1]:81/"),
            ("http://h?token=/x", "http://h/"),
            ("http://h/\u{1b}[31m\n", "http://h/%1B[31m"),
            ("file:///srv/one%20two.yaml", "file:///srv/one%20two.yaml"),
            ("data:text/plain,secret", "data:"),
        ] {
            assert_eq!(url(text).redacted(), shown);
            assert_eq!(url(text).without_access().redacted(), shown);
        }
        let bare = url("https://u:p@h/x?y#z").without_access();
        assert_eq!(bare.reveal().as_str(), "https://h/x");
        assert!(!bare.gives_access());
        assert!(url("https://u@h/").gives_access() && url("https://h/#x").gives_access());
        assert!(!url("https://h/x").gives_access() && !url("file:///srv/x").gives_access());
    }

    #[test]
    fn no_way_of_printing_or_storing_lets_a_secret_out() {
        let url = url("https://me:hunter2@h/x?token=hunter2#hunter2");
        let all = format!("{url} {url:?} {:?} {}", Some(&url), serde_json::to_string(&url).unwrap());
        assert!(!all.contains("hunter2") && !all.contains("me:"), "{all}");
        let error = "https://me:hunter2@[".parse::<SecretUrl>().unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
        assert_eq!(url.reveal().password(), Some("hunter2"));
    }
}
