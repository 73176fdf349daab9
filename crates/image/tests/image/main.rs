//! Tests of packing, rewriting, comparing and wiping as a user of the crate sees them, on a disk in memory that fails,
//! lies and loses power on request.

// clippy.toml allows the first two in test functions; here the functions that tests share are meant too. Printed is how
// much was tried.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod clean;
mod cut;
mod disk;
mod epoch;
mod every;
mod fixture;
mod forge;
mod geometry;
mod lies;
mod mutants;
mod new_table;
mod packed;
mod promise;
mod properties;
mod survey;
mod table;
mod tiers;
mod wiping;
