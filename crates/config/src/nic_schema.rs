//! The typed form of the network interfaces, as serde reads it. Must not hold a rule about more than one value.

use cloud_machine_protocol::{InterfaceName, MacAddress};
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Unexpected, Visitor, value::MapAccessDeserializer},
};

use crate::address_schema::AddressValue;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(crate) struct Nic {
    pub(crate) mac: Mac,
    pub(crate) network: NetworkValue,
    pub(crate) host_access: Option<bool>,
    pub(crate) address: AddressValue,
}

/// An interface besides that one. It is on no user network.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(crate) struct FurtherNic {
    pub(crate) mac: Mac,
    pub(crate) network: HostInterface,
    pub(crate) address: AddressValue,
}

/// `auto`, or an address.
#[derive(Debug, Default, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Mac(pub(crate) Option<MacAddress>);

impl TryFrom<String> for Mac {
    type Error = cloud_machine_protocol::ParseError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text == "auto" { Ok(Self(None)) } else { text.parse().map(|mac| Self(Some(mac))) }
    }
}

/// A word, or a map with an interface of the host.
#[derive(Debug, Default)]
pub(crate) enum NetworkValue {
    #[default]
    User,
    None,
    Of(HostInterface),
}

/// One of them is there; which of the two is a rule about both.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct HostInterface {
    pub(crate) bridge: Option<InterfaceName>,
    pub(crate) tap: Option<InterfaceName>,
}

impl<'de> Deserialize<'de> for NetworkValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NetworkVisitor)
    }
}

struct NetworkVisitor;

impl<'de> Visitor<'de> for NetworkVisitor {
    type Value = NetworkValue;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("user, none or a map with an interface")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<NetworkValue, E> {
        match text {
            "user" => Ok(NetworkValue::User),
            "none" => Ok(NetworkValue::None),
            _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<NetworkValue, A::Error> {
        HostInterface::deserialize(MapAccessDeserializer::new(map)).map(NetworkValue::Of)
    }
}
