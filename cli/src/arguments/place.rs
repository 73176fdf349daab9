//! A machine that is there already, and how to log in to it, as it is typed. Must not look anything up.

use std::{fmt, path::PathBuf, str::FromStr};

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct There {
    /// Where its SSH is, and who is root there
    #[arg(long, value_name = "[USER@]HOST[:PORT]")]
    pub(crate) ssh: Place,
    /// Its host key as its owner says: a fingerprint SHA256:…, or a line [default: as your ~/.ssh/known_hosts has it]
    #[arg(long, value_name = "KEY")]
    pub(crate) host_key: Option<String>,
    /// The private key to log in with [default: those that ssh(1) finds]
    #[arg(long, value_name = "FILE")]
    pub(crate) identity: Option<PathBuf>,
}

/// Where SSH is, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) user: String,
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// The port of SSH.
const PORT: u16 = 22;

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (user, place) = text.rsplit_once('@').unwrap_or(("root", text));
        let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or("after `]` comes :PORT or nothing")?)),
            // An IPv6 address has no port without brackets.
            None if place.matches(':').count() > 1 => (place, None),
            None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map_or(Ok(PORT), str::parse).map_err(|_| "the port is a number from 1 to 65535")?;
        if user.is_empty() || host.is_empty() || port == 0 {
            return Err("write [USER@]HOST[:PORT], an IPv6 address with a port in brackets".to_owned());
        }
        Ok(Self { user: user.to_owned(), host: host.to_owned(), port })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { user, host, port } = self;
        match host.contains(':') {
            true => write!(formatter, "{user}@[{host}]:{port}"),
            false => write!(formatter, "{user}@{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_a_user_a_host_and_a_port() {
        for (text, shown) in [
            ("db.example", "root@db.example:22"),
            ("admin@192.0.2.7:2222", "admin@192.0.2.7:2222"),
            ("root@2001:db8::7", "root@[2001:db8::7]:22"),
            ("[2001:db8::7]:23", "root@[2001:db8::7]:23"),
            ("[2001:db8::7]", "root@[2001:db8::7]:22"),
        ] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), shown);
        }
        for text in ["", "@h", "u@", "h:", "h:x", "h:0", "h:65536", "[::1]22"] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }
}
