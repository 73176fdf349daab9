//! The benchmark: whole processes, ours and the peers', measured in turns. Judges times and memory, which a test must
//! not do; reads and starts only what it is given.

pub mod cloud;
pub mod disks;
pub mod documents;
pub mod leases;
pub mod measure;
pub mod namespace;
pub mod overlay;
pub mod peers;
