//! What an attempt does with a disk of which the configuration decides nothing, in the report's words. Must not decide
//! about a data disk.

use cloud_machine_protocol::{Action, Method, Role};

/// What is done with a disk of which the configuration decides nothing, and with the system disk.
pub(crate) fn undecided(role: &Role, action: Action) -> Method {
    match (role, action) {
        (Role::Volume | Role::Drive, _) | (Role::ImageSource, Action::Reimage) => Method::Read,
        (Role::ImageSource, Action::Boot) | (Role::Undeclared, _) => Method::Ignored,
        (Role::Declared { .. }, Action::Reimage) => Method::Reimage,
        (Role::Declared { .. }, Action::Boot) => Method::Booted,
    }
}
