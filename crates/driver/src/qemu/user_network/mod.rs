//! The user network with the host's loopback interface closed: QEMU's own, behind a relay that lets through what leads elsewhere. Must
//! not know which machine it is for.
//!
//! QEMU could be handed connected sockets (`addr.type=fd`), and their names would have no limit. A domain of libvirt cannot, so that
//! there would be two ways; and a descriptor above 2 that a child is to have is inherited by every other child of the moment, or takes
//! `pre_exec`, which is unsafe.

mod filter;
mod relay;
mod start;

pub(crate) use filter::SUBNET;
pub use relay::{RELAY, serve};
pub(crate) use start::{runs, start};

#[cfg(test)]
mod qemu_tests;

/// Names of the two sockets in the attempt's folder: where the machine's interface is, and where QEMU's user network is.
pub(crate) const SOCKETS: [&str; 2] = ["interface.sock", "user.sock"];
