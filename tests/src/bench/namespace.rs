//! A mount namespace for one half of the benchmark, in which `/etc` has a layer of ours and can be written by nobody. Must
//! not change what the host sees.

use std::{
    env,
    path::Path,
    process::{Command, ExitStatus},
};

/// Argument by which the benchmark knows that it is inside, followed by its folder.
pub const INSIDE: &str = "--inside";

/// The overlay has no upper folder, so that it is read-only: the peers cannot change the host's `/etc` either.
const SCRIPT: &str = "mount -t overlay -o ro,lowerdir=\"$1/etc:/etc\" overlay /etc; shift; exec \"$@\"";

/// Runs this program once more, as root of a namespace of its own, with `folder/etc` over `/etc`.
///
/// # Errors
/// A text, when no program can be started or this one has no path.
pub fn enter(folder: &Path) -> Result<ExitStatus, String> {
    let own = env::current_exe().map_err(|error| format!("find this program: {error}"))?;
    Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-euc", SCRIPT, "sh"])
        .arg(folder)
        .arg(own)
        .arg(INSIDE)
        .arg(folder)
        .status()
        .map_err(|error| format!("start unshare: {error}"))
}
