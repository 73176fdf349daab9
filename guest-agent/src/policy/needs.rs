//! What an initramfs needs for a policy: programs and kernel modules. Must not know how they get there.

use std::path::Path;

use cloud_machine_config::{FilesystemType, Policy, WipePolicy};
use cloud_machine_plan::ZFS_MODULE;
use cloud_machine_system::{kernel::MODPROBE, programs as makers};
use serde::Serialize;

use crate::modules::CRYPT;

/// A program that the agent starts.
#[derive(Serialize)]
pub(super) struct Needed {
    pub(super) path: &'static str,
    /// What it is for.
    pub(super) does: &'static str,
    /// Whether this system has it.
    pub(super) present: bool,
}

/// The programs of the policy's filesystems, and the one that loads modules.
pub(super) fn programs(policy: &Policy) -> Vec<Needed> {
    let mut all = Vec::new();
    let mut add = |path, does| all.push(Needed { path, does, present: Path::new(path).exists() });
    for kind in &policy.filesystems {
        // The policy has no filesystem that nothing makes.
        makers(kind.word()).unwrap_or_default().into_iter().for_each(|path| add(path, kind.name()));
    }
    if !modules(policy).is_empty() {
        add(MODPROBE, "kernel modules");
    }
    all
}

/// Kernel modules. [`CRYPT`] is what a disk with `wipe-on-boot: crypto` needs: `dm_crypt`, the device mapper's target that lies over the disk;
/// `aes_generic`, AES in software for processors without instructions for it; `xts`, the mode of `aes-xts-plain64`, and `ecb`, what that
/// encrypts its blocks with; `aesni_intel`, all of these with the processor's instructions. None of a filesystem but ZFS is among them: the
/// other programs write to the device, and whoever mounts what they made is the system that boots.
pub(super) fn modules(policy: &Policy) -> Vec<&'static str> {
    // No disk gets behind a cipher without losing what it holds.
    let mut all = if policy.wipe == WipePolicy::None { Vec::new() } else { CRYPT.to_vec() };
    if policy.filesystems.contains(&FilesystemType::Zfs) {
        // The module makes and imports pools; its programs only ask it to.
        all.push(ZFS_MODULE);
    }
    all
}

/// For what the agent needs drivers: an initramfs has a list of them for each. Without one for its network a machine that reads no address
/// starts sooner.
pub(super) fn drivers(policy: &Policy) -> Vec<&'static str> {
    // The default must be allowed itself.
    if policy.address.allowed.is_empty() { vec!["disks"] } else { vec!["disks", "network"] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> Policy {
        Policy::parse("agent.yaml", text.as_bytes()).unwrap()
    }

    fn paths(text: &str) -> Vec<&'static str> {
        programs(&policy(text)).iter().map(|program| program.path).collect()
    }

    #[test]
    fn each_filesystem_brings_its_programs_alone() {
        assert_eq!(paths(""), ["/usr/sbin/mkfs.ext4", MODPROBE]);
        assert_eq!(paths("wipe: none\nfilesystems: []"), [""; 0]);
        let all = "filesystems: [zfs, swap, vfat, btrfs, xfs, ext4]";
        let makers = cloud_machine_protocol::MAKERS.map(|(_, program)| program);
        assert_eq!(paths(all), [&makers[..], &["/usr/sbin/zpool", "/usr/sbin/zfs", MODPROBE]].concat());
    }

    #[test]
    fn modules_are_those_of_ciphers_where_a_disk_may_be_wiped_and_that_of_pools() {
        assert_eq!(modules(&Policy::default()), CRYPT);
        assert_eq!(modules(&policy("wipe: none")), [""; 0]);
        assert_eq!(modules(&policy("wipe: none\nfilesystems: [zfs]")), ["zfs"]);
        assert_eq!(modules(&policy("wipe: [serial:a]\nfilesystems: [zfs]")), [&CRYPT[..], &["zfs"]].concat());
    }

    #[test]
    fn drivers_of_a_network_are_needed_where_an_address_may_be_read() {
        assert_eq!(drivers(&Policy::default()), ["disks", "network"]);
        assert_eq!(drivers(&policy("address: {allowed: []}")), ["disks"]);
        let default = "address: {allowed: ['https://config.example/'], default: 'https://config.example/m'}";
        assert_eq!(drivers(&policy(default)), ["disks", "network"]);
        // What is not allowed cannot be the default either.
        assert!(Policy::parse("agent.yaml", b"address: {allowed: [], default: 'https://config.example/m'}").is_err());
    }
}
