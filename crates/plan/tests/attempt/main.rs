//! Plans of whole attempts, and reports about them.
#![allow(clippy::unwrap_used, clippy::panic)]

mod documents;
mod fields;
mod filesystems;
mod fixture;
mod honest;
mod image_source;
mod media;
mod partitions;
mod preview;
mod properties;
mod refusals;
mod root_pool;
mod tiers;
mod trust;
mod verify;
mod wiping;
