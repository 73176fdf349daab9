//! The address of one more document: which addresses are allowed, and what must stand beside each. Must not fetch
//! anything.

use std::path::PathBuf;

use cloud_machine_protocol::{Digest, SecretUrl};
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor, value::MapAccessDeserializer},
};
use url::Url;

use crate::{
    check::invalid,
    error::ConfigError,
    grammar::{CA, ONE_URL, ROOT, SHA256, URL},
    key_location::locate,
    scalar::Scalar,
    tree::{Node, Value, child_path},
};

/// Where one more document for the machine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudInitUrl {
    /// `https:`, `http:` or `file:`; without user, password and fragment. An `http:` address always has `sha256`.
    pub url: SecretUrl,
    /// SHA-256 that the document must have.
    pub sha256: Option<Digest>,
    /// Certificates in PEM that are trusted instead of the public ones; only for `https:`.
    pub ca: Option<String>,
}

impl CloudInitUrl {
    /// The absolute path of a `file:` address, which names a file of the host.
    #[must_use]
    pub fn file(&self) -> Option<PathBuf> {
        let url = self.url.reveal();
        (url.scheme() == "file").then(|| url.to_file_path().ok()).flatten()
    }

    /// The address for people: without its query, which may hold a token.
    #[must_use]
    pub fn redacted(&self) -> String {
        self.url.redacted()
    }
}

/// The key's value: an address, or a map with one.
#[derive(Debug)]
pub(crate) struct UrlValue {
    url: Address,
    sha256: Option<Sha256>,
    ca: Option<Pem>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UrlMap {
    url: Address,
    sha256: Option<Sha256>,
    ca: Option<Pem>,
}

impl<'de> Deserialize<'de> for UrlValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UrlVisitor)
    }
}

struct UrlVisitor;

