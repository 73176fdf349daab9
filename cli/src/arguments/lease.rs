//! Arguments of `lease`, and of commands that act under one. Must not look a lease up.

use clap::{Args, Subcommand};
use cloud_machine_protocol::MachineName;
use cloud_machine_store::lease_owner;

/// Commands on leases.
#[derive(Debug, Subcommand)]
pub(crate) enum Lease {
    /// Take a lease on a machine, also on one that is yet to be created, and print its number
    #[command(after_help = "Example:
  cloud-machine lease take ci-1 --owner runner-7 --seconds 900
  cloud-machine reimage ci-1 --lease 42

Exit code 8 while somebody has a lease on the machine.")]
    Take {
        /// Name of the machine
        name: MachineName,
        /// Who has it, for people
        #[arg(long, value_parser = lease_owner)]
        owner: String,
        #[command(flatten)]
        time: LeaseTime,
    },
    /// Let a lease last longer, counted from now
    #[command(after_help = "Example:
  cloud-machine lease renew ci-1 --lease 42 --seconds 900

Exit code 8 when the lease has ended.")]
    Renew {
        #[command(flatten)]
        held: HeldLease,
        #[command(flatten)]
        time: LeaseTime,
    },
    /// Give a lease back before it ends
    #[command(after_help = "Example:
  cloud-machine lease give-back ci-1 --lease 42")]
    GiveBack {
        #[command(flatten)]
        held: HeldLease,
    },
    /// List the leases that have not ended
    #[command(after_help = "Examples:
  cloud-machine lease list
  cloud-machine lease list --output json")]
    List,
}

/// A lease that was taken.
#[derive(Debug, Args)]
pub(crate) struct HeldLease {
    /// Name of the machine
    pub(crate) name: MachineName,
    /// Number of the lease
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) lease: u64,
}

/// How long a lease lasts.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct LeaseTime {
    /// Seconds until it ends, 30 days at most
    #[arg(long, default_value_t = 3600, value_parser = clap::value_parser!(u64).range(1..=2_592_000))]
    pub(crate) seconds: u64,
}

/// The lease that a command acts under.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct UnderLease {
    /// Number of the lease that you have on the machine; needed while there is one
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) lease: Option<u64>,
}
