//! How often the recovery partition was started without its agent having come up. What a BIOS starts counts before it starts a
//! kernel, and the agent begins anew. Must not decide what follows from it.

use cloud_machine_image::{ALIGNMENT, ReadBlocks, WriteBlocks};

use crate::{
    HEAD, RecoveryError, RecoveryPartition, STARTS,
    blocks::{read, write},
};

/// What a sector with the count begins with. The boot code of `cloud-machine-packing` knows it, too.
const MAGIC: &[u8; 4] = b"CMRS";

/// What counts the starts of a recovery partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Starts {
    /// Starts since the agent of the partition came up last.
    pub count: u8,
    /// Whether the disk is half rewritten, so that no other system can be started.
    pub begun: bool,
}

/// Whether a BIOS that runs this boot code counts starts: it compares with what a sector with the count begins with.
pub(crate) fn is_counted_by(boot_code: &[u8]) -> bool {
    boot_code.windows(MAGIC.len()).any(|bytes| bytes == MAGIC)
}

impl RecoveryPartition {
    /// First byte on the disk of the sector with the count: `CMRS`, the count, and whether the disk is half rewritten.
    #[must_use]
    pub fn starts_at(self) -> u64 {
        self.reserved(STARTS)
    }

    /// First byte on the disk of the boot head that is kept.
    #[must_use]
    pub fn head_at(self) -> u64 {
        self.reserved(HEAD.0)
    }

    /// Begins anew to count; `begun` says whether the disk is half rewritten.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn count_starts_anew(self, disk: &dyn WriteBlocks, begun: bool) -> Result<(), RecoveryError> {
        let mut block = vec![0; ALIGNMENT as usize];
        crate::put(&mut block, 0, MAGIC);
        crate::put(&mut block, MAGIC.len() + 1, &[u8::from(begun)]);
        write(disk, self.starts_at(), &block)
    }

    /// What was counted; `None` where nothing counts.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn starts(self, disk: &dyn ReadBlocks) -> Result<Option<Starts>, RecoveryError> {
        let block = read(disk, self.starts_at(), ALIGNMENT)?;
        Ok(match block.strip_prefix(MAGIC) {
            Some([count, begun, ..]) => Some(Starts { count: *count, begun: *begun != 0 }),
            _ => None,
        })
    }
}
