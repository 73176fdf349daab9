//! What the project of a token holds, and how the API shows it.

use std::{collections::BTreeMap, net::Ipv4Addr};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    catalog::{Location, ServerType},
    limit::Limit,
    listing::Entry,
    machines::{Seen, Source},
};

pub(super) type Labels = BTreeMap<String, String>;

/// The moment, in seconds as the provider tells times.
pub(super) fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).expect("seconds of a time are a time")
}

/// A server.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) labels: Labels,
    pub(super) created: Timestamp,
    pub(super) kind: ServerType,
    pub(super) location: Location,
    /// Of the image that its disk was written with last.
    pub(super) image: u64,
    pub(super) address: Ipv4Addr,
    pub(super) ipv6: bool,
    pub(super) keys: Vec<String>,
    pub(super) user_data: Option<String>,
    /// The action that is about it, and how the server is called meanwhile.
    pub(super) busy: Option<(u64, &'static str)>,
}

/// An image: the provider's own or a snapshot.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) id: u64,
    /// Snapshots have none.
    pub(super) name: Option<String>,
    pub(super) description: String,
    pub(super) labels: Labels,
    pub(super) created: Timestamp,
    /// In GB.
    pub(super) disk_size: u64,
    /// In bytes, when the snapshot is made.
    pub(super) size: Option<u64>,
    /// Number and name of the server that a snapshot was made of.
    pub(super) created_from: Option<(u64, String)>,
}

/// A public key.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) labels: Labels,
    pub(super) created: Timestamp,
    pub(super) fingerprint: String,
    pub(super) public: String,
}

/// Something that takes its time.
#[derive(Clone, Debug)]
pub(super) struct Action {
    pub(super) id: u64,
    pub(super) command: &'static str,
    pub(super) progress: u64,
    pub(super) started: Timestamp,
    pub(super) finished: Option<Timestamp>,
    /// Why it failed, if it has.
    pub(super) error: Option<String>,
    pub(super) server: u64,
    /// The image that a server is written with, or that is made.
    pub(super) image: Option<u64>,
}

/// All of it.
#[derive(Debug)]
pub(super) struct State {
    pub(super) servers: BTreeMap<u64, Server>,
    pub(super) images: BTreeMap<u64, Image>,
    pub(super) keys: BTreeMap<u64, Key>,
    pub(super) actions: BTreeMap<u64, Action>,
    pub(super) limit: Limit,
    next: u64,
}

impl State {
    pub(super) fn new(limit: Limit) -> Self {
        let (servers, images, keys, actions) = Default::default();
        Self { servers, images, keys, actions, limit, next: 1_000_001 }
    }

    /// A number that nothing had before.
    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// By number, or the provider's own by name.
    pub(super) fn image(&self, reference: &str) -> Option<&Image> {
        self.images.values().find(|own| own.id.to_string() == reference || own.name.as_deref() == Some(reference))
    }

    /// By number or name.
    pub(super) fn key(&self, reference: &str) -> Option<&Key> {
        self.keys.values().find(|own| own.id.to_string() == reference || own.name == reference)
    }
}

impl Server {
    pub(super) fn show(&self, state: &State, seen: Option<Seen>) -> Value {
        let status = match (self.busy, seen) {
            (Some((_, status)), _) if !status.is_empty() => status,
            (_, Some(Seen { on: true, .. })) => "running",
            (_, Some(_)) => "off",
            (_, None) => "unknown",
        };
        let dns = format!("static.{}.clients.example", self.address.to_string().replace('.', "-"));
        let ipv4 = json!({"id": self.id + 1_000_000, "ip": self.address, "blocked": false, "dns_ptr": dns});
        let ipv6 = json!({"id": self.id + 2_000_000, "ip": format!("2001:db8:{:x}::/64", self.id & 0xffff), "blocked": false, "dns_ptr": []});
        json!({
            "id": self.id,
            "name": self.name,
            "status": status,
            "locked": self.busy.is_some(),
            "created": self.created,
            "labels": self.labels,
            "server_type": self.kind.show(),
            "location": self.location.show(),
            "datacenter": self.location.show_datacenter(),
            "image": state.images.get(&self.image).map(Image::show),
            "iso": null,
            "rescue_enabled": seen.is_some_and(|seen| seen.rescue),
            "public_net": {
                "ipv4": ipv4,
                "ipv6": if self.ipv6 { ipv6 } else { Value::Null },
                "floating_ips": [],
                "firewalls": [],
            },
            "private_net": [],
            "placement_group": null,
            "load_balancers": [],
            "volumes": [],
            "primary_disk_size": self.kind.disk,
            "protection": {"delete": false, "rebuild": false},
            "backup_window": null,
            "included_traffic": 20_u64 << 40,
            "ingoing_traffic": null,
            "outgoing_traffic": null,
        })
    }
}

