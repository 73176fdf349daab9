//! Notes on the keys of the network interface. Must not repeat what the grammar knows.

use super::notes::{Form, MAP, Note};

/// The notes.
pub(super) const NOTES: [Note; 24] = [
    Note { path: "resources.nic", summary: "The network interface.", ..MAP },
    mac("resources.nic.mac"),
    Note {
        path: "resources.nic.network",
        summary: "What it is connected to: the driver's own network, nothing, or a bridge or tap device of the host.",
        form: Form::Words(&["user", "none"]),
        default: "user",
        example: "user",
        ..FIXED
    },
    bridge("resources.nic.network.bridge"),
    tap("resources.nic.network.tap"),
    Note {
        path: "resources.nic.host-access",
        summary: "Whether the machine reaches what listens on the host's loopback interface, as 10.0.2.2. Only for `network: user`; \
            `network: none` allows `false`.",
        form: Form::Flag(&[]),
        default: "false",
        example: "true",
        ..FIXED
    },
    Note {
        path: "resources.nic.address",
        summary: "How it gets its addresses: from a DHCP server, or as they are written. What else is written holds in either case.",
        form: Form::Words(&["dhcp"]),
        default: "dhcp",
        example: "dhcp",
        ..FIXED
    },
    addresses("resources.nic.address.addresses"),
    Note {
        path: "resources.nic.address.gateways",
        summary: "The routers that lead everywhere else, in the subnet of one of the addresses.",
        form: Form::Matching(IP),
        default: "those of the DHCP server; none with `addresses`",
        example: "[192.0.2.1]",
        ..FIXED
    },
    Note {
        path: "resources.nic.address.dns",
        summary: "Servers that know the addresses of names. With them the system's `/etc/resolv.conf` is written.",
        form: Form::Matching(IP),
        default: "as the image's system learns them from the DHCP server",
        example: "[192.0.2.53]",
        ..FIXED
    },
    Note {
        path: "resources.nic.address.search",
        summary: "Domains in which short names are looked for.",
        form: Form::Matching("^[a-zA-Z0-9_][a-zA-Z0-9_.-]*$"),
        default: "none",
        example: "[corp.example]",
        ..FIXED
    },
    routes("resources.nic.address.routes"),
    mtu("resources.nic.address.mtu"),
    vlan("resources.nic.address.vlan"),
    Note {
        path: "resources.nics",
        summary: "Further network interfaces by name, which the system of the machine calls them by; at most eight.",
        example: "{storage: {network: {bridge: br1}}}",
        ..MAP
    },
    mac("resources.nics.*.mac"),
    Note {
        path: "resources.nics.*.network",
        summary: "What it is connected to. The user network is for `nic` alone.",
        ..MAP
    },
    bridge("resources.nics.*.network.bridge"),
    tap("resources.nics.*.network.tap"),
    Note {
        path: "resources.nics.*.address",
        summary: "How it gets its addresses. Of a DHCP server it takes no more than the address: the way out and the servers of names \
            are those of `nic`.",
        form: Form::Words(&["dhcp"]),
        default: "dhcp",
        example: "dhcp",
        ..FIXED
    },
    addresses("resources.nics.*.address.addresses"),
    routes("resources.nics.*.address.routes"),
    mtu("resources.nics.*.address.mtu"),
    vlan("resources.nics.*.address.vlan"),
];

const IP: &str = "^[0-9a-fA-F.:]+$";

const FIXED: Note = Note { safety: "must stay as it is", ..MAP };

const fn mac(path: &'static str) -> Note {
    Note {
        path,
        summary: "Its hardware address; `auto` lets the host choose one that stays.",
        form: Form::Mac,
        default: "auto",
        example: "\"52:54:00:12:34:56\"",
        ..FIXED
    }
}

const fn bridge(path: &'static str) -> Note {
    Note {
        path,
        summary: "Bridge of the host that it is connected to, by QEMU's bridge helper.",
        form: Form::Interface,
        default: "none",
        example: "br0",
        ..FIXED
    }
}

const fn tap(path: &'static str) -> Note {
    Note {
        path,
        summary: "Tap device of the host that it is connected to; whoever made it has connected its other end.",
        form: Form::Interface,
        default: "none",
        example: "tap0",
        ..FIXED
    }
}

const fn addresses(path: &'static str) -> Note {
    Note {
        path,
        summary: "The machine's addresses, each with the length of its subnet's prefix.",
        form: Form::Matching("^[0-9a-fA-F.:]+/[0-9]{1,3}$"),
        default: "a DHCP server gives one",
        example: "[192.0.2.7/24, \"2001:db8::7/64\"]",
        ..FIXED
    }
}

const fn routes(path: &'static str) -> Note {
    Note {
        path,
        summary: "Ways to other networks, each a network and the router that leads there.",
        form: Form::Matching("^[0-9a-fA-F.:]+/[0-9]{1,3} +via +[0-9a-fA-F.:]+$"),
        default: "none",
        example: "[198.51.100.0/24 via 192.0.2.254]",
        ..FIXED
    }
}

const fn mtu(path: &'static str) -> Note {
    Note {
        path,
        summary: "Largest packet; at least 1280 with IPv6 and on a bridge or tap.",
        form: Form::Count(576, 65535),
        unit: "Bytes.",
        default: "as the network has it",
        example: "1400",
        ..FIXED
    }
}

const fn vlan(path: &'static str) -> Note {
    Note {
        path,
        summary: "VLAN (IEEE 802.1Q) in which the addresses are; the interface itself keeps only the one that it gives itself.",
        form: Form::Count(1, 4094),
        default: "none",
        example: "100",
        ..FIXED
    }
}
