//! Short cuts of the host below a machine's system disk: a fresh overlay on a golden disk, and a dirty map beside a raw
//! file. Owns files and block nodes of both; must not decide which is used.

mod map;
mod node;
mod overlay;
mod tools;

pub use map::{MAX_EXTENTS, is_newer_than_map, new_map, read_map};
pub use node::{mapped_node, overlay_node};
pub use overlay::new_overlay;

pub use crate::machine::DirtyMap;

#[cfg(test)]
#[path = "../disk_tests.rs"]
mod tests;
