//! Harness of the slow tests and of the demo: artifacts, a private state folder, the program as users call it, and
//! the hostile job. Never shipped; must touch only files and processes that it made.

pub mod apt;
pub mod artifacts;
pub mod baked;
pub mod bench;
pub mod bridge;
pub mod cloud;
pub mod dockers;
pub mod fabricated;
pub mod fixture;
pub mod honest_agent;
pub mod hostile;
pub mod hostile_documents;
pub mod http;
pub mod image_server;
pub mod libvirtd;
pub mod loop_device;
pub mod plain_machine;
pub mod program;
pub mod scenario;
pub mod small_system;
pub mod sshd;
pub mod vm;
