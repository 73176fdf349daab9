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
}

impl RunningIn {
    /// Who chose the agent that runs there, for what its report says nothing about.
    pub(crate) const fn root_of_trust(self) -> RootOfTrust {
        match self {
            Self::Initramfs => RootOfTrust::Host,
            Self::RescueSystem => RootOfTrust::Provider,
            Self::OwnDisk => RootOfTrust::MachineDisk,
        }
    }

    /// Where kernel modules come from.
    pub(crate) const fn modules(self) -> Modules {
        match self {
            Self::Initramfs => Modules::Packed,
            // None is needed on a rescue system; were one, it would have it.
            Self::RescueSystem | Self::OwnDisk => Modules::Distribution,
        }
    }
}
