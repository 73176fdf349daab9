//! Image files of the host: the disks that are packed and what their systems have, signatures of packed images, and golden disks.
//! Must not know a machine.

mod blocks;
pub mod facts;
pub mod golden;
pub mod input;
pub mod signature;

pub use blocks::FileBlocks;
