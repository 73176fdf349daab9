//! Ending the machine. Must not be called before everything that matters is flushed.

use nix::sys::reboot::{RebootMode, reboot};

/// Resets the machine; returns only when the kernel refuses (reboot(2)).
pub fn reset() {
    match reboot(RebootMode::RB_AUTOBOOT) {
        Ok(never) => match never {},
        Err(error) => crate::kernel::log(&format!("cannot reset the machine: {error}")),
    }
}

/// Powers the machine off; returns only when the kernel refuses (reboot(2)).
pub fn power_off() {
    match reboot(RebootMode::RB_POWER_OFF) {
        Ok(never) => match never {},
        Err(error) => crate::kernel::log(&format!("cannot power off: {error}")),
    }
}
