//! Documents, layers and one merged configuration in which each value knows its origin. Pure: it is handed bytes and
//! names, and must not read a file, the environment or an address.
//!
//! The way of a document: [`parse`] (or [`set`], [`defaults`]) gives a [`Document`], [`merge`] gives [`Merged`], and
//! [`validate`] gives [`Config`].

mod check;
mod config;
mod disks;
mod emit;
mod error;
mod grammar;
mod hint;
#[cfg(test)]
mod laws;
mod merge;
mod merged;
mod parse;
mod place;
mod scalar;
mod schema;
mod set;
mod source;
mod tree;
mod validate;

pub use config::{Address, Config, DiskConfig, IdentityConfig, Network, Nic, OnReimage, Resources, Undeclared};
pub use error::{ConfigError, ConfigErrors};
pub use merge::merge;
pub use merged::{Leaf, Merged};
pub use parse::{Document, MAX_DEPTH, MAX_DOCUMENT, MAX_KEY, MAX_NODES, MAX_SCALAR, parse};
pub use set::{DEFAULT_CPUS, DEFAULT_DRIVER, DEFAULT_RAM, defaults, set};
pub use source::{LayerKind, Origin, Place};
pub use validate::validate;
