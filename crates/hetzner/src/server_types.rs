//! What the provider sells: types of servers and places. Must not choose.

use std::time::Instant;

use cloud_machine_protocol::ByteSize;
use serde::{Deserialize, Serialize};

use crate::{ApiError, Call, Client, images::ARCHITECTURE, servers::Named};

/// A type of server that can be had somewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerType {
    /// Such as `cx23`. The provider's text, which must be escaped where it is shown.
    pub name: String,
    /// Such as `x86`.
    pub architecture: String,
    /// Processors.
    pub cpus: u32,
    /// Memory. The provider's GB are counted as GiB: they are what the machine is started with.
    pub ram: ByteSize,
    /// The disk. The provider's GB are counted as decimal ones, of which a disk has never less.
    pub disk: ByteSize,
    /// Where it can be had, deprecated offers left out.
    pub offers: Vec<Offer>,
}

/// A place where a type can be had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Such as `fsn1`.
    pub location: String,
    /// Net price of an hour in the currency of the project, in millionths of a millionth; `None` where none was told.
    pub price: Option<u64>,
}

impl ServerType {
    /// Whether it is one of ours that can be had in the place, or somewhere without one.
    #[must_use]
    pub fn is_offered_in(&self, location: Option<&str>) -> bool {
        let is_there = |offer: &Offer| location.is_none_or(|location| offer.location == location);
        self.architecture == ARCHITECTURE && self.offers.iter().any(is_there)
    }
}

#[derive(Deserialize)]
struct Raw {
    name: String,
    architecture: String,
    cores: u32,
    memory: f64,
    disk: f64,
    #[serde(default)]
    deprecated: Option<bool>,
    #[serde(default)]
    deprecation: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    locations: Vec<RawLocation>,
    #[serde(default)]
    prices: Vec<RawPrice>,
}

#[derive(Deserialize)]
struct RawLocation {
    name: String,
    #[serde(default)]
    deprecation: Option<serde::de::IgnoredAny>,
    /// Newer than the published description.
    #[serde(default)]
    available: Option<bool>,
}

#[derive(Deserialize)]
struct RawPrice {
    location: String,
    price_hourly: RawAmount,
}

#[derive(Deserialize)]
struct RawAmount {
    net: String,
}

impl Raw {
    fn offers(&self) -> Vec<Offer> {
        if self.deprecated == Some(true) || self.deprecation.is_some() {
            return Vec::new();
        }
        let price = |location: &str| {
            let price = self.prices.iter().find(|price| price.location == location);
            price.and_then(|price| amount(&price.price_hourly.net))
        };
        let offer = |location: &String| Offer { location: location.clone(), price: price(location) };
        if self.locations.is_empty() {
            return self.prices.iter().map(|price| offer(&price.location)).collect();
        }
        let sold = self.locations.iter().filter(|own| own.deprecation.is_none() && own.available != Some(false));
        sold.map(|location| offer(&location.name)).collect()
    }
}

impl From<Raw> for ServerType {
    fn from(raw: Raw) -> Self {
        let offers = raw.offers();
        // Fractions of a GB occur; whoever has nonsense there gets 0, which satisfies nobody.
        let ram = ByteSize((raw.memory * 1024.0).floor() as u64 * ByteSize::MIB);
        let disk = ByteSize((raw.disk * 1000.0).floor() as u64 * 1_000_000);
        Self { name: raw.name, architecture: raw.architecture, cpus: raw.cores, ram, disk, offers }
    }
}

/// A decimal number such as `0.0056000000`, exactly, in millionths of a millionth.
fn amount(text: &str) -> Option<u64> {
    const DIGITS: usize = 12;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fraction = fraction.get(..DIGITS).unwrap_or(fraction);
    format!("{whole}{fraction:0<DIGITS$}").parse().ok()
}

impl Client {
    /// All types of servers, with the places where they can be had.
    ///
    /// # Errors
    /// Any [`ApiError`] of a call.
    pub fn server_types(&self, until: Instant) -> Result<Vec<ServerType>, ApiError> {
        let call = Call::new("list the server types", "");
        let raw: Vec<Raw> = self.list(&call, ("server_types", "server_types"), &[], until)?;
        Ok(raw.into_iter().map(ServerType::from).collect())
    }

    /// Names of all places.
    ///
    /// # Errors
    /// Any [`ApiError`] of a call.
    pub fn locations(&self, until: Instant) -> Result<Vec<String>, ApiError> {
        let named: Vec<Named> =
            self.list(&Call::new("list the locations", ""), ("locations", "locations"), &[], until)?;
        Ok(named.into_iter().map(|location| location.name).collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(change: Value) -> ServerType {
        let mut raw = json!({
            "name": "cx23", "architecture": "x86", "cores": 2, "memory": 4, "disk": 40, "deprecated": false,
            "deprecation": null, "unheard_of": {},
            "locations": [
                {"name": "fsn1", "deprecation": null},
                {"name": "nbg1", "deprecation": {"announced": "2025-10-16T00:00:00Z"}},
                {"name": "hel1", "deprecation": null, "available": false},
            ],
            "prices": [{"location": "fsn1", "price_hourly": {"net": "0.0056000000", "gross": "x"}}],
        });
        raw.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        serde_json::from_value::<Raw>(raw).unwrap().into()
    }

    #[test]
    fn only_what_can_be_had_is_an_offer() {
        let kind = read(json!({}));
        assert_eq!(kind.offers, [Offer { location: "fsn1".to_owned(), price: Some(5_600_000_000) }]);
        assert_eq!((kind.ram, kind.disk), (ByteSize(4 << 30), ByteSize(40_000_000_000)));
        assert!(kind.is_offered_in(None) && kind.is_offered_in(Some("fsn1")) && !kind.is_offered_in(Some("nbg1")));
        assert!(read(json!({"deprecated": true})).offers.is_empty());
        assert!(read(json!({"deprecation": {"announced": "x"}})).offers.is_empty());
        assert!(!read(json!({"architecture": "arm"})).is_offered_in(None));
        // An older answer, without places of its own.
        assert_eq!(read(json!({"locations": []})).offers.len(), 1);
        assert_eq!(read(json!({"memory": 0.5})).ram, ByteSize(512 << 20));
        assert_eq!(read(json!({"memory": -1.0})).ram, ByteSize(0));
    }

    #[test]
    fn prices_are_read_exactly() {
        for (text, expected) in [
            ("0.0056000000", Some(5_600_000_000)),
            ("1", Some(1_000_000_000_000)),
            ("1.0000000000009999", Some(1_000_000_000_000)),
            ("1.0000000000010000", Some(1_000_000_000_001)),
            ("", None),
            (".5", None),
            ("-1", None),
            ("1e3", None),
            ("999999999999", None),
        ] {
            assert_eq!(amount(text), expected, "{text}");
        }
    }
}
