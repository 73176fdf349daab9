//! Image files of the host: the disks that are packed, signatures of packed images, and golden disks. Must not know a machine.

mod blocks;
pub mod golden;
pub mod input;
pub mod signature;

pub use blocks::FileBlocks;
