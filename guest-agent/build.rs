//! How the agent of an initramfs is linked: without what nothing in it reads. Its size is part of every initramfs.

#![allow(clippy::print_stdout, reason = "a build script says to cargo what it wants on its standard output")]

use std::env;

/// Leaves out the tables for unwinding, a tenth of the program. A panic ends the process at once and says where it was; with
/// the names of functions stripped no table would tell more.
const NO_UNWINDING: &str = "no-unwinding.ld";

fn main() {
    println!("cargo::rerun-if-changed={NO_UNWINDING}");
    // Whatever unwinds, as tests do, is built without the feature or as a debug build.
    let small = env::var_os("CARGO_FEATURE_STATIC").is_some() && env::var("PROFILE").as_deref() == Ok("release");
    if !small {
        return;
    }
    let folder = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    for argument in [
        "-T".to_owned(),
        format!("{folder}/{NO_UNWINDING}"),
        // The index of those tables.
        "-Wl,--no-eh-frame-hdr".to_owned(),
        // A program for any address corrects its own pointers when it starts: a bit for each instead of 24 bytes.
        "-Wl,-z,pack-relative-relocs".to_owned(),
        // One copy of what was compiled to the same instructions. Rust promises no function an address of its own.
        "-Wl,--icf=all".to_owned(),
    ] {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
}
