//! Machines that this host does not run, without any: what answers as a rescue system, and what an account has.

mod account;
mod itself;
mod rescue;
mod snapshots;
