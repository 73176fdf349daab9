//! Tests of packing, rewriting, comparing and wiping as a user of the crate sees them, on a disk in memory that fails,
//! lies and loses power on request.

// clippy.toml allows these in test functions; here the functions that tests share are meant too.
#![allow(clippy::unwrap_used, clippy::panic)]

mod clean;
mod cut;
mod disk;
mod fixture;
mod geometry;
mod lies;
mod packed;
mod properties;
mod table;
mod tiers;
mod wiping;
