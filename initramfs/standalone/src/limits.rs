//! How large the archive may become. Must not measure it.

/// Most bytes of all modules together, decompressed. Those of every stage of Debian's kernel have 4 MiB, zfs has 7.
pub const MAX_MODULES: u64 = 256 << 20;
/// Most bytes of all files of programs together.
pub const MAX_PROGRAMS: u64 = 256 << 20;
