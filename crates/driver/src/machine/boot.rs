//! What a machine is started with. Must not say how.

use std::path::PathBuf;

use cloud_machine_protocol::{Bus, Connection, Digest, MacAddress, MachineName};
use cloud_machine_store::AttemptFolder;

/// What instructions are executed by, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Processor {
    /// Name of the accelerator, such as `kvm`.
    pub accelerator: String,
    /// Name of the processor model, such as `host`.
    pub model: String,
    /// Why this one.
    pub reason: String,
}

/// One block device of a boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockDevice {
    /// How it is attached.
    pub bus: Bus,
    /// The file that is written to, absolute: a raw image, or the overlay.
    pub file: PathBuf,
    /// What the device says of itself: 1 to 20 of printable ASCII without comma.
    pub serial: String,
    /// Whether the machine may only read it.
    pub read_only: bool,
    /// What is behind the file.
    pub backing: Backing,
}

impl BlockDevice {
    /// A raw file.
    #[must_use]
    pub fn raw(bus: Bus, file: PathBuf, serial: &str, read_only: bool) -> Self {
        Self { bus, file, serial: serial.to_owned(), read_only, backing: Backing::None }
    }
}

/// What is behind the file of a block device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backing {
    /// Nothing: it is a raw image.
    None,
    /// It is a raw image, and in this file what is written to it is marked.
    Map(PathBuf),
    /// It is an overlay above this raw image, which is only read.
    Golden(PathBuf),
}

/// All that the next agent starts with.
#[derive(Clone, Debug)]
pub struct Boot {
    /// Name of the machine.
    pub name: MachineName,
    /// UUID of the machine, also in its SMBIOS table.
    pub uuid: String,
    /// Bytes of memory.
    pub ram: u64,
    /// Virtual processors.
    pub cpus: u32,
    /// What they are.
    pub processor: Processor,
    /// Hardware address of the network interface.
    pub mac: MacAddress,
    /// What the network interface is connected to.
    pub connection: Connection,
    /// Further network interfaces, in the order in which the machine finds them.
    pub nics: Vec<Interface>,
    /// Port on 127.0.0.1 that leads to the machine's port 22; nothing does unless it is on the driver's own network.
    pub ssh_port: u16,
    /// The kernel, absolute.
    pub kernel: PathBuf,
    /// The initramfs, absolute.
    pub initramfs: PathBuf,
    /// The kernel command line, with the pin of the volume.
    pub command_line: String,
    /// The agent alone, absolute; the initramfs has it, too.
    pub agent: PathBuf,
    /// SHA-256 of the agent.
    pub agent_digest: Digest,
    /// The block devices, in the order in which the machine finds them.
    pub devices: Vec<BlockDevice>,
    /// The attempt's folder, for sockets and the console log.
    pub folder: AttemptFolder,
}

/// A network interface of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its hardware address.
    pub mac: MacAddress,
    /// What it is connected to.
    pub connection: Connection,
}
