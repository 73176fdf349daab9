//! What a running machine says of itself, by which it is known later: written by the agent on it, read by the host. Must not
//! trust a word: every text has a bound and a grammar when it is read.

use std::{fmt::Display, str::FromStr};

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use uuid::Uuid;

use crate::{InterfaceName, MacAddress, MachineId, escape};

/// Most bytes of a text: the kernel's attributes and the agent's escapes of them end there.
const MAX_TEXT: usize = 256;
/// Most entries of a list.
const MAX_ENTRIES: usize = 256;
/// Bytes of a whole document.
pub const MAX_FACTS: usize = 1 << 20;

/// What a machine is, in its own words: promises, none of them proven.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineFacts {
    /// Contents of `/etc/machine-id` of the system that runs; `None` where it has none. A rescue system has its own.
    pub machine_id: Option<MachineId>,
    /// Host name of the system that runs.
    #[serde(deserialize_with = "text")]
    pub hostname: String,
    /// UUID of the machine in its SMBIOS table; `None` where the firmware names none, or not to this user.
    #[serde(default)]
    pub product_uuid: Option<Uuid>,
    /// How the running system was started.
    pub firmware: Firmware,
    /// Ethernet interfaces of a device, sorted by name; bridges, bonds, VLANs and the like are none.
    #[serde(deserialize_with = "list")]
    pub interfaces: Vec<InterfaceFacts>,
    /// Disks of a device, sorted by name; partitions, loop devices, arrays, volumes and optical drives are none.
    #[serde(deserialize_with = "list")]
    pub disks: Vec<DiskFacts>,
    /// Whether the root filesystem lies on none of the disks, as that of a rescue system does.
    pub in_memory: bool,
}

/// What started the operating system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Firmware {
    /// A PC BIOS, or nothing that the kernel knows.
    Bios,
    /// UEFI.
    Uefi,
}

/// One Ethernet interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InterfaceFacts {
    /// Name of the kernel, or of who renamed it.
    pub name: InterfaceName,
    /// Its hardware address now.
    pub mac: MacAddress,
    /// Its addresses, link-local ones too. Those of a bridge or bond above it are not among them.
    #[serde(deserialize_with = "list")]
    pub addresses: Vec<AddressFacts>,
}

/// One address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddressFacts {
    /// Address and prefix of its subnet, such as `192.0.2.7/24`.
    #[serde(serialize_with = "write", deserialize_with = "parsed")]
    pub address: IpNet,
    /// Whether it ends at some time, as one of a DHCP lease or of a router's advertisement does.
    pub dynamic: bool,
}

/// One disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskFacts {
    /// Kernel name, such as `vda`.
    #[serde(deserialize_with = "text")]
    pub name: String,
    /// Serial number, where it says one.
    #[serde(default, deserialize_with = "maybe_text")]
    pub serial: Option<String>,
    /// World wide name, where it has one.
    #[serde(default, deserialize_with = "maybe_text")]
    pub wwn: Option<String>,
    /// Bytes.
    pub size: u64,
    /// What it is attached by, as `inventory` says it: `virtio`, `nvme`, `ata`, `sas` and so on.
    #[serde(default, deserialize_with = "maybe_text")]
    pub bus: Option<String>,
    /// Its maker's name for it.
    #[serde(default, deserialize_with = "maybe_text")]
    pub model: Option<String>,
    /// Whether the root filesystem of the running system lies on it, or may.
    pub holds_root: bool,
}

/// The document that `cloud-machine-agent facts` prints.
#[derive(Debug, Serialize, Deserialize)]
pub struct FactsDocument<T> {
    /// [`FACTS_KIND`].
    pub kind: String,
    /// [`FACTS_VERSION`].
    pub version: u32,
    /// The facts.
    pub value: T,
}

/// What a document of facts calls itself.
pub const FACTS_KIND: &str = "facts";
/// Version of a document of facts.
pub const FACTS_VERSION: u32 = 1;

/// Why a document of facts is none.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// It is longer than any.
    #[error("the machine's facts are longer than {MAX_FACTS} bytes")]
    TooLong,
    /// It is of an agent of another version.
    #[error("the machine's facts have format version {found}, this program reads version {FACTS_VERSION}")]
    Version {
        /// The version in it.
        found: u32,
    },
    /// It does not keep to the grammar.
    #[error("the machine's facts are invalid")]
    Invalid(#[source] serde_json::Error),
}

