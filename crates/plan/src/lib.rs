//! Configuration, inventory and request to ordered steps, and the report of their execution against what was
//! expected. Pure: it must not touch a device, and nothing read from a disk that a job could write changes a plan.

mod assign;
mod configured;
mod error;
mod expected;
mod hostkey;
mod image;
mod rejection;
mod steps;
mod verify;

pub use error::{Found, PlanError, Wanted};
pub use expected::{Expected, ExpectedDisk, ExpectedUrl, Treatment};
pub use image::{ImageLayout, RootPartition};
pub use rejection::Rejection;
pub use steps::{Plan, PlannedStep, is_wiped, plan};
pub use verify::{Verdict, gaps, verify};