impl Image {
    pub(super) fn source(&self) -> Source {
        self.name.clone().map_or(Source::Snapshot(self.id), Source::System)
    }

    pub(super) fn is_ready(&self) -> bool {
        self.name.is_some() || self.size.is_some()
    }

    pub(super) fn show(&self) -> Value {
        let version = self.name.as_deref().and_then(|name| name.split('-').nth(1));
        let in_gb = |bytes: u64| bytes as f64 / 1e9;
        json!({
            "id": self.id,
            "type": if self.name.is_some() { "system" } else { "snapshot" },
            "status": if self.is_ready() { "available" } else { "creating" },
            "name": self.name,
            "description": self.description,
            "labels": self.labels,
            "image_size": self.size.map(in_gb),
            "disk_size": self.disk_size,
            "created": self.created,
            "created_from": self.created_from.as_ref().map(|(id, name)| json!({"id": id, "name": name})),
            "bound_to": null,
            "os_flavor": "debian",
            "os_version": version,
            "architecture": "x86",
            "rapid_deploy": self.name.is_some(),
            "protection": {"delete": false},
            "deprecated": null,
            "deleted": null,
        })
    }
}

impl Key {
    pub(super) fn show(&self) -> Value {
        json!({
            "id": self.id,
            "name": self.name,
            "labels": self.labels,
            "created": self.created,
            "fingerprint": self.fingerprint,
            "public_key": self.public,
        })
    }
}

impl Action {
    pub(super) fn status(&self) -> &'static str {
        match (self.finished, &self.error) {
            (None, _) => "running",
            (Some(_), None) => "success",
            (Some(_), Some(_)) => "error",
        }
    }

    pub(super) fn show(&self) -> Value {
        let mut resources = vec![json!({"id": self.server, "type": "server"})];
        resources.extend(self.image.map(|id| json!({"id": id, "type": "image"})));
        json!({
            "id": self.id,
            "command": self.command,
            "status": self.status(),
            "progress": self.progress,
            "started": self.started,
            "finished": self.finished,
            "resources": resources,
            "error": self.error.as_ref().map(|message| json!({"code": "action_failed", "message": message})),
        })
    }
}

impl Entry for Server {
    fn id(&self) -> u64 {
        self.id
    }
    fn name(&self) -> &str {
        &self.name
    }
    fn since(&self) -> Timestamp {
        self.created
    }
    fn labels(&self) -> Option<&Labels> {
        Some(&self.labels)
    }
}

impl Entry for Image {
    fn id(&self) -> u64 {
        self.id
    }
    fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }
    fn since(&self) -> Timestamp {
        self.created
    }
    fn labels(&self) -> Option<&Labels> {
        Some(&self.labels)
    }
}

impl Entry for Key {
    fn id(&self) -> u64 {
        self.id
    }
    fn name(&self) -> &str {
        &self.name
    }
    fn since(&self) -> Timestamp {
        self.created
    }
    fn labels(&self) -> Option<&Labels> {
        Some(&self.labels)
    }
}

impl Entry for Action {
    fn id(&self) -> u64 {
        self.id
    }
    fn since(&self) -> Timestamp {
        self.started
    }
}
