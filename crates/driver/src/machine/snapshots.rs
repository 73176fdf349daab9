//! What a provider keeps of a machine's disk and writes back. Must not name a provider.

use std::time::Instant;

use cloud_machine_store::DriverState;

use super::MachineRef;
use crate::error::DriverError;

/// Keeps the system disk of a machine at its provider, and has it written over what is there.
pub trait Snapshots: Send + Sync {
    /// Keeps the system disk of a machine that is off as it is. `owner` is what this host's state folder is known by, and
    /// `attempt` a text by which a second call finds what the first one made. Gives what the driver knows it by.
    ///
    /// # Errors
    /// The driver's; nothing of it is left then, or it is found by its labels.
    fn keep(
        &self,
        machine: &MachineRef,
        owner: &str,
        attempt: &str,
        until: Instant,
    ) -> Result<DriverState, DriverError>;

    /// Whether the provider still has what was kept, and whether that is a disk of this machine, kept for an attempt of `request`
    /// of `owner`'s.
    ///
    /// # Errors
    /// The driver's; of [`DriverErrorKind::Refused`](crate::DriverErrorKind) when it is not.
    fn check(
        &self,
        machine: &MachineRef,
        owner: &str,
        request: &str,
        snapshot: &DriverState,
        until: Instant,
    ) -> Result<(), DriverError>;

    /// Has the provider write the system disk anew from what was kept. The machine is off before; what it is after is the
    /// provider's choice.
    ///
    /// # Errors
    /// The driver's; what the disk holds is not known then.
    fn rebuild(&self, machine: &MachineRef, snapshot: &DriverState, until: Instant) -> Result<(), DriverError>;

    /// Deletes what was kept, if it still is of this machine of `owner`'s; none is none.
    ///
    /// # Errors
    /// The driver's.
    fn discard(
        &self,
        machine: &MachineRef,
        owner: &str,
        snapshot: &DriverState,
        until: Instant,
    ) -> Result<(), DriverError>;
}
