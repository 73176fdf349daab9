//! Image files of the host: the disks that are packed and what their systems have, signatures of packed images and of EFI programs, golden disks,
//! and the boot files of recovery partitions.
//! Must not know a machine.

mod blocks;
pub mod efi_signature;
pub mod facts;
mod filesystem;
pub mod golden;
pub mod input;
pub mod kernel;
pub mod recovery;
mod release;
pub mod signature;

pub use blocks::FileBlocks;
pub use filesystem::Unreadable;
