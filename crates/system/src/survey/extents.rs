//! The partitions of one disk as ranges of bytes, for whoever removes what lies in them. Must not read a look that failed as
//! a disk without partitions.

use std::path::Path;

use cloud_machine_protocol::Extent;

use super::{
    look::{Answer, look},
    sysfs::{Facts, facts, nodes},
    types::{Content, Look},
};
use crate::{SystemError, attributes::SYSFS};

/// The partitions that the kernel has of `/dev/<name>` and those that its table lists. `None` when it cannot be told: the
/// disk cannot be read, the look at it died, or its signatures contradict each other.
///
/// # Errors
/// [`SystemError`] when the kernel has no such disk or says nothing of it.
pub(crate) fn partitions(name: &str) -> Result<Option<Vec<Extent>>, SystemError> {
    let folder = Path::new(SYSFS).join(name);
    let (content, table) = match seen(&folder, name)? {
        Answer::Seen { content, table } => (content, table),
        Answer::NoMedium => return Ok(None),
    };
    let entries = match (content, table) {
        (Content::Empty | Content::Unknown | Content::Found(_), Look::Found { value }) => {
            value.map(|found| found.entries)
        }
        (Content::Ambivalent { .. } | Content::Unreadable { .. } | Content::Silent { .. }, _)
        | (_, Look::Unreadable { .. }) => return Ok(None),
    };
    let listed = entries.unwrap_or_default().into_iter().map(|entry| (entry.offset, entry.length));
    let known = nodes(&folder)?.into_iter().map(|node| (node.offset, node.length));
    Ok(Some(listed.chain(known).map(|(offset, length)| Extent { offset, length }).collect()))
}

/// Whether no signature that is known lies on `/dev/<name>`, and that could be told.
///
/// # Errors
/// As [`partitions`].
pub(crate) fn is_unsigned(name: &str) -> Result<bool, SystemError> {
    let answer = seen(&Path::new(SYSFS).join(name), name)?;
    Ok(matches!(
        answer,
        Answer::Seen { content: Content::Empty | Content::Unknown, table: Look::Found { value: None } }
    ))
}

fn seen(folder: &Path, name: &str) -> Result<Answer, SystemError> {
    match facts(folder, name, true)? {
        Some(Facts { number, .. }) => Ok(look(name, number, None)),
        None => Err(SystemError::unexpected(folder.display().to_string(), name, "a whole disk")),
    }
}
