//! What a child gives up before it looks at bytes that nobody vouches for. Must be called first, and must not know
//! what the child is for.

use landlock::{ABI, Access, AccessFs, Ruleset, RulesetAttr};
use nix::{
    sys::{
        prctl,
        resource::{Resource, setrlimit},
    },
    unistd::{Gid, Uid, geteuid, setgid, setgroups, setuid},
};

const NOBODY: u32 = 65534;
/// Memory of a child: a volume of the largest size, a file of the largest size, and the program.
const MEMORY: u64 = 256 << 20;

/// Bounds memory, processor time, processes and descriptors, then root becomes nobody for good.
pub(crate) fn confine() -> nix::Result<()> {
    for (resource, limit) in [
        (Resource::RLIMIT_AS, MEMORY),
        (Resource::RLIMIT_CPU, 20),
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_FSIZE, 1 << 20),
        (Resource::RLIMIT_NOFILE, 8),
        // No process of its own can outlive the child or hold its pipes open.
        (Resource::RLIMIT_NPROC, 0),
    ] {
        setrlimit(resource, limit, limit)?;
    }
    // Somebody else than root cannot become nobody, and has fewer privileges to give up.
    if geteuid().is_root() {
        setgroups(&[])?;
        setgid(Gid::from_raw(NOBODY))?;
        setuid(Uid::from_raw(NOBODY))?;
    }
    prctl::set_no_new_privs()
}

/// Forbids every access to a file by its path, as far as the kernel has Landlock; what is open stays open. Not for
/// the probing child: libblkid asks /sys whether a device is a whole disk, and would see fewer signatures without.
pub(crate) fn forbid_files() -> Result<(), landlock::RulesetError> {
    Ruleset::default().handle_access(AccessFs::from_all(ABI::V5))?.create()?.restrict_self()?;
    Ok(())
}