impl<'de> Visitor<'de> for UrlVisitor {
    type Value = UrlValue;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("an address or a map with one")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<UrlValue, E> {
        let url = Address::try_from(text.to_owned()).map_err(E::custom)?;
        Ok(UrlValue { url, sha256: None, ca: None })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<UrlValue, A::Error> {
        let UrlMap { url, sha256, ca } = UrlMap::deserialize(MapAccessDeserializer::new(map))?;
        Ok(UrlValue { url, sha256, ca })
    }
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Address(SecretUrl);

impl TryFrom<String> for Address {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let url = Url::parse(&text).map_err(|_| "no address")?;
        let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        let leads = match url.scheme() {
            // The parser gives every address of these schemes a host, or fails.
            "https" | "http" => true,
            "file" => url.to_file_path().is_ok() && url.query().is_none(),
            _ => false,
        };
        // The parser drops blanks and line breaks; whoever wrote them meant something else.
        let clean = !text.contains(|character: char| character.is_whitespace() || character.is_control());
        if plain && leads && clean { Ok(Self(url.into())) } else { Err("no address that is allowed") }
    }
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Sha256(Digest);

impl TryFrom<String> for Sha256 {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        format!("sha256:{text}").parse().map(Self).map_err(|_| "not 64 hexadecimal digits")
    }
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Pem(String);

impl TryFrom<String> for Pem {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.contains("-----BEGIN CERTIFICATE-----") { Ok(Self(text)) } else { Err("no certificate in PEM") }
    }
}

/// Both keys that may hold the address, below `cloud-machine`.
const KEYS: [&[&str]; 2] = [&["cloud-init-url"], &["resources", "cloud-init-url"]];

/// Whether `keys`, from the root of a document, lead to the address or into the map with it.
pub(crate) fn is_address_key(keys: &[String]) -> bool {
    keys.split_first().is_some_and(|(first, below)| {
        let leads = |key: &[&str]| below.len() >= key.len() && below.iter().zip(key).all(|(one, two)| one == two);
        first == ROOT && KEYS.into_iter().any(leads)
    })
}

/// The one address of `values`, which are those of [`KEYS`]; what is wrong with it goes to `errors`.
pub(crate) fn configured(
    values: [Option<UrlValue>; 2],
    machine: &Node,
    errors: &mut Vec<ConfigError>,
) -> Option<CloudInitUrl> {
    let mut found = KEYS.into_iter().zip(values).filter_map(|(keys, value)| Some((keys, value?)));
    let (keys, value) = found.next()?;
    if let Some((second, _)) = found.next() {
        let (first, _) = locate(machine, keys);
        let (node, path) = locate(machine, second);
        let message = format!("the address is set twice, also by {}", first.origin());
        errors.push(
            ConfigError::new(&node.source, node.mark, &path, message)
                .suggestion(Some("leave one of `cloud-init-url` and `resources.cloud-init-url` out".to_owned())),
        );
        return None;
    }
    let (node, path) = locate(machine, keys);
    judged(value, node, &path, errors)
}

/// The address that `value`, written at `node`, gives with what stands beside it.
fn judged(value: UrlValue, node: &Node, path: &str, errors: &mut Vec<ConfigError>) -> Option<CloudInitUrl> {
    let UrlValue { url, sha256, ca } = value;
    let url = CloudInitUrl { url: url.0, sha256: sha256.map(|digest| digest.0), ca: ca.map(|pem| pem.0) };
    match url.url.reveal().scheme() {
        "http" if url.sha256.is_none() => {
            errors.push(invalid(
                node,
                path,
                "an http address with `sha256`, since anybody on the way could change the document; or https",
            ));
            None
        }
        "http" | "file" if url.ca.is_some() => {
            errors.push(invalid(node, path, "`ca` only with an https address"));
            None
        }
        _ => Some(url),
    }
}

/// The address that is written at `node`, whose shape was looked at before.
pub(crate) fn read(node: &Node, path: &str, errors: &mut Vec<ConfigError>) -> Option<CloudInitUrl> {
    let before = errors.len();
    let (url, sha256, ca) = match &node.value {
        Value::Map(_) => (
            text(node, path, "url", ONE_URL, errors),
            text(node, path, "sha256", SHA256, errors),
            text(node, path, "ca", CA, errors),
        ),
        _ => (typed(node, path, URL, errors), None, None),
    };
    match url {
        Some(url) if errors.len() == before => judged(UrlValue { url, sha256, ca }, node, path, errors),
        None if errors.len() == before => {
            errors.push(invalid(node, path, URL));
            None
        }
        _ => None,
    }
}

/// The value of `key` in the map `node`.
fn text<T: TryFrom<String>>(
    node: &Node,
    path: &str,
    key: &str,
    allowed: &str,
    errors: &mut Vec<ConfigError>,
) -> Option<T> {
    node.get(key).and_then(|value| typed(value, &child_path(path, key), allowed, errors))
}

fn typed<T: TryFrom<String>>(node: &Node, path: &str, allowed: &str, errors: &mut Vec<ConfigError>) -> Option<T> {
    let value = match &node.value {
        Value::Scalar(Scalar::Text(text)) => T::try_from(text.clone()).ok(),
        _ => None,
    };
    if value.is_none() {
        errors.push(invalid(node, path, allowed));
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LayerKind, merge, parse, validate};

    fn loaded(value: &str) -> Result<Option<CloudInitUrl>, String> {
        let text = format!("cloud-machine:\n  cloud-init-url: {value}\n");
        let document = parse(LayerKind::Project, "f", text.as_bytes()).map_err(|errors| errors.to_string())?;
        let merged = merge(&[document]).map_err(|errors| errors.to_string())?;
        validate(&merged).map(|config| config.cloud_init_url).map_err(|errors| errors.to_string())
    }

    #[test]
    fn an_address_alone_or_with_what_belongs_to_it() {
        let url = loaded("https://config.example/m.yaml?token=x").unwrap().unwrap();
        assert_eq!(url.redacted(), "https://config.example/m.yaml");
        assert_eq!((url.sha256, url.ca.as_deref(), url.file()), (None, None, None));
        let digest = "ab".repeat(32);
        let url = loaded(&format!("{{url: 'http://10.0.2.2:8000/', sha256: '{digest}'}}")).unwrap().unwrap();
        assert_eq!(url.sha256.unwrap().hex(), digest);
        let url = loaded("file:///srv/one%20two.yaml").unwrap().unwrap();
        assert_eq!(url.file().unwrap(), PathBuf::from("/srv/one two.yaml"));
        assert_eq!(loaded("").unwrap(), None);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_is_allowed() {
        for (value, expected) in [
            ("config.example/m.yaml", "an https, http or file address"),
            ("ftp://config.example/m.yaml", "an https, http or file address"),
            ("https://", "an https, http or file address"),
            ("https://me:secret@config.example/", "an https, http or file address without user"),
            ("https://config.example/#part", "without user and fragment"),
            ("'https://config.example/a b'", "an https, http or file address"),
            ("file://server/share", "an https, http or file address"),
            ("file:///srv/m.yaml?x", "an https, http or file address"),
            ("http://config.example/", "an http address with `sha256`"),
            ("{url: 'http://config.example/'}", "an http address with `sha256`"),
            ("{sha256: x}", "64 hexadecimal digits"),
            ("{ca: x}", "certificates in PEM"),
            ("{}", "or a map {url: …"),
            ("{url: 'https://a.example/', sha: x}", "unknown key `sha`"),
            ("{url: 'file:///m', ca: '-----BEGIN CERTIFICATE-----'}", "`ca` only with an https address"),
            ("[https://a.example/]", "found a list"),
            ("7", "invalid value `7`"),
        ] {
            let error = loaded(value).unwrap_err();
            assert!(error.contains(expected), "{value}: {error}");
            assert!(error.contains("cloud-machine.cloud-init-url"), "{value}: {error}");
        }
    }

    #[test]
    fn two_addresses_are_told_with_both_places() {
        let text = "cloud-machine:\n  cloud-init-url: https://a.example/\n  resources:\n    cloud-init-url: https://a.example/\n";
        let document = parse(LayerKind::Project, "f", text.as_bytes()).unwrap();
        let error = validate(&merge(&[document]).unwrap()).unwrap_err().to_string();
        assert!(error.contains("f:4:21") && error.contains("by project f:2:19"), "{error}");
    }
}
