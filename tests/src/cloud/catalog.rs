//! What the provider sells: types of servers and places. Invented numbers in the provider's form.

use serde_json::{Value, json};

use super::{
    listing,
    refusal::Refusal,
    wire::{Answer, Request},
};

/// A type of server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ServerType {
    pub(super) id: u64,
    pub(super) name: &'static str,
    pub(super) architecture: &'static str,
    pub(super) cores: u64,
    /// In GB, as `disk` is.
    pub(super) memory: u64,
    pub(super) disk: u64,
    /// Net, in an hour, in hundredths of a cent.
    price: u64,
    /// No longer sold.
    pub(super) deprecated: bool,
}

const fn x86(id: u64, name: &'static str, cores: u64, memory: u64, disk: u64, price: u64) -> ServerType {
    ServerType { id, name, architecture: "x86", cores, memory, disk, price, deprecated: false }
}

/// The types, cheapest of each kind first.
pub(super) const SERVER_TYPES: [ServerType; 6] = [
    ServerType { deprecated: true, ..x86(104, "cx22", 2, 4, 40, 60) },
    x86(114, "cx23", 2, 4, 40, 56),
    x86(115, "cx33", 4, 8, 80, 88),
    x86(116, "cx43", 8, 16, 160, 152),
    x86(97, "ccx13", 2, 8, 80, 200),
    ServerType { architecture: "arm", ..x86(45, "cax11", 2, 4, 40, 64) },
];

/// A place with a data centre.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) id: u64,
    pub(super) name: &'static str,
    city: &'static str,
    country: &'static str,
}

/// The places.
pub(super) const LOCATIONS: [Location; 3] = [
    Location { id: 1, name: "fsn1", city: "Falkenstein", country: "DE" },
    Location { id: 2, name: "nbg1", city: "Nuremberg", country: "DE" },
    Location { id: 3, name: "hel1", city: "Helsinki", country: "FI" },
];

/// By name or number.
pub(super) fn server_type(reference: &str) -> Option<ServerType> {
    SERVER_TYPES.into_iter().find(|own| own.name == reference || own.id.to_string() == reference)
}

/// By name or number.
pub(super) fn location(reference: &str) -> Option<Location> {
    LOCATIONS.into_iter().find(|own| own.name == reference || own.id.to_string() == reference)
}

impl ServerType {
    pub(super) fn show(self) -> Value {
        let euros = |hundredths: u64| format!("{}.{:04}0000", hundredths / 10_000, hundredths % 10_000);
        let price = |net: u64| json!({"net": euros(net), "gross": euros(net * 119 / 100)});
        let prices = LOCATIONS.map(|place| {
            json!({
                "location": place.name,
                "price_hourly": price(self.price),
                "price_monthly": price(self.price * 624),
                "included_traffic": 20_u64 << 40,
                "price_per_tb_traffic": price(10_000),
            })
        });
        let deprecation = self
            .deprecated
            .then(|| json!({"announced": "2025-10-16T00:00:00Z", "unavailable_after": "2026-01-01T00:00:00Z"}));
        // The last two are newer than the description; the provider's library wants them.
        let locations = LOCATIONS.map(|place| {
            json!({
                "id": place.id,
                "name": place.name,
                "deprecation": deprecation,
                "available": !self.deprecated,
                "recommended": !self.deprecated,
            })
        });
        let shared = !self.name.starts_with("ccx");
        json!({
            "id": self.id,
            "name": self.name,
            "description": self.name.to_uppercase(),
            "category": if shared { "Shared vCPU" } else { "Dedicated vCPU" },
            "cores": self.cores,
            "memory": self.memory,
            "disk": self.disk,
            "architecture": self.architecture,
            "cpu_type": if shared { "shared" } else { "dedicated" },
            "storage_type": "local",
            "deprecated": self.deprecated,
            "deprecation": deprecation,
            "locations": locations,
            "prices": prices,
        })
    }
}

impl Location {
    pub(super) fn show(self) -> Value {
        json!({
            "id": self.id,
            "name": self.name,
            "description": format!("{} DC Park 1", self.city),
            "city": self.city,
            "country": self.country,
            "latitude": 50.5,
            "longitude": 12.4,
            "network_zone": "eu-central",
        })
    }

    pub(super) fn show_datacenter(self) -> Value {
        let all: Vec<u64> = SERVER_TYPES.iter().map(|own| own.id).collect();
        let sold: Vec<u64> = SERVER_TYPES.iter().filter(|own| !own.deprecated).map(|own| own.id).collect();
        json!({
            "id": self.id + 1,
            "name": format!("{}-dc1", self.name),
            "description": format!("{} DC 1", self.city),
            "location": self.show(),
            "server_types": {"supported": all, "available": sold, "available_for_migration": sold},
        })
    }
}

/// Types and places are read alike: `GET /KEY` and `GET /KEY/ID`.
pub(super) fn server_types(request: &Request, id: Option<&str>) -> Result<Answer, Refusal> {
    let all = SERVER_TYPES.iter().map(|own| (own.id, own.name, own.show())).collect();
    read(request, id, "server_types", "server_type", all)
}

pub(super) fn locations(request: &Request, id: Option<&str>) -> Result<Answer, Refusal> {
    let all = LOCATIONS.iter().map(|own| (own.id, own.name, own.show())).collect();
    read(request, id, "locations", "location", all)
}

fn read(
    request: &Request,
    id: Option<&str>,
    plural: &str,
    singular: &str,
    all: Vec<(u64, &'static str, Value)>,
) -> Result<Answer, Refusal> {
    if let Some(id) = id {
        let found = all.into_iter().find(|(own, ..)| own.to_string() == id);
        let (.., shown) = found.ok_or_else(|| Refusal::not_found(singular))?;
        return Ok(Answer::new(200, json!({singular: shown})));
    }
    let name = request.one("name");
    let chosen = all.into_iter().filter(|(_, own, _)| name.is_none_or(|name| name == *own));
    listing::page(request, plural, chosen.map(|(.., shown)| shown).collect())
}
