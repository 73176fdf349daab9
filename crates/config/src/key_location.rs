//! Where a key lies in the merged tree, for messages that point at it. Must not judge the value there.

use cloud_machine_protocol::DiskName;

use crate::{
    error::ConfigError,
    grammar::ROOT,
    tree::{Node, child_path},
};

/// The node at `keys` below `machine`, or the last one on the way there, and its path.
pub(crate) fn locate<'tree>(machine: &'tree Node, keys: &[&str]) -> (&'tree Node, String) {
    let mut place = (machine, ROOT.to_owned());
    for key in keys {
        match place.0.get(key) {
            Some(below) => place = (below, child_path(&place.1, key)),
            None => break,
        }
    }
    place
}

/// An error about `key` of the disk `disk`, where that is written.
pub(crate) fn at(machine: &Node, disk: &DiskName, key: &str, message: &str) -> ConfigError {
    let (found, path) = locate(machine, &["resources", "disks", disk.as_str(), key]);
    ConfigError::new(&found.source, found.mark, &path, message)
}
