//! Which values must not be shown: the one table of key names, what `!secret` marks, and addresses that give access. Must not make anything
//! unreadable itself.

use crate::{
    access,
    grammar::NETWORK,
    key_path,
    scalar::Scalar,
    tree::{Node, Value},
};

/// Words of a key (between `-`, `_`, `.` and blanks, without case) that make what is below it secret.
const WORDS: &[&str] = &[
    "password",
    "passwords",
    "passwd",
    "hashedpasswd",
    "passphrase",
    "chpasswd",
    "pwd",
    "pin",
    "psk",
    "token",
    "tokens",
    "secret",
    "secrets",
    "credential",
    "credentials",
    "apikey",
    "authkey",
    "privatekey",
    "secretkey",
    "accesskey",
];

/// Pairs of such words.
const PAIRS: &[(&str, &str)] = &[
    ("private", "key"),
    ("private", "keys"),
    ("key", "material"),
    ("api", "key"),
    ("auth", "key"),
    ("access", "key"),
    ("account", "key"),
    ("activation", "key"),
    ("encryption", "key"),
    ("signing", "key"),
    ("validation", "key"),
    ("validation", "cert"),
    ("preshared", "key"),
    // Of k3s and rke2: an address with a login that need have no scheme, and what joins a private network.
    ("datastore", "endpoint"),
    ("vpn", "auth"),
    // cloud-init's `ssh_keys: {rsa_private: …}`.
    ("rsa", "private"),
    ("dsa", "private"),
    ("ecdsa", "private"),
    ("ed25519", "private"),
];

/// Whether what is below a key of this name is secret.
fn is_secret(name: &str) -> bool {
    let mut before = "";
    name.split(['-', '_', '.', ' ']).any(|word| {
        let is = |found: &str, known: &str| found.eq_ignore_ascii_case(known);
        let first = std::mem::replace(&mut before, word);
        WORDS.iter().any(|known| is(word, known)) || PAIRS.iter().any(|(one, two)| is(first, one) && is(word, two))
    })
}

/// Whether a key of this name, such as `http_proxy`, holds the address of a proxy: before its `@` are user and password, even
/// without a scheme.
fn is_proxy(name: &str) -> bool {
    name.rsplit(['-', '_', '.', ' ']).next().is_some_and(|word| word.eq_ignore_ascii_case("proxy"))
}

/// How a token of docker's swarm begins, whatever the key is.
pub(crate) const SWARM_TOKEN: &str = "SWMTKN-";

/// Whether a line of text names a secret, or marks one, or has one that shows what it is: then the line may hold it.
pub(crate) fn is_told_in(line: &str) -> bool {
    let within = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-');
    let has = |what: fn(&str) -> bool| line.split(|character| !within(character)).any(what);
    let marked = line.contains("!secret") || line.contains(SWARM_TOKEN);
    marked || access::is_told_in(line) || has(is_secret) || (line.contains('@') && has(is_proxy))
}

/// Keys of tunnels (netplan(5)) whose names tell it only below the top-level key `network`.
const OF_NETWORK: [&str; 3] = ["key", "private", "shared"];

/// Below which top-level key a value is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// It is at the top.
    #[default]
    Root,
    /// `network`.
    Network,
    /// Another one.
    Elsewhere,
}

/// What the keys and marks on the way to a value say of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Secrecy {
    marked: bool,
    named: bool,
    place: Place,
    /// Whether the value is a proxy's address, which need not have a scheme.
    proxy: bool,
}

impl Secrecy {
    /// With `!secret` on the value itself, if it has that mark.
    pub(crate) const fn marked(self, mark: bool) -> Self {
        Self { marked: self.marked || mark, ..self }
    }

    /// For the value of the key `name`.
    pub(crate) fn below(self, name: &str) -> Self {
        let place = match self.place {
            Place::Root if name == NETWORK => Place::Network,
            Place::Network => Place::Network,
            Place::Root | Place::Elsewhere => Place::Elsewhere,
        };
        let of_network = self.place == Place::Network && OF_NETWORK.contains(&name);
        Self { named: self.named || is_secret(name) || of_network, proxy: is_proxy(name), place, ..self }
    }

    /// For the value at the end of `path`.
    pub(crate) fn along(self, path: &str) -> Self {
        key_path::parse(path).into_iter().flatten().fold(self, |secrecy, key| secrecy.below(&key))
    }

    /// Whether `line`, on which a value at this place is written, may hold a secret for what the keys on the way say.
    pub(crate) fn is_within(self, line: &str) -> bool {
        self.named || (self.proxy && line.contains('@'))
    }

    /// Whether a mark or a key says that what is here is secret.
    pub(crate) const fn is_told(self) -> bool {
        self.marked || self.named
    }

    /// Whether the scalar itself is secret. By its name alone, a boolean such as that of `lock_passwd` is not.
    pub(crate) fn hides_scalar(self, scalar: &Scalar) -> bool {
        match scalar {
            Scalar::Null => false,
            Scalar::Bool(_) => self.marked,
            Scalar::Text(text) => self.is_told() || access::gives_access(text) || (self.proxy && text.contains('@')),
            _ => self.is_told(),
        }
    }

    /// Whether `node` or a part of it is secret. Its own mark must be in `self` already.
    pub(crate) fn hides(self, node: &Node) -> bool {
        match &node.value {
            Value::Scalar(scalar) => self.hides_scalar(scalar),
            Value::List(items) => items.iter().any(|item| self.marked(item.secret).hides(item)),
            Value::Map(entries) => entries
                .iter()
                .any(|entry| self.below(&entry.key.as_text()).marked(entry.value.secret).hides(&entry.value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets() {
        for name in [
            "password",
            "Passwd",
            "hashed_passwd",
            "db-password",
            "API_KEY",
            "private-key",
            "rsa_private",
            "join-token",
            "k.psk",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in
            ["ssh_authorized_keys", "rsa_public", "key", "ssh-host-keys", "spin", "tokenizer", "ram", "keyboard"]
        {
            assert!(!is_secret(name), "{name}");
        }
    }

    #[test]
    fn lines_that_may_hold_a_secret() {
        for line in
            ["  db_password: x", "{user: a, passwd: b}", "--set a.token=x", "key: !secret x", "HTTP_PROXY: a:b@h"]
        {
            assert!(is_told_in(line), "{line}");
        }
        for line in ["", "ram: 4", "compass: words", "# the tokenizer"] {
            assert!(!is_told_in(line), "{line}");
        }
    }

    #[test]
    fn a_proxy_is_secret_with_a_login_in_it_whether_or_not_it_has_a_scheme() {
        let text = |text: &str| Scalar::Text(text.to_owned());
        let proxy = Secrecy::default().below("env").below("HTTPS_PROXY");
        assert!(proxy.hides_scalar(&text("ada:words@proxy.example:3128")) && !proxy.hides_scalar(&text("proxy:3128")));
        assert!(!proxy.below("mail").hides_scalar(&text("ada@example")));
    }

    #[test]
    fn a_boolean_is_secret_only_by_its_mark() {
        let named = Secrecy::default().below("lock_passwd");
        assert!(!named.hides_scalar(&Scalar::Bool(true)) && named.hides_scalar(&Scalar::Integer(1)));
        assert!(named.marked(true).hides_scalar(&Scalar::Bool(true)));
        assert!(Secrecy::default().along("a.\"my token\".b").is_told());
        for (path, is_told) in [("network.tunnels.t.keys.private", true), ("a.network.keys.private", false)] {
            assert_eq!(Secrecy::default().along(path).is_told(), is_told, "{path}");
        }
    }
}
