//! What dockerd takes for the keys of its daemon.json that are known here, for checks and for editors alike. Must not read
//! a document; a key that is not in the table is not wrong.

use crate::settings::Kind::{self, Fields, Flag, List, Map, MapOf, Text, Whole};

/// Key that is none of daemon.json: variables of docker's environment.
pub(crate) const ENVIRONMENT: &str = "env";

/// A map of variables.
pub(crate) const VARIABLES: &str = "a map of texts, with a variable's name (a-z, A-Z, 0-9 and _) for each key";

const TEXTS: Kind = List(&Text);

pub(crate) const ROLE: &str = "role";
pub(crate) const JOIN: &str = "join";
pub(crate) const TOKEN: &str = "token";
pub(crate) const ADVERTISE: &str = "advertise";
pub(crate) const LISTEN: &str = "listen";
pub(crate) const DATA_PATH_ADDR: &str = "data-path-addr";
pub(crate) const AVAILABILITY: &str = "availability";
/// Port of a manager, where none is stated.
pub(crate) const DEFAULT_PORT: u16 = 2377;
/// Where a manager listens unless it is told, as docker's own program has it.
pub(crate) const DEFAULT_LISTEN: &str = "0.0.0.0:2377";

/// Keys of the swarm: each with what it may hold and what it states. A key that is not among them is wrong.
pub(crate) const SWARM: [(&str, &str, &str); 7] = [
    (ROLE, "manager or worker", "Which part of the swarm the machine is; it must be stated."),
    (
        JOIN,
        "HOST or HOST:PORT",
        "A manager of the swarm that it joins, such as 192.0.2.7:2377; a manager without it begins one.",
    ),
    (TOKEN, "a token of docker, SWMTKN-1-…", "What lets it into that swarm, a secret."),
    (ADVERTISE, OWN, "Where the others reach it."),
    (LISTEN, OWN, "Where a manager listens, 0.0.0.0:2377 by itself."),
    (
        DATA_PATH_ADDR,
        "an address or an interface of the machine",
        "Where its containers are reached by those of other nodes, `advertise` by itself.",
    ),
    (AVAILABILITY, "active, pause or drain", "Whether it is given containers, active by itself."),
];
const OWN: &str = "an address or an interface of the machine, with a port or without";

/// Words of docker's own program that are no keys here, each with the way out.
pub(crate) const SWARM_WORDS: [(&str, &str); 6] = [
    ("manager", "write `role: manager`"),
    ("worker", "write `role: worker`"),
    ("join-token", "write `token`"),
    ("remote-addr", "write `join`"),
    ("data-path", "write `data-path-addr`"),
    ("init", "leave it out: a manager without `join` begins a swarm"),
];

/// Keys of dockerd's "Daemon configuration file", sorted.
pub(crate) const KEYS: &[(&str, Kind)] = &[
    ("allow-nondistributable-artifacts", TEXTS),
    ("authorization-plugins", TEXTS),
    ("bip", Text),
    ("bip6", Text),
    ("bridge", Text),
    ("builder", Map),
    ("cgroup-parent", Text),
    ("containerd", Text),
    ("containerd-namespace", Text),
    ("containerd-plugins-namespace", Text),
    ("cpu-rt-period", Whole),
    ("cpu-rt-runtime", Whole),
    ("data-root", Text),
    ("debug", Flag),
    ("default-address-pools", List(&Fields(&[("base", Text), ("size", Whole)]))),
    ("default-cgroupns-mode", Text),
    ("default-gateway", Text),
    ("default-gateway-v6", Text),
    ("default-ipc-mode", Text),
    ("default-network-opts", MapOf(&MapOf(&Text))),
    ("default-runtime", Text),
    ("default-shm-size", Text),
    ("default-ulimits", MapOf(&Fields(&[("Name", Text), ("Hard", Whole), ("Soft", Whole)]))),
    ("dns", TEXTS),
    ("dns-opts", TEXTS),
    ("dns-search", TEXTS),
    ("exec-opts", TEXTS),
    ("exec-root", Text),
    ("experimental", Flag),
    ("features", MapOf(&Flag)),
    ("fixed-cidr", Text),
    ("fixed-cidr-v6", Text),
    ("group", Text),
    ("hosts", TEXTS),
    ("icc", Flag),
    ("init", Flag),
    ("init-path", Text),
    ("insecure-registries", TEXTS),
    ("ip", Text),
    ("ip-forward", Flag),
    ("ip-masq", Flag),
    ("ip6tables", Flag),
    ("iptables", Flag),
    ("ipv6", Flag),
    ("labels", TEXTS),
    ("live-restore", Flag),
    ("log-driver", Text),
    ("log-format", Text),
    ("log-level", Text),
    ("log-opts", MapOf(&Text)),
    ("max-concurrent-downloads", Whole),
    ("max-concurrent-uploads", Whole),
    ("max-download-attempts", Whole),
    ("metrics-addr", Text),
    ("mtu", Whole),
    ("no-new-privileges", Flag),
    ("node-generic-resources", TEXTS),
    ("oom-score-adjust", Whole),
    ("pidfile", Text),
    ("proxies", MapOf(&Text)),
    ("raw-logs", Flag),
    ("registry-mirrors", TEXTS),
    ("runtimes", MapOf(&Map)),
    ("seccomp-profile", Text),
    ("selinux-enabled", Flag),
    ("shutdown-timeout", Whole),
    ("storage-driver", Text),
    ("storage-opts", TEXTS),
    ("swarm-default-advertise-addr", Text),
    ("tls", Flag),
    ("tlscacert", Text),
    ("tlscert", Text),
    ("tlskey", Text),
    ("tlsverify", Flag),
    ("userland-proxy", Flag),
    ("userland-proxy-path", Text),
    ("userns-remap", Text),
];

/// The kind of the key `name`, if it is known.
pub(crate) fn kind(name: &str) -> Option<&'static Kind> {
    KEYS.iter().find(|(known, _)| *known == name).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_there_once_in_order() {
        assert!(KEYS.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(kind(ENVIRONMENT).is_none());
    }
}
