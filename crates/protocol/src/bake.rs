//! What the host and the machine in which an image is baked say to each other: arguments of the kernel command line, places, and
//! lines over a serial port.

/// Argument of the kernel command line: the agent mounts the root of the only disk and starts a script of the host in it.
pub const ARGUMENT: &str = "cloudmachine.mode=bake";
/// Argument of the kernel command line, with the number of the partition that has the root behind `=`.
pub const ROOT_ARGUMENT: &str = "cloudmachine.bake-root";
/// The only disk of that machine, as its kernel calls it.
pub const DISK: &str = "vda";
/// Where the machine says what it does: lines of a word, a space and what belongs to it.
pub const PORT: &str = "/dev/ttyS1";
/// Folder of the initramfs with the script and the files.
pub const FOLDER: &str = "/bake";
/// Where that folder is in the image's system while the script runs.
pub const PLACE: &str = "/run/cloud-machine-bake";
/// The script in that folder, started by the image's `/bin/sh`.
pub const SCRIPT: &str = "script";

/// The word for what went wrong: a code, a space and a text follow it.
pub const FAILED: &str = "failed";
/// Code: no root was found, or the one that was named is none.
pub const NO_ROOT: &str = "no-root";
/// Code: more than one root was found.
pub const SEVERAL_ROOTS: &str = "several-roots";
/// Code: the agent could not do its part.
pub const AGENT: &str = "agent";
