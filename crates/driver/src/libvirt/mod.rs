//! Machines as domains of a libvirt daemon on this host, which is asked through `virsh`. Must not link libvirt, and must not
//! touch a domain that does not say that it is ours.
//!
//! Each boot is a transient domain. A persistent one would leave a definition behind that libvirt, a host's boot or a person
//! could start again without an agent's answer being asked for; of a transient one nothing is left once it has ended, so what
//! runs is exactly what the last boot was given.
//!
//! A domain that libvirt has forgotten may still have its process. So whether a machine runs is asked twice: of libvirt, and of
//! this host's processes and locks ([`Subject`](crate::qemu::Subject)). Only when both say no it is off.

mod connection;
mod domain;
mod driver;
mod error;
#[cfg(test)]
mod stand_in;
mod virsh;
mod words;

use std::ffi::OsString;

pub use error::LibvirtError;
use virsh::Virsh;
pub use words::VARIABLE;

/// The libvirt of this host.
#[derive(Clone, Debug)]
pub struct Libvirt {
    program: OsString,
    /// What the environment says, if it does.
    given: Option<OsString>,
}

impl Default for Libvirt {
    /// With the connection that the environment names.
    fn default() -> Self {
        Self::new("virsh", std::env::var_os(VARIABLE))
    }
}

impl Libvirt {
    /// A libvirt by the name or absolute path of `virsh`, and a connection; without one it is the daemon of the system for root,
    /// of the session for others.
    #[must_use]
    pub fn new(program: impl Into<OsString>, connection: Option<OsString>) -> Self {
        Self { program: program.into(), given: connection }
    }

    fn virsh(&self) -> Result<Virsh, LibvirtError> {
        Ok(Virsh::new(&self.program, connection::of(self.given.as_deref())?))
    }
}
