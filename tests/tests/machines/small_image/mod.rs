//! Boots of the agent with a small image that has no system to start: each takes seconds, so each way in which a boot can end
//! has one of its own. Must not need what a distribution brings.

mod boot;
mod disks;
mod documents;
mod image_url;
mod ranges;
mod rescue;
mod strategies;
