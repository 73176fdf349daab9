//! What the host knows of a disk before anybody looks at it. Must not hold what was found on it.

use cloud_machine_protocol::{History, Request};

/// What the host knows of a disk, whatever is found on it.
#[derive(Clone, Copy)]
pub(crate) struct Known<'a> {
    /// UUID of its machine.
    pub(crate) machine: &'a str,
    /// What the host's record says of its content.
    pub(crate) history: History,
    /// Whether it may hold what a job left before the last reimage.
    pub(crate) kept: bool,
}

impl<'a> Known<'a> {
    /// What a request says of the disk `name`.
    pub(crate) fn of(request: &'a Request, name: &str) -> Self {
        Self { machine: &request.machine_uuid, history: request.history(name), kept: request.is_kept(name) }
    }
}
