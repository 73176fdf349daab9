//! In the place of the C library's functions that find the addresses of names: 104,976 bytes of the agent, with all that reads `/etc`, loads libraries and
//! asks servers. The HTTP client and the standard library call them, and the agent has neither those files nor those libraries: it
//! knows the servers itself and asks them by itself ([`cloud_machine_fetch::Names::Servers`]). Must not find anything.

#![expect(
    unsafe_code,
    reason = "a name that the linker takes in place of the C library's; nothing is done with a pointer"
)]

use nix::libc::{EAI_FAIL, addrinfo, c_char, c_int};

/// getaddrinfo(3), which fails.
#[unsafe(no_mangle)]
extern "C" fn getaddrinfo(_: *const c_char, _: *const c_char, _: *const addrinfo, _: *mut *mut addrinfo) -> c_int {
    EAI_FAIL
}

/// Of what [`getaddrinfo`] never gave.
#[unsafe(no_mangle)]
extern "C" fn freeaddrinfo(_: *mut addrinfo) {}
