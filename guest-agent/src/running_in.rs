//! What the agent runs in, and what differs there. Must not do anything itself.

use cloud_machine_protocol::RootOfTrust;

use crate::modules::Modules;

/// The system around the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunningIn {
    /// The host's initramfs, of which the agent is the first process. The volume is attached, and the machine's own system
    /// starts from here.
    Initramfs,
    /// A system that somebody else booted and that uses none of the machine's disks, such as a provider's rescue system. The
    /// volume comes over the connection, and the machine's own system starts after a reset.
    RescueSystem,
    /// The initramfs that the distribution made for the machine's own disk. There is no host: the volume is whatever the policy of the
    /// image lets count, and the distribution mounts the root.
    OwnDisk,
    /// The host's initramfs, started from the recovery partition of the disk that is reimaged. What a host would say is staged there, and
    /// the machine's own system starts after a reset.
    Recovery,
}

impl RunningIn {
    /// Who chose the agent that runs there, for what its report says nothing about.
    pub(crate) const fn root_of_trust(self) -> RootOfTrust {
        match self {
            Self::Initramfs => RootOfTrust::Host,
            Self::RescueSystem => RootOfTrust::Provider,
            Self::OwnDisk | Self::Recovery => RootOfTrust::MachineDisk,
        }
    }

    /// Whether the machine's own system starts after a reset, and not in this very kernel.
    pub(crate) const fn ends_in_reset(self) -> bool {
        matches!(self, Self::RescueSystem | Self::Recovery)
    }

    /// Where kernel modules come from.
    pub(crate) const fn modules(self) -> Modules {
        match self {
            Self::Initramfs | Self::Recovery => Modules::Packed,
            // None is needed on a rescue system; were one, it would have it.
            Self::RescueSystem | Self::OwnDisk => Modules::Distribution,
        }
    }
}
