//! Labels of filesystems. Must not know which disks there are.

use crate::config::Filesystem;

/// Labels by which a system finds its configuration; a filesystem that jobs write must never have one.
const CONFIGURATION_LABELS: [&str; 3] = ["CLOUD-INIT", "CIDATA", "CONFIG-2"];

/// What is wrong with the label of `filesystem`.
pub(crate) fn label(filesystem: &Filesystem) -> Option<String> {
    let (label, room) = (filesystem.label.as_ref()?, filesystem.kind.label_room());
    if CONFIGURATION_LABELS.iter().any(|reserved| label.eq_ignore_ascii_case(reserved)) {
        return Some(format!("the label `{label}` is one by which a system finds its configuration"));
    }
    let word = filesystem.kind.word();
    (label.len() > room).then(|| format!("the label `{label}` has {} bytes, {word} has room for {room}", label.len()))
}
