//! One error for whoever calls several parts of this crate. Must not add words to what the part said.

use crate::{
    channel::ChannelError,
    identity::RandomError,
    qemu::{QemuError, QmpError},
    ssh::SshError,
    store::StoreError,
    volume::VolumeError,
};

/// Whatever this crate could not do, under the name of the part that could not.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriverError {
    /// The state folder.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The volume.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// The agent's port.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// QEMU.
    #[error(transparent)]
    Qemu(#[from] QemuError),
    /// QEMU's monitor.
    #[error(transparent)]
    Qmp(#[from] QmpError),
    /// SSH.
    #[error(transparent)]
    Ssh(#[from] SshError),
    /// Randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
}
