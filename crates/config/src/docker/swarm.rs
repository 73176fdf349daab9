//! Settings of docker's swarm: which of them fit together, and the request by which docker's daemon begins a swarm or joins one.
//! Must not know where that is written, nor who sends it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use cloud_machine_protocol::InterfaceName;
use serde_json::json;

use super::keys::{
    ADVERTISE, AVAILABILITY, DATA_PATH_ADDR, DEFAULT_LISTEN, DEFAULT_PORT, JOIN, LISTEN, ROLE, SWARM, SWARM_WORDS,
    TOKEN,
};
use crate::{
    check::invalid,
    error::ConfigError,
    loopback::is_loopback,
    scalar::{Scalar, Written},
    secret::SWARM_TOKEN,
    settings::{Kind, advice, stated, unfit},
    source::shortened,
    tree::{Entry, Node, Value, child_path},
};

/// Path of the settings.
pub(crate) const PATH: &str = "docker.swarm";
/// Parts of a token (moby/swarmkit, ca/config.go), in which each letter is one of base 36.
const TOKEN_LENGTHS: [usize; 2] = [50, 25];

/// Which part of a swarm a machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwarmRole {
    /// It decides with the other managers, and is a worker, too.
    Manager,
    /// It runs what the managers say.
    Worker,
}

/// A swarm that a machine is a part of.
#[derive(Clone, PartialEq, Eq)]
pub struct Swarm {
    /// Which part.
    pub role: SwarmRole,
    join: Option<(String, String)>,
    advertise: String,
    listen: String,
    data_path_addr: String,
    availability: String,
}

/// Its token lets machines into the swarm.
impl std::fmt::Debug for Swarm {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Swarm").field("role", &self.role).finish_non_exhaustive()
    }
}

impl Swarm {
    /// Whether it joins one that is there; else it begins one.
    #[must_use]
    pub const fn joins(&self) -> bool {
        self.join.is_some()
    }

    /// What docker's daemon is asked for, the body of its `/swarm/join` or `/swarm/init`. It may hold a token.
    #[must_use]
    pub fn request(&self) -> String {
        let mut request = json!({
            "ListenAddr": self.listen,
            "AdvertiseAddr": self.advertise,
            "DataPathAddr": self.data_path_addr,
            "Availability": self.availability,
        });
        if let Some((address, token)) = &self.join {
            request["RemoteAddrs"] = json!([address]);
            request["JoinToken"] = json!(token);
        }
        format!("{request}\n")
    }
}

/// The settings below `root`, when there are some. `{}` was written by somebody who wants a swarm; an empty value states nothing.
pub(crate) fn node(root: &Node) -> Option<&Node> {
    let is_empty = |swarm: &Node| matches!(&swarm.value, Value::Map(entries) if entries.is_empty());
    root.get("docker")?.get("swarm").filter(|swarm| is_empty(swarm) || !stated(swarm).is_empty())
}

/// The settings in `root`; what does not fit is reported.
pub(crate) fn swarm(root: &Node, errors: &mut Vec<ConfigError>) -> Option<Swarm> {
    let node = node(root)?;
    let before = errors.len();
    for entry in stated(node) {
        fits(entry, errors);
    }
    if errors.len() != before {
        // What is wrong by itself is compared with nothing.
        return None;
    }
    let value = |key: &str| node.get(key).and_then(text);
    let Some(role) = value(ROLE) else {
        let error = ConfigError::new(&node.source, node.mark, PATH, "nothing says which part of the swarm it is");
        errors.push(error.suggestion(Some(format!("`{ROLE}: manager` or `{ROLE}: worker`"))));
        return None;
    };
    let role = if role == "manager" { SwarmRole::Manager } else { SwarmRole::Worker };
    together(node, role, errors);
    no_live_restore(root, node, errors);
    Some(Swarm {
        role,
        join: value(JOIN).and_then(joined).zip(value(TOKEN).map(str::to_owned)),
        advertise: value(ADVERTISE).and_then(advertised).unwrap_or_default(),
        listen: value(LISTEN).and_then(listening).unwrap_or_else(|| DEFAULT_LISTEN.to_owned()),
        data_path_addr: value(DATA_PATH_ADDR).and_then(data_path).unwrap_or_default(),
        availability: value(AVAILABILITY).unwrap_or("active").to_owned(),
    })
}

