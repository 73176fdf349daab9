//! Volumes as real programs make them, and what hostile hands make of those. The crate is pure; its tests run programs
//! and look at a clock.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

mod hostile;
mod made;
mod real;
mod written;
