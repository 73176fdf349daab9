//! The host's only way to machines: the seam of the drivers, QEMU, libvirt, the agent's channel, the console and SSH. Must not
//! plan, judge a report or print.

pub mod channel;
pub mod console;
pub mod description;
mod error;
#[cfg(feature = "fake")]
pub mod fake;
pub mod libvirt;
pub mod machine;
pub mod qemu;
pub mod remote;
mod socket;
pub mod ssh;

pub use error::{DriverError, DriverErrorKind};

/// The drivers of this program.
#[must_use]
pub fn drivers() -> machine::Drivers {
    machine::Drivers::default()
        .with(qemu::Qemu::default())
        .with(libvirt::Libvirt::default())
        .with(remote::Remote(remote::Commands::default()))
        .with(remote::Remote(remote::Hetzner::default()))
        .with(remote::SelfReimage)
}
