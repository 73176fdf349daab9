//! The words that we and libvirt have agreed on: the name of a variable, and what its refusals mean. Must not ask for them.

/// The environment variable that names a daemon.
pub const VARIABLE: &str = "CLOUD_MACHINE_LIBVIRT_URI";

/// The words with which libvirt refused, safe to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The words.
    pub(super) said: String,
}

impl Refusal {
    /// Whether QEMU found the port on 127.0.0.1 taken; the same words as without libvirt.
    pub(super) fn is_port_taken(&self) -> bool {
        self.said.contains("Could not set up host forwarding rule")
    }

    /// Whether there is a domain of that name with another UUID.
    pub(super) fn is_name_taken(&self) -> bool {
        self.said.contains("already exists with uuid")
    }
}
