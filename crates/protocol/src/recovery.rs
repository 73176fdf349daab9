//! What the boot files of a recovery partition say to the agent in them: arguments of the kernel command line.

/// The agent carries out what is staged in the recovery partition.
pub const ARGUMENT: &str = "cloudmachine.mode=recovery";
/// Name of the argument with the token of the staged request, 64 hexadecimal digits.
pub const TOKEN_ARGUMENT: &str = "cloudmachine.token";
