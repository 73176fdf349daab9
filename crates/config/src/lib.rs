//! Documents, layers and one merged configuration in which each value knows its origin. Pure: it is handed bytes and
//! names, and must not read a file, the environment or an address.
//!
//! The way of a document: [`parse`] (or [`set`], [`unset`], [`environment`], [`defaults`]) gives a [`Document`],
//! [`merge`] gives [`Merged`], and [`validate`] gives [`Config`]. From the host into the guest, [`Merged::to_layers`] and
//! [`Document::from_layers`] carry all values with their origins.

mod access;
mod address_schema;
mod addresses;
mod authorized_key;
mod check;
mod cloud_init;
mod config;
mod data_folder;
pub mod describe;
mod disks;
mod docker;
mod document;
mod emit;
mod environment;
mod error;
mod exclude;
mod filesystem_schema;
mod foreign;
mod grammar;
mod gzip;
mod hint;
pub mod image_settings;
mod key_location;
mod key_path;
mod label;
mod layers;
mod limits;
mod loopback;
mod make_options;
mod media;
mod merge;
mod merged;
mod mountpoint;
mod needs;
mod network_config;
mod nic;
mod nic_schema;
mod nics;
mod no_cloud;
mod over;
mod parse;
mod partition_schema;
mod partition_type;
mod partitions;
mod paths;
mod policy;
mod pools;
#[cfg(test)]
mod properties;
mod rancher;
mod redact;
mod safety;
mod scalar;
mod schema;
mod secret;
mod set;
mod settings;
mod settle;
mod size;
mod source;
mod tags;
mod tree;
mod url;
mod validate;

pub use authorized_key::is_key_cut_off;
pub use cloud_init::{CloudInit, OVERRULED, foreign_key};
pub use config::{
    Address, Awaited, Config, DiskConfig, Disks, Drives, Filesystem, FilesystemType, IdentityConfig, Nic, OnReimage,
    PartitionConfig, PartitionSize, Resources, Route, Undeclared, WipeOnBoot,
};
pub use docker::{
    DockerEngine,
    swarm::{Swarm, SwarmRole},
};
pub use document::Document;
pub use environment::environment;
pub use error::{ConfigError, ConfigErrors};
pub use key_path::matches;
pub use layers::MAX_LAYERS;
pub use limits::{MAX_DEPTH, MAX_DOCUMENT, MAX_KEY, MAX_NODES, MAX_PATH, MAX_SCALAR};
pub use loopback::is_loopback;
pub use merge::{merge, merge_all};
pub use merged::{Hidden, Leaf, Merged};
pub use needs::{Presence, Programs, can_be_done, can_be_made};
pub use no_cloud::{NO_CLOUD, unread};
pub use parse::parse;
pub use policy::{
    Accept, AddressPolicy, MAX_RECOVERY, MAX_WAIT, MIN_RECOVERY, POLICY, Policy, VolumePolicy, WipePolicy,
    WithoutConfiguration,
};
pub use rancher::{Distribution, Rancher, Role};
pub use set::{DEFAULT_CPUS, DEFAULT_DRIVER, DEFAULT_RAM, defaults, named, set, stated, unset};
pub use source::{LayerKind, Location, Origin};
pub use url::CloudInitUrl;
pub use validate::validate;
