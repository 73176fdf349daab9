//! Arguments of `adopt`. Must not look anything up.

use std::{path::PathBuf, str::FromStr};

use clap::Args;
use cloud_machine_protocol::MachineName;
use cloud_machine_store::ImageName;

use super::{Configuration, Exceptions, UnderLease};

#[derive(Debug, Args)]
pub(crate) struct Adopt {
    /// Name that the machine gets; also its host name from its first reimage on
    pub(crate) name: MachineName,
    #[command(flatten)]
    pub(crate) under: UnderLease,
    /// Where its SSH is, and who is root there
    #[arg(long, value_name = "[USER@]HOST[:PORT]")]
    pub(crate) ssh: Place,
    /// Its host key as its owner says: a fingerprint SHA256:…, or a line [default: as your ~/.ssh/known_hosts has it]
    #[arg(long, value_name = "KEY")]
    pub(crate) host_key: Option<String>,
    /// The private key to log in with [default: those that ssh(1) finds]
    #[arg(long, value_name = "FILE")]
    pub(crate) identity: Option<PathBuf>,
    /// What has power over it: of driver ssh the name of a file of commands below drivers/ssh
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) control: String,
    #[command(flatten)]
    pub(crate) configuration: Configuration,
    /// Name of the image that it is to have, as it is typed; stronger than `image` in a document and --set
    #[arg(long)]
    pub(crate) image: Option<ImageName>,
    /// Name of the driver [default: that of the configuration, and ssh where nothing names one]
    #[arg(long)]
    pub(crate) driver: Option<String>,
    #[command(flatten)]
    pub(crate) exceptions: Exceptions,
    /// Seconds that the machine may take to say what it is
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub(crate) timeout: u64,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_a_user_a_host_and_a_port() {
        for (text, user, host, port) in [
            ("db.example", "root", "db.example", 22),
            ("admin@192.0.2.7:2222", "admin", "192.0.2.7", 2222),
            ("root@2001:db8::7", "root", "2001:db8::7", 22),
            ("[2001:db8::7]:23", "root", "2001:db8::7", 23),
            ("[2001:db8::7]", "root", "2001:db8::7", 22),
        ] {
            let expected = Place { user: user.to_owned(), host: host.to_owned(), port };
            assert_eq!(text.parse::<Place>().unwrap(), expected);
        }
        for text in ["", "@h", "u@", "h:", "h:x", "h:0", "h:65536", "[::1]22"] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }
}
