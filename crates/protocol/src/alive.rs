//! How the host finds out whether a kernel starts an agent at all: what it asks for, and the line that it waits for.

/// Argument of the kernel command line: the agent says [`ALIVE`] in the kernel log and powers off.
pub const PROBE_ARGUMENT: &str = "cloudmachine.mode=probe";
/// What each line of the agent in the kernel log begins with.
pub const LOG_PREFIX: &str = "cloud-machine-agent: ";
/// What an agent says that is alive, after [`LOG_PREFIX`].
pub const ALIVE: &str = "alive";