/// A text that was written as one.
fn text(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Scalar(Scalar::Text(text)) if node.written != Written::Binary => Some(text),
        _ => None,
    }
}

/// Reports why `entry` is no setting, or has no value that this one can have.
fn fits(entry: &Entry, errors: &mut Vec<ConfigError>) {
    let (name, value) = (entry.key.text(), &entry.value);
    let path = child_path(PATH, &entry.key.as_text());
    let Some((_, allowed, _)) = SWARM.iter().find(|(known, ..)| *known == name) else {
        let known: Vec<&str> = SWARM.iter().map(|(known, ..)| *known).collect();
        if name.contains(SWARM_TOKEN) {
            let error = ConfigError::new(&value.source, entry.mark, PATH, "a token is in the place of a key");
            errors.push(error.suggestion(Some(format!("write it as the value of `{TOKEN}`"))));
            return;
        }
        let error = ConfigError::new(&value.source, entry.mark, &path, format!("unknown key `{}`", shortened(&name)));
        errors.push(error.allowed(known.join(", ")).suggestion(meant(&name)));
        return;
    };
    let Some(text) = text(value) else {
        errors.push(unfit(value, &path, allowed).suggestion(advice(value, &Kind::Text)));
        return;
    };
    let fits = match name.as_str() {
        ROLE => matches!(text, "manager" | "worker"),
        AVAILABILITY => matches!(text, "active" | "pause" | "drain"),
        TOKEN => is_token(text),
        JOIN => joined(text).is_some(),
        LISTEN => listening(text).is_some(),
        ADVERTISE => advertised(text).is_some(),
        _ => data_path(text).is_some(),
    };
    if !fits {
        let way_out = match name.as_str() {
            TOKEN => Some("take all that `docker swarm join-token --quiet` prints, without blanks"),
            JOIN => Some("write the address or the name of another machine, without a scheme"),
            ADVERTISE | DATA_PATH_ADDR => {
                Some("write an address by which other machines reach this one, or its interface")
            }
            _ => None,
        };
        let error = match name.as_str() {
            TOKEN => {
                ConfigError::new(&value.source, value.mark, &path, "this is no token of a swarm").allowed(*allowed)
            }
            _ => invalid(value, &path, allowed),
        };
        errors.push(error.suggestion(way_out.map(str::to_owned)));
    }
}

/// The key that was probably meant: docker's options have longer names, and its commands are no keys.
fn meant(name: &str) -> Option<String> {
    let name = name.replace('_', "-");
    if let Some((_, way_out)) = SWARM_WORDS.iter().find(|(word, _)| *word == name) {
        return Some((*way_out).to_owned());
    }
    let near = |(known, ..): &&(&str, &str, &str)| {
        name.strip_suffix("-addr") == Some(*known) || strsim::damerau_levenshtein(&name, known) <= 2
    };
    SWARM.iter().find(near).map(|(known, ..)| format!("did you mean `{known}`?"))
}

/// Reports a machine that could not get into a swarm, and a token that nobody would ask for.
fn together(node: &Node, role: SwarmRole, errors: &mut Vec<ConfigError>) {
    let has = |name: &str| node.get(name).filter(|value| !value.is_null());
    let (found, key, message, way_out) = match (role, has(JOIN), has(TOKEN)) {
        (SwarmRole::Worker, None, _) => {
            (node, "", "a worker needs `join`, the address of a manager", "write the address of a manager into `join`")
        }
        (SwarmRole::Worker, Some(join), None) => (join, JOIN, "a worker needs `token`", TOKEN_FROM),
        (SwarmRole::Manager, Some(join), None) => {
            let way_out = "write what `docker swarm join-token --quiet manager` prints there, or leave `join` out to begin a swarm";
            (join, JOIN, "a manager that joins others needs `token`", way_out)
        }
        (SwarmRole::Manager, None, Some(token)) => {
            let message = "a manager without `join` begins a swarm, and nobody asks it for a token";
            (token, TOKEN, message, "leave it out, or write the address of another manager into `join`")
        }
        _ => return,
    };
    let path = if key.is_empty() { PATH.to_owned() } else { child_path(PATH, key) };
    let error = ConfigError::new(&found.source, found.mark, &path, message);
    errors.push(error.suggestion(Some(way_out.to_owned())));
}

