//! Where the initramfs has its kernel modules, and how one is loaded. Must not choose which.

use cloud_machine_system::{SystemError, kernel};

/// Folder of the kernel modules in an initramfs of the host's.
const FOLDER: &str = "/modules";
/// What `initramfs/standalone/modules.list` has below `crypt`, in the order in which it is loaded. The kernel asks for the ciphers by
/// name only when there is a program to answer.
pub(crate) const CRYPT: [&str; 5] = ["dm_crypt", "aes_generic", "ecb", "xts", "aesni_intel"];

/// Where they come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Modules {
    /// A folder that the host has packed.
    Packed,
    /// The distribution's own, by its modprobe.
    Distribution,
}

/// Modules that are needed together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Boot,
    Network,
    Crypt,
}

impl Modules {
    /// Those of a stage. A distribution has loaded the drivers of the machine's devices by itself.
    pub(crate) fn load_stage(self, stage: Stage) -> Result<(), SystemError> {
        match (self, stage) {
            (Self::Packed, _) => kernel::load_modules(FOLDER, stage.name()),
            (Self::Distribution, Stage::Crypt) => kernel::modprobe(&CRYPT),
            (Self::Distribution, Stage::Boot | Stage::Network) => Ok(()),
        }
    }

    /// Those that disks on a bus need, in the words of [`cloud_machine_system::buses`].
    pub(crate) fn load_bus(self, stage: &str) -> Result<(), SystemError> {
        match self {
            Self::Packed => kernel::load_modules(FOLDER, stage),
            Self::Distribution => Ok(()),
        }
    }

    /// One that a configuration names, and all that it needs.
    pub(crate) fn load(self, module: &str) -> Result<(), SystemError> {
        match self {
            Self::Packed => kernel::load_module(FOLDER, module),
            Self::Distribution => kernel::modprobe(&[module]),
        }
    }
}

impl Stage {
    const fn name(self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::Network => "network",
            Self::Crypt => "crypt",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_loads_the_ciphers_that_the_hosts_initramfs_has() {
        let list = include_str!("../../initramfs/standalone/modules.list");
        let (_, crypt) = list.split_once("[crypt]").unwrap();
        let crypt: Vec<&str> = crypt.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
        assert_eq!(crypt, CRYPT);
    }
}
