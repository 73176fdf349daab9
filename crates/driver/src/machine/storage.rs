//! What makes a reimage short on a driver whose disks are files of this host. Must not name a format.

use std::path::Path;

use cloud_machine_protocol::Extent;

use crate::error::DriverError;

/// Files below a system disk that make a reimage short.
pub trait Storage: Send + Sync {
    /// Makes a fresh overlay of `size` bytes above a golden disk, in the place of one that is there.
    ///
    /// # Errors
    /// The driver's.
    fn new_overlay(&self, overlay: &Path, golden: &Path, size: u64) -> Result<(), DriverError>;

    /// Makes an empty map for a disk of `size` bytes, in the place of one that is there.
    ///
    /// # Errors
    /// The driver's.
    fn new_map(&self, map: &Path, size: u64) -> Result<(), DriverError>;

    /// What a map names.
    ///
    /// # Errors
    /// The driver's.
    fn read_map(&self, map: &Path, raw: &Path, size: u64) -> Result<DirtyMap, DriverError>;

    /// Whether the raw file was written after its map was closed.
    ///
    /// # Errors
    /// The driver's.
    fn is_newer_than_map(&self, raw: &Path, map: &Path) -> Result<bool, DriverError>;
}

/// What a map of writes names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DirtyMap {
    /// Everything that was written since the map was made lies in these extents, sorted.
    Extents(Vec<Extent>),
    /// More extents than are listed.
    TooMany,
    /// What marked it did not close it: it was killed, or the host lost power.
    Inconsistent,
    /// There is no map.
    Absent,
}
