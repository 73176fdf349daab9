//! The host's only way to machines and its files: disk images, signatures, volume, agent's channel, QEMU and SSH. Must not
//! plan, judge a report or print.

mod blocks;
pub mod channel;
pub mod child;
pub mod console;
pub mod description;
mod error;
pub mod escape;
#[cfg(feature = "fake")]
pub mod fake;
pub mod golden;
pub mod input;
pub mod interrupt;
pub mod machine;
pub mod qemu;
pub mod signature;
mod socket;
pub mod ssh;
pub mod volume;

pub use blocks::FileBlocks;
pub use error::{DriverError, DriverErrorKind};

/// The drivers of this program.
#[must_use]
pub fn drivers() -> machine::Drivers {
    machine::Drivers::default().with(qemu::Qemu::default())
}
