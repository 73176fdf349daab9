//! What dockerd takes for the keys of its daemon.json that are known here, for checks and for editors alike. Must not read
//! a document; a key that is not in the table is not wrong.

use crate::grammar::BOOLEAN;

/// Key that is none of daemon.json: variables of docker's environment.
pub(crate) const ENVIRONMENT: &str = "env";

/// A map of variables.
pub(crate) const VARIABLES: &str = "a map of texts, with a variable's name (a-z, A-Z, 0-9 and _) for each key";

/// What a value may be.
pub(crate) enum Kind {
    Text,
    Flag,
    Whole,
    /// A map of any form.
    Map,
    List(&'static Self),
    /// A map with names that its author chose, and a value of this kind below each.
    MapOf(&'static Self),
    /// A map of which these keys are known.
    Fields(&'static [(&'static str, Self)]),
}

use Kind::{Fields, Flag, List, Map, MapOf, Text, Whole};

const TEXTS: Kind = List(&Text);

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

impl Kind {
    /// In words.
    pub(crate) fn allowed(&self) -> String {
        match self {
            Text => "a text".to_owned(),
            Flag => BOOLEAN.to_owned(),
            Whole => "a whole number".to_owned(),
            Map => "a map".to_owned(),
            List(below) => format!("a list, of each item {}", below.allowed()),
            MapOf(below) => format!("a map, of each value {}", below.allowed()),
            Fields(fields) => {
                let fields: Vec<String> =
                    fields.iter().map(|(name, kind)| format!("{name}: {}", kind.allowed())).collect();
                format!("a map {{{}}}", fields.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_there_once_in_order() {
        assert!(KEYS.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(kind(ENVIRONMENT).is_none());
    }

    #[test]
    fn kinds_in_words() {
        let allowed = |name| kind(name).map(Kind::allowed).unwrap();
        assert_eq!(allowed("labels"), "a list, of each item a text");
        assert_eq!(allowed("features"), "a map, of each value true or false");
        assert_eq!(allowed("default-address-pools"), "a list, of each item a map {base: a text, size: a whole number}");
    }
}
