//! Configuration, inventory and request to ordered steps, and the report of their execution against what was
//! expected. Pure: it must not touch a device. Nothing read from a disk that a job could write changes a plan, but for a disk that is
//! kept and shall hold a filesystem: its signatures and the host's record decide whether it is used, made or refused.

mod assign;
mod attached;
mod configured;
mod costs;
mod coverage;
mod decision;
mod encrypted;
mod error;
mod expected;
mod fate;
mod filesystem;
mod guarded;
mod hostkey;
mod identity;
mod image;
mod informational;
mod known;
mod layout;
mod mounts;
mod outlook;
mod partition_steps;
mod partitions;
mod planned;
mod rejection;
mod root_pool;
mod root_proof;
mod step;
mod steps;
mod tampering;
mod units;
mod verify;
mod wiped;
mod wiping;

pub use coverage::{disks_not_covered, not_covered};
pub use decision::{Content, Decision, Refusal, decide};
pub use encrypted::is_encrypted;
pub use error::{Found, PlanError, Wanted};
pub use expected::{Expected, ExpectedDisk, ExpectedUrl, Treatment};
pub use filesystem::{WantedFilesystem, ZFS_MODULE};
pub use identity::HOST_KEY;
pub use image::{ImageLayout, RootPartition};
pub use informational::INFORMATIONAL;
pub use outlook::{DiskOutlook, OutlookVerdict, outlook};
pub use partitions::{WantedPartition, WantedTable};
pub use rejection::Rejection;
pub use root_pool::RootPool;
pub use step::PlannedStep;
pub use steps::{Plan, plan};
pub use tampering::not_recorded;
pub use units::{UnitFile, masked_zfs_units, units};
pub use verify::{Verdict, gaps, verify};
pub use wiping::Wiping;
