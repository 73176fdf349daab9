//! What an initramfs needs for a policy: programs and kernel modules. Must not know how they get there.

use std::path::Path;

use cloud_machine_config::{FilesystemType, Policy, WipePolicy};
use cloud_machine_plan::ZFS_MODULE;
use cloud_machine_system::programs as makers;

/// What a disk with `wipe-on-boot: crypto` needs, in the order in which it is loaded. The kernel asks for the ciphers by
/// name, which modules.dep does not list:
/// - `dm_crypt` is the device mapper's target that lies over the disk;
/// - `aes_generic` is AES in software, for processors without instructions for it;
/// - `ecb` is what XTS encrypts its tweak and its blocks with;
/// - `xts` is the mode of `aes-xts-plain64`;
/// - `aesni_intel` is all of these at once with the processor's instructions.
const CRYPT: [&str; 5] = ["dm_crypt", "aes_generic", "ecb", "xts", "aesni_intel"];

/// A program that makes a filesystem.
pub(super) struct Needed {
    pub(super) path: &'static str,
    /// What it makes, as a document has it.
    pub(super) makes: &'static str,
    /// Whether this system has it.
    pub(super) present: bool,
}

/// The programs of the policy's filesystems.
pub(super) fn needed(policy: &Policy) -> Vec<Needed> {
    let of = |kind: &FilesystemType| {
        let makes = kind.name();
        // The policy has no filesystem that nothing makes.
        let paths = makers(kind.word()).unwrap_or_default().into_iter();
        paths.map(move |path| Needed { path, makes, present: Path::new(path).exists() })
    };
    policy.filesystems.iter().flat_map(of).collect()
}

/// Their absolute paths.
pub(super) fn programs(policy: &Policy) -> Vec<&'static str> {
    needed(policy).into_iter().map(|needed| needed.path).collect()
}

/// Kernel modules. None of a filesystem but ZFS is among them: the programs write to the device, and whoever mounts what they
/// made is the system that boots.
pub(super) fn modules(policy: &Policy) -> Vec<&'static str> {
    // Nothing becomes a disk behind a cipher without losing what it holds.
    let crypt: &[&str] = if policy.wipe == WipePolicy::None { &[] } else { &CRYPT };
    // Its programs only ask the module, which also makes and imports the pool.
    let pools = policy.filesystems.contains(&FilesystemType::Zfs).then_some(ZFS_MODULE);
    crypt.iter().copied().chain(pools).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> Policy {
        Policy::parse("agent.yaml", text.as_bytes()).unwrap()
    }

    #[test]
    fn each_filesystem_brings_its_programs_alone() {
        assert_eq!(programs(&Policy::default()), ["/usr/sbin/mkfs.ext4"]);
        assert_eq!(programs(&policy("filesystems: []")), [""; 0]);
        let all = "filesystems: [zfs, swap, vfat, btrfs, xfs, ext4]";
        let expected = cloud_machine_protocol::MAKERS.map(|(_, program)| program);
        assert_eq!(programs(&policy(all)), [&expected[..], &["/usr/sbin/zpool", "/usr/sbin/zfs"]].concat());
    }

    #[test]
    fn modules_are_those_of_ciphers_where_a_disk_may_be_wiped_and_that_of_pools() {
        assert_eq!(modules(&Policy::default()), CRYPT);
        assert_eq!(modules(&policy("wipe: none")), [""; 0]);
        assert_eq!(modules(&policy("wipe: none\nfilesystems: [zfs]")), ["zfs"]);
        assert_eq!(modules(&policy("wipe: [serial:a]\nfilesystems: [zfs]")), [&CRYPT[..], &["zfs"]].concat());
    }

    #[test]
    fn ciphers_are_those_of_the_initramfs_that_a_host_brings() {
        let list = include_str!("../../../initramfs/standalone/modules.list");
        let lines =
            list.lines().skip_while(|line| *line != "[crypt]").skip(1).take_while(|line| !line.starts_with('['));
        let listed: Vec<&str> = lines.filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
        assert_eq!(listed, CRYPT);
    }
}
