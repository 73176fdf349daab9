//! Machines over their whole life. One program, so that as many of these tests run at a time as there are cores: each
//! waits for its machine most of the time.

mod cloud_init;
mod data_disks;
mod docker;
mod drivers;
mod image_url;
mod machine;
mod power_cuts;
mod rancher;
mod root_pool;
mod seed;
mod strategies;
