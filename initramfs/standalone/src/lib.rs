//! Builds the standalone initramfs: the agent as `/init`, the kernel modules it needs in the order to load them, and the
//! programs that it runs.
//! Decides every byte of the archive; must not read a file or a clock itself.

mod archive;
mod compressed;
mod error;
mod limits;
mod order;
mod programs;

pub use archive::{Module, Stage, build};
pub use error::InitramfsError;
pub use limits::{MAX_MODULES, MAX_PROGRAMS};
pub use order::{BOOT, load_order, stage_of, stages};
pub use programs::{ProgramEntry, Programs};
