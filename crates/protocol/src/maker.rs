//! The programs that make filesystems, by where they are in an initramfs. Must not know how they are called.

/// Types of filesystems, in the words of libblkid, each with the program that makes one.
pub const MAKERS: [(&str, &str); 5] = [
    ("ext4", "/usr/sbin/mkfs.ext4"),
    ("xfs", "/usr/sbin/mkfs.xfs"),
    ("btrfs", "/usr/sbin/mkfs.btrfs"),
    ("vfat", "/usr/sbin/mkfs.vfat"),
    ("swap", "/usr/sbin/mkswap"),
];
