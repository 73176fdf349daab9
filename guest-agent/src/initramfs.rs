//! Where the host put things in the initramfs. Must not load them.

/// Folder of the kernel modules in the initramfs.
pub(crate) const MODULES: &str = "/modules";