impl MachineFacts {
    /// Reads the document of an agent on a machine that is not trusted.
    ///
    /// # Errors
    /// [`FactsError`].
    pub fn read(document: &[u8]) -> Result<Self, FactsError> {
        if document.len() > MAX_FACTS {
            return Err(FactsError::TooLong);
        }
        match crate::version_of(document).map_err(FactsError::Invalid)? {
            FACTS_VERSION => {}
            found => return Err(FactsError::Version { found }),
        }
        let document: FactsDocument<Self> = serde_json::from_slice(document).map_err(FactsError::Invalid)?;
        if document.kind != FACTS_KIND {
            let found = escape::line(document.kind.as_bytes(), 40);
            return Err(FactsError::Invalid(serde_json::Error::custom(format!("the kind is {found}"))));
        }
        Ok(document.value)
    }
}

fn write<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn parsed<'de, T: FromStr, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    let text = text(deserializer)?;
    text.parse().map_err(|_| D::Error::custom(format!("{text:?} is no address with a prefix")))
}

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    checked(String::deserialize(deserializer)?)
}

fn maybe_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Option::<String>::deserialize(deserializer)?.map(checked).transpose()
}

/// The agent escapes everything but printable ASCII before it counts.
fn checked<E: serde::de::Error>(text: String) -> Result<String, E> {
    if !text.is_empty() && text.len() <= MAX_TEXT && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Ok(text);
    }
    let found = escape::line(text.as_bytes(), 80);
    Err(E::custom(format!("{found:?} is no text of 1 to {MAX_TEXT} printable letters of ASCII")))
}

fn list<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let list = Vec::deserialize(deserializer)?;
    if list.len() <= MAX_ENTRIES {
        return Ok(list);
    }
    Err(D::Error::custom(format!("a list has {} entries, and at most {MAX_ENTRIES} are read", list.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = r#"{"kind":"facts","version":1,"value":{"machine_id":"0123456789abcdef0123456789abcdef",
        "hostname":"db-1","product_uuid":"11111111-2222-3333-4444-555555555555","firmware":"uefi","interfaces":[{"name":"ens3",
        "mac":"52:54:00:12:34:56","addresses":[{"address":"192.0.2.7/24","dynamic":true},{"address":"fe80::1/64","dynamic":false}]}],
        "disks":[{"name":"vda","serial":"S 1","wwn":null,"size":1024,"bus":"virtio","holds_root":true}],"in_memory":false}}"#;

    fn refused(from: &str, to: &str) -> String {
        let document = DOCUMENT.replacen(from, to, 1);
        assert_ne!(document, DOCUMENT, "{from}");
        crate::causes(&MachineFacts::read(document.as_bytes()).unwrap_err())
    }

    #[test]
    fn what_an_agent_writes_is_read_back() {
        let facts = MachineFacts::read(DOCUMENT.as_bytes()).unwrap();
        assert_eq!(facts.interfaces[0].addresses[0].address, "192.0.2.7/24".parse().unwrap());
        assert_eq!(facts.disks[0].model, None);
        let document = FactsDocument { kind: FACTS_KIND.to_owned(), version: FACTS_VERSION, value: &facts };
        assert_eq!(MachineFacts::read(&serde_json::to_vec(&document).unwrap()).unwrap(), facts);
    }

    #[test]
    fn whatever_a_machine_says_has_a_bound_and_a_grammar() {
        for (from, to, reason) in [
            ("\"version\":1", "\"version\":2", "format version 2, this program reads version 1"),
            ("\"facts\"", "\"inventory\"", "the kind is inventory"),
            ("\"in_memory\"", "\"proven\":true,\"in_memory\"", "unknown field `proven`"),
            ("db-1", "db\\u001b[2J", "printable letters of ASCII"),
            ("db-1", "", "printable letters of ASCII"),
            ("S 1", &"x".repeat(257), "1 to 256 printable"),
            ("ens3", "a,b", "interface name"),
            ("52:54", "53:54", "MAC address"),
            ("192.0.2.7/24", "192.0.2.7/33", "is no address with a prefix"),
            ("0123456789abcdef0", "0", "machine-id"),
            ("1111-2222", "1111-222", "UUID"),
            ("\"uefi\"", "\"coreboot\"", "unknown variant"),
            (",\"size\":1024", "", "missing field `size`"),
        ] {
            let error = refused(from, to);
            assert!(error.contains(reason) && !error.chars().any(char::is_control), "{to}: {error}");
        }
        let many = r#"{"address":"192.0.2.7/24","dynamic":true},"#.repeat(256);
        let error = refused("\"addresses\":[", &format!("\"addresses\":[{many}"));
        assert!(error.contains("258 entries, and at most 256"), "{error}");
        assert!(matches!(MachineFacts::read(&vec![b' '; MAX_FACTS + 1]), Err(FactsError::TooLong)));
    }
}
