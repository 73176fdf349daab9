//! Where a key lies in the merged tree, for messages that point at it. Must not judge the value there.

use crate::{
    set::ROOT,
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