const TOKEN_FROM: &str = "write what `docker swarm join-token --quiet worker` prints on a manager";

/// dockerd refuses a swarm with it.
fn no_live_restore(root: &Node, swarm: &Node, errors: &mut Vec<ConfigError>) {
    let stated = super::node(root).and_then(|engine| engine.get("live-restore"));
    if let Some(found) = stated.filter(|value| matches!(value.value, Value::Scalar(Scalar::Bool(true)))) {
        let message = format!("docker is part of no swarm with this, and {PATH} is stated at line {}", swarm.mark.line);
        let path = child_path(super::PATH, "live-restore");
        let error = ConfigError::new(&found.source, found.mark, &path, message);
        errors.push(error.suggestion(Some("leave one of the two out".to_owned())));
    }
}

/// Whether docker would take it (moby/swarmkit, ca/config.go). Its version is 1, or 2 of a swarm that keeps to FIPS.
fn is_token(text: &str) -> bool {
    let base36 = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase());
    let rest = text.strip_prefix("SWMTKN-1-").or_else(|| text.strip_prefix("SWMTKN-2-1-"));
    let parts: Vec<&str> = rest.unwrap_or_default().split('-').collect();
    parts.iter().map(|part| part.len()).eq(TOKEN_LENGTHS) && parts.iter().all(|part| base36(part))
}

/// The address of a manager with its port, when there can be one.
fn joined(text: &str) -> Option<String> {
    let (host, port) = with_port(text)?;
    let port = port.unwrap_or(DEFAULT_PORT);
    match host.parse::<IpAddr>() {
        _ if is_loopback(host) => None,
        Ok(address) => is_of_a_host(address).then(|| with(host, port)),
        Err(_) => is_host_name(host).then(|| with(host, port)),
    }
}

/// Where a manager listens: docker wants the port in it.
fn listening(text: &str) -> Option<String> {
    let (host, port) = own(text)?;
    Some(with(host, port.unwrap_or(DEFAULT_PORT)))
}

/// Where the others reach the machine, which is an address of one: docker takes the port of `listen` where this has none.
fn advertised(text: &str) -> Option<String> {
    let (host, port) = own(text).filter(|(host, _)| is_reached(host))?;
    Some(port.map_or_else(|| host.to_owned(), |port| with(host, port)))
}

/// As [`advertised`], without a port.
fn data_path(text: &str) -> Option<String> {
    let (host, port) = own(text).filter(|(host, _)| is_reached(host))?;
    port.is_none().then(|| host.to_owned())
}

/// An address or an interface of the machine itself, and a port.
fn own(text: &str) -> Option<(&str, Option<u16>)> {
    with_port(text).filter(|(host, _)| match host.parse::<IpAddr>() {
        Ok(address) => is_of_a_host(address) || address.is_unspecified(),
        Err(_) => host.parse::<InterfaceName>().is_ok() && host.bytes().any(|byte| byte.is_ascii_alphabetic()),
    })
}

/// Whether another machine may reach it: `lo` is what Linux calls the loopback interface.
fn is_reached(host: &str) -> bool {
    host != "lo" && !is_loopback(host)
}

fn with(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Host and port of `HOST`, `HOST:PORT`, `[IPv6]`, `[IPv6]:PORT` and a bare IPv6.
fn with_port(text: &str) -> Option<(&str, Option<u16>)> {
    if text.parse::<Ipv6Addr>().is_ok() {
        return Some((text, None));
    }
    let (host, rest) = match text.strip_prefix('[') {
        Some(inside) => {
            let (host, rest) = inside.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            (host, rest)
        }
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    if rest.is_empty() {
        return Some((host, None));
    }
    let port = rest.strip_prefix(':').filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()))?;
    port.parse().ok().filter(|port| *port != 0).map(|port| (host, Some(port)))
}

fn is_of_a_host(address: IpAddr) -> bool {
    let address = address.to_canonical();
    !address.is_unspecified() && !address.is_multicast() && address != IpAddr::V4(Ipv4Addr::BROADCAST)
}

