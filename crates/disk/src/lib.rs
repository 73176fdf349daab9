//! Disks and disk files whose every byte matters: reads past the page cache, writes that nobody else
//! may make at the same time, and who holds a disk. Must not know what the bytes mean.

mod disk;
mod error;
mod holder;
mod holders;
pub mod ioctl;
pub mod lock;

pub use disk::{Access, Disk};
pub use error::DiskError;
pub use holder::Holder;
pub use holders::holders;
