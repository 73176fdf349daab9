//! Arguments of `image bake`: names and help. Must not act or look anything up.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use cloud_machine_driver::qemu::Accelerator;

/// Examples and what else is to be known.
pub(super) const HELP: &str = "Examples:
  cloud-machine image bake disk.qcow2
  cloud-machine image bake disk.raw --policy agent.yaml --to baked.raw
  cloud-machine image bake disk.qcow2 --generator dracut --root-partition 3
  cloud-machine image bake disk.qcow2 --policy agent.yaml --stager /usr/sbin/cloud-machine-recovery
  cloud-machine image bake disk.qcow2 --kernel vmlinuz --modules lib/modules/6.1.0-56-amd64

The disk is never mounted on this host: a small machine of QEMU's has a copy of it, puts the agent into its root and runs its
initramfs generator there. The copy takes the place of DISK, or becomes --to, in one step and only when all went well.

That machine starts with the image's own kernel, where GPT and ext4 let it be found, or with --kernel and --modules. The root may
be on ext4, xfs or btrfs in a partition; /boot and others are mounted as its /etc/fstab says.";

/// An image that gets the agent.
#[derive(Debug, Args)]
pub(crate) struct Bake {
    /// The disk image: raw or qcow2, one file that nobody uses
    pub(crate) disk: PathBuf,
    /// Leave DISK as it is and write this file, which must not be there yet, in the same form
    #[arg(long, value_name = "FILE")]
    pub(crate) to: Option<PathBuf>,
    /// The agent's policy for the image [default: the one that the image has, or none]
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// What makes the image's initramfs files [default: what is installed there, initramfs-tools before dracut]
    #[arg(long, value_enum)]
    pub(crate) generator: Option<Generator>,
    /// Number of the partition with the root filesystem, where several have one
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=128))]
    pub(crate) root_partition: Option<u32>,
    /// The kernel of the machine that does it, in place of the image's own
    #[arg(long, value_name = "FILE", requires = "modules")]
    pub(crate) kernel: Option<PathBuf>,
    /// Folder of that kernel's modules, with modules.dep
    #[arg(long, value_name = "FOLDER", requires = "kernel")]
    pub(crate) modules: Option<PathBuf>,
    /// Release of the image's own kernel that is taken, where it has several
    #[arg(long, value_name = "RELEASE", conflicts_with_all = ["kernel", "modules"])]
    pub(crate) kernel_release: Option<String>,
    /// The static agent [default: cloud-machine-agent beside this program]
    #[arg(long, value_name = "FILE", env = "CLOUD_MACHINE_AGENT")]
    pub(crate) agent: Option<PathBuf>,
    /// The static program that stages a reimage, cloud-machine-recovery: machines of driver ssh-self need it [default: none]
    #[arg(long, value_name = "FILE")]
    pub(crate) stager: Option<PathBuf>,
    /// The static service of the booted system, cloud-machine-agentd, with its unit and files for D-Bus [default: none]
    #[arg(long, value_name = "FILE")]
    pub(crate) service: Option<PathBuf>,
    /// How the machine executes instructions
    #[arg(long, value_enum, default_value_t = AcceleratorChoice::Auto)]
    pub(crate) accelerator: AcceleratorChoice,
    /// Seconds that the machine may take
    #[arg(long, value_name = "SECONDS", default_value_t = 3_600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) timeout: u64,
}

/// What makes initramfs files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Generator {
    /// `update-initramfs` of Debian and Ubuntu
    InitramfsTools,
    /// dracut, of Fedora, RHEL and others
    Dracut,
}

impl Generator {
    /// As `initramfs/baked/install` calls it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::InitramfsTools => "initramfs-tools",
            Self::Dracut => "dracut",
        }
    }
}

/// How instructions are executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AcceleratorChoice {
    /// By the processor where that is seen to work, or else by translation
    Auto,
    /// By the processor
    Kvm,
    /// By translation, many times slower
    Tcg,
}

impl AcceleratorChoice {
    /// The one that was asked for.
    pub(crate) const fn named(self) -> Option<Accelerator> {
        match self {
            Self::Auto => None,
            Self::Kvm => Some(Accelerator::Kvm),
            Self::Tcg => Some(Accelerator::Tcg),
        }
    }
}