/// RFC 1123, section 2.1: its last part is not of digits, as that of an address is.
fn is_host_name(text: &str) -> bool {
    let label = |part: &str| {
        (1..=63).contains(&part.len())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= 253 && name.split('.').all(label) && last.bytes().any(|byte| !byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_a_manager_gets_its_port_and_what_cannot_be_one_is_none() {
        for (text, found) in [
            ("192.0.2.7", "192.0.2.7:2377"),
            ("manager.example:4000", "manager.example:4000"),
            ("m1", "m1:2377"),
            ("2001:db8::7", "[2001:db8::7]:2377"),
            ("[2001:db8::7]:4000", "[2001:db8::7]:4000"),
        ] {
            assert_eq!(joined(text).as_deref(), Some(found), "{text}");
        }
        for text in [
            "",
            ":2377",
            "192.0.2",
            "192.0.2.256",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "127.0.0.1",
            "::ffff:127.0.0.1",
            "[::ffff:127.0.0.1]:2377",
            "::ffff:0.0.0.0",
            "localhost:2377",
            "LOCALHOST.",
            "[::]",
            "ff02::1",
            "::1",
            "m:0",
            "m:65536",
            "m:+1",
            "m:",
            "m:1:2",
            "-m",
            "a..b",
            "https://m",
            "m/x",
            "[m]:1",
            "[::7",
            "a b",
        ] {
            assert_eq!(joined(text), None, "{text}");
        }
    }

    #[test]
    fn an_own_address_is_one_of_a_host_or_an_interface_in_dockers_own_form() {
        for (text, advertises, listens) in [
            ("192.0.2.7", "192.0.2.7", "192.0.2.7:2377"),
            ("192.0.2.7:4000", "192.0.2.7:4000", "192.0.2.7:4000"),
            ("eth0", "eth0", "eth0:2377"),
            ("enp1s0.7:4000", "enp1s0.7:4000", "enp1s0.7:4000"),
            ("2001:db8::7", "2001:db8::7", "[2001:db8::7]:2377"),
            ("[2001:db8::7]", "2001:db8::7", "[2001:db8::7]:2377"),
            ("[2001:db8::7]:4000", "[2001:db8::7]:4000", "[2001:db8::7]:4000"),
        ] {
            assert_eq!((advertised(text).as_deref(), listening(text).as_deref()), (Some(advertises), Some(listens)));
            let plain = (!advertises.contains(":4000")).then_some(advertises);
            assert_eq!(data_path(text).as_deref(), plain, "{text}: data have a port of their own");
        }
        for text in
            ["0.0.0.0", "[::]:2377", "127.0.0.1", "127.8.0.1:2377", "[::1]", "::ffff:127.0.0.1", "lo", "lo:2377"]
        {
            assert!(listening(text).is_some() && advertised(text).is_none() && data_path(text).is_none(), "{text}");
        }
        for text in ["", "300.1.1.1", "an-interface-with-a-long-name", "eth0:", "eth0:x", "224.0.0.1", "a/b", "eth0:0"]
        {
            assert!(listening(text).is_none() && advertised(text).is_none() && data_path(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_token_has_dockers_own_shape() {
        let (digest, secret) = ("3pu6hszjas19xyp7ghgosyx9k8atbfcr8p2is99znpy26u2lkl", "1awxwuwd3z9j1z3puu7rcgdbx");
        assert!(is_token(&format!("SWMTKN-1-{digest}-{secret}")) && is_token(&format!("SWMTKN-2-1-{digest}-{secret}")));
        for wrong in [
            String::new(),
            "SWMTKN-1-".to_owned(),
            format!("SWMTKN-1-{digest}"),
            format!("SWMTKN-3-{digest}-{secret}"),
            format!("SWMTKN-1-{secret}-{digest}"),
            format!("SWMTKN-1-{digest}-{secret}x"),
            format!("SWMTKN-1-{digest}-{secret}\n"),
            format!("SWMTKN-1-{}-{secret}", digest.to_uppercase()),
            format!("swmtkn-1-{digest}-{secret}"),
        ] {
            assert!(!is_token(&wrong), "{wrong}");
        }
    }
}
