//! Real machines: those of distributions over their whole life, and those of the agent alone. One program, so that many run
//! at a time: each waits for something now and then.

mod adopted;
mod baked;
mod cloud;
mod cloud_init;
mod data_disks;
mod docker;
mod drivers;
mod interfaces;
mod machine;
mod power_cuts;
mod rancher;
mod rented;
mod root_pool;
mod seed;
mod self_reimage;
mod small_image;
mod whole_way;
