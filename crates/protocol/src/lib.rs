//! The words that guest and host say to each other: names, digests, sizes, the request, the inventory,
//! steps, messages and the report. Types only: nothing here reads, writes, decides or prints.

mod alive;
mod assurance;
pub mod bake;
mod bus;
mod connection;
mod digest;
pub mod escape;
mod hex;
mod host_key;
mod identity;
mod image_name;
mod inventory;
mod machine_facts;
mod maker;
mod message;
mod method;
mod name;
mod partition;
mod probe;
pub mod recovery;
mod report;
mod request;
mod secret_url;
mod size;
mod step;
mod text;
mod tier;
pub mod volume;

pub use alive::{ALIVE, LOG_PREFIX, PROBE_ARGUMENT};
pub use assurance::{Assurance, RescueHostKey, RootOfTrust};
pub use bus::{Bus, disk_letters};
pub use connection::{Connection, InterfaceName};
pub use digest::{Algorithm, Digest};
pub use host_key::HostKeySeed;
pub use identity::{Identity, MacAddress, MachineId, SecretPolicy};
pub use image_name::ImageName;
pub use inventory::{Disk, Inventory};
pub use machine_facts::{
    AddressFacts, DiskFacts, FACTS_KIND, FACTS_VERSION, FactsDocument, FactsError, Firmware, InterfaceFacts, MAX_FACTS,
    MachineFacts,
};
pub use maker::MAKERS;
pub use message::{
    AgentMessage, Event, Hello, HostMessage, MAX_LINE, MAX_LINES, MAX_READ, MAX_REPORT, PORT_NAME, Read, Secrets,
};
pub use method::{DataContent, Method, PartitionMethod, Provenance};
pub use name::{DeviceSelector, DiskName, MachineName, NicName, ParseError};
pub use partition::{NewPartition, NewTable, Partition, PartitionLocation, Partitions};
pub use probe::{Probe, Signature};
pub use report::{
    AgentEvidence, ChangedExtents, ConfigEvidence, DeviceRecord, DiskEvidence, DriveEvidence, Extent, IdentityItem,
    IgnoredVolume, ImageEvidence, MAX_CHANGED_EXTENTS, Report, ReportResult, Role, RootEvidence, SourceEvidence,
    Timing, UrlEvidence,
};
pub use request::{Action, DriveRequest, Exception, History, ImageRequest, ImageSource, ImageUrl, Nonce, Request};
pub use secret_url::SecretUrl;
pub use size::ByteSize;
pub use step::{Mount, Outcome, Step, StepId, StepRecord, WipeMethod};
pub use text::{causes, each_cause, escaped, safe_json};
pub use tier::Tier;

/// Version of every document that crosses from host to guest or back. A reader refuses any other.
pub const FORMAT_VERSION: u32 = 3;

/// Reads only the `version` field, so that a document of another version is refused by its number and not by
/// whichever field happens to differ.
///
/// # Errors
/// The JSON parser's error when `bytes` is no JSON object with an unsigned `version`.
pub fn version_of(bytes: &[u8]) -> Result<u32, serde_json::Error> {
    #[derive(serde::Deserialize)]
    struct Versioned {
        version: u32,
    }
    serde_json::from_slice::<Versioned>(bytes).map(|document| document.version)
}
