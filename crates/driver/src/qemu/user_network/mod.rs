//! The user network with the host's loopback interface closed: QEMU's own, behind a relay that lets through what leads elsewhere. Must
//! not know which machine it is for.

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
