//! The guest's only way to Linux: block devices, probing, mounts, kernel modules, network, port, power.
//! Every function does one thing when told to; none decides what should be done.

mod attributes;
mod block;
pub mod buses;
pub mod channel;
mod confined;
mod descriptors;
mod device;
mod disks;
mod error;
mod facts;
pub mod files;
mod filesystem;
pub mod kernel;
mod label;
mod mapper;
pub mod mounts;
pub mod network;
mod partition;
pub mod pool;
pub mod port;
pub mod power;
pub mod probe;
pub mod program;
pub mod reader;
pub mod root;
mod root_place;
pub mod root_pool;
mod sandbox;
pub mod stdio;
pub mod survey;
mod uevent;
mod volume;
mod wipe;
mod zeros;

pub use block::{BlockReader, set_read_only};
pub use disks::{inventory, inventory_with_loops};
pub use error::SystemError;
pub use facts::facts;
pub use filesystem::{NewFilesystem, check_maker, make_filesystem, maker};
pub use mapper::{check_mapper, encrypt};
pub use partition::{PartitionNode, partition_node, reread_partition_table, reread_partitions};
pub use uevent::UeventSocket;
pub use volume::{VolumeFiles, read_device, sha256};
pub use wipe::wipe_disk;
