//! From the description of a launch to QEMU's arguments, word by word the same for the same launch. Must not look at
//! the host: no file is opened and no process is started.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use cloud_machine_protocol::{Bus, Connection, MacAddress, MachineName, PORT_NAME};
use cloud_machine_store::{AttemptFolder, identity::is_uuid};
use serde_json::{Map, Value, json};

use super::{Accelerator, QemuError, user_network};
use crate::machine::Interface;

/// Bytes of a socket's address (unix(7)), without its final NUL.
const MAX_SOCKET: usize = 107;

/// Everything that one QEMU process is started with.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// Name of the machine.
    pub name: MachineName,
    /// UUID of the machine, also in its SMBIOS table.
    pub uuid: String,
    /// MiB of memory.
    pub memory_mib: u64,
    /// Virtual processors.
    pub cpus: u32,
    /// How instructions are executed.
    pub accelerator: Accelerator,
    /// QEMU's processor model, such as `host`.
    pub cpu_model: String,
    /// Kernel, initramfs and command line from the host; without them the firmware starts from a drive.
    pub boot: Option<DirectBoot>,
    /// The drives in the order in which the machine finds them.
    pub drives: Vec<Drive>,
    /// Hardware address of the network interface.
    pub mac: MacAddress,
    /// What the network interface is connected to.
    pub connection: Connection,
    /// Further network interfaces, in the order in which the machine finds them.
    pub nics: Vec<Interface>,
    /// Port on 127.0.0.1 that leads to the machine's port 22, on the user network.
    pub ssh_port: Option<u16>,
    /// The attempt's folder: QEMU's working directory with its sockets, console log and process id.
    pub folder: AttemptFolder,
}

/// What the host hands to the machine to start with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectBoot {
    /// The kernel, absolute.
    pub kernel: PathBuf,
    /// The initramfs, absolute.
    pub initramfs: PathBuf,
    /// The kernel command line.
    pub append: String,
}

/// One block device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drive {
    /// How it is attached.
    pub bus: Bus,
    /// A raw image, absolute.
    pub file: PathBuf,
    /// What the device says of itself: 1 to 20 of printable ASCII without comma.
    pub serial: String,
    /// Whether the machine may only read it.
    pub read_only: bool,
    /// A whole block node as JSON in the place of the raw image, as `query-named-block-nodes` would describe it but
    /// without its `node-name`: of [`super::disk`], or of a test that injects faults. `file` and `read_only` are ignored
    /// then.
    pub node: Option<String>,
}

/// QEMU's arguments for a launch.
///
/// # Errors
/// [`QemuError::InvalidLaunch`] for a value that QEMU would read as something else.
pub fn arguments(launch: &Launch) -> Result<Vec<OsString>, QemuError> {
    check(launch)?;
    let mut list = Arguments(Vec::new());
    // The name's grammar has no comma.
    list.option("-name", format!("guest={},debug-threads=on", launch.name));
    list.option("-uuid", &launch.uuid);
    list.option("-machine", "q35");
    list.option("-accel", launch.accelerator.option());
    list.option("-cpu", &launch.cpu_model);
    list.option("-smp", launch.cpus.to_string());
    list.option("-m", format!("{}M", launch.memory_mib));
    for flag in ["-nodefaults", "-no-user-config", "-no-reboot", "-S", "-daemonize"] {
        list.0.push(flag.into());
    }
    list.option("-display", "none");
    // Absolute: `Process::attach` knows the process by it.
    list.option("-pidfile", launch.folder.pid_file());
    if let Some(boot) = &launch.boot {
        list.option("-kernel", &boot.kernel);
        list.option("-initrd", &boot.initramfs);
        list.option("-append", &boot.append);
    }
    if launch.drives.iter().any(|drive| matches!(drive.bus, Bus::Scsi | Bus::Cdrom)) {
        list.option("-device", "virtio-scsi-pci,id=scsi");
    }
    for (index, drive) in launch.drives.iter().enumerate() {
        let node = format!("node{index}");
        list.option("-blockdev", block_node(drive, &node)?);
        let device = match drive.bus {
            Bus::Virtio => "virtio-blk-pci",
            // One target a disk: the kernel finds them in the order of their numbers.
            Bus::Scsi => &format!("scsi-hd,bus=scsi.0,scsi-id={index}"),
            // The kernel asks no device called `QEMU CD-ROM` for its serial (drivers/scsi/scsi_devinfo.c).
            Bus::Cdrom => &format!("scsi-cd,bus=scsi.0,scsi-id={index},product=DISC"),
            Bus::Nvme => "nvme",
        };
        list.option("-device", format!("{device},id=drive{index},drive={node},serial={}", drive.serial));
    }
    ports_and_network(launch, &mut list);
    Ok(list.0)
}

/// Names of the sockets here are relative: a socket's address holds 107 bytes (unix(7)), and QEMU begins in the attempt's folder. It
/// makes those of the network in a thread, when it may have gone to `/` already as a daemon does, so they are absolute.
fn ports_and_network(launch: &Launch, list: &mut Arguments) {
    list.option("-chardev", "socket,id=agent,path=agent.sock,server=on,wait=off");
    list.option("-device", "virtio-serial-pci,id=ports");
    list.option("-device", format!("virtserialport,bus=ports.0,chardev=agent,name={PORT_NAME}"));
    list.option("-device", "virtio-rng-pci");
    let backends = backends(launch, launch.folder.path());
    if !backends.is_empty() {
        backends.into_iter().for_each(|backend| list.option("-netdev", backend));
        list.option("-device", card("net0", launch.mac));
    }
    for (id, nic) in (1..).map(|number| format!("net{number}")).zip(&launch.nics) {
        if let Some(backend) = of_host(&id, &nic.connection) {
            list.option("-netdev", backend);
            list.option("-device", card(&id, nic.mac));
        }
    }
    list.option("-chardev", "socket,id=console,path=console.sock,server=on,wait=off,logfile=console.log,logappend=on");
    list.option("-device", "isa-serial,chardev=console");
    list.option("-qmp", "unix:qmp.sock,server=on,wait=off");
}

/// What the network interface is connected to, which is `net0`; none without one. A name of an interface has no comma. Sockets are
/// in `folder`.
pub(crate) fn backends(launch: &Launch, folder: &Path) -> Vec<String> {
    let forward = launch.ssh_port.map(|port| format!(",hostfwd=tcp:127.0.0.1:{port}-:22")).unwrap_or_default();
    match &launch.connection {
        Connection::User => vec![format!("user,id=net0{forward}")],
        Connection::UserClosed => {
            let [interface, user] = user_network::SOCKETS.map(|name| {
                let path = folder.join(name).to_string_lossy().replace(',', ",,");
                format!("server=on,addr.type=unix,addr.path={path}")
            });
            // Both sockets are the relay's: what the interface sends reaches the user network only through it.
            vec![
                format!("stream,id=net0,{interface}"),
                format!("stream,id=relay,{user}"),
                format!("user,id=user,{}{forward}", user_network::SUBNET),
                "hubport,id=port0,hubid=0,netdev=relay".to_owned(),
                "hubport,id=port1,hubid=0,netdev=user".to_owned(),
            ]
        }
        connection => of_host("net0", connection).into_iter().collect(),
    }
}

/// What connects `id` to an interface of the host; `None` for what is connected to none.
fn of_host(id: &str, connection: &Connection) -> Option<String> {
    match connection {
        Connection::User | Connection::UserClosed | Connection::None => None,
        Connection::Bridge(name) => Some(format!("bridge,id={id},br={name}")),
        // Without these two QEMU runs a script of the host as this user.
        Connection::Tap(name) => Some(format!("tap,id={id},ifname={name},script=no,downscript=no")),
    }
}

/// No option ROM: nothing is ever started from the network.
fn card(id: &str, mac: MacAddress) -> String {
    format!("virtio-net-pci,netdev={id},mac={mac},romfile=")
}

struct Arguments(Vec<OsString>);

impl Arguments {
    fn option(&mut self, name: &str, value: impl Into<OsString>) {
        self.0.push(name.into());
        self.0.push(value.into());
    }
}

/// JSON, since a path with a comma needs no escape in it.
pub(crate) fn block_node(drive: &Drive, name: &str) -> Result<String, QemuError> {
    let mut node: Map<String, Value> = if let Some(text) = &drive.node {
        let invalid = || refuse("block node", text, "a JSON object");
        serde_json::from_str(text).map_err(|_| invalid())?
    } else {
        let filename =
            drive.file.to_str().ok_or_else(|| refuse("path of a drive", &drive.file.to_string_lossy(), "UTF-8"))?;
        // `discard` is obeyed by each node for itself; with the default `ignore` a discard reports success and erases nothing.
        let file = json!({
            "driver": "file", "filename": filename, "read-only": drive.read_only, "locking": "on",
            "discard": "unmap", "cache": {"direct": false, "no-flush": false},
        });
        let raw = json!({
            "driver": "raw", "file": file, "read-only": drive.read_only,
            "discard": "unmap", "detect-zeroes": "off",
        });
        raw.as_object().cloned().unwrap_or_default()
    };
    node.insert("node-name".to_owned(), name.into());
    Ok(Value::Object(node).to_string())
}

/// Refuses what QEMU would read as something else.
pub(crate) fn check(launch: &Launch) -> Result<(), QemuError> {
    if !is_uuid(&launch.uuid) {
        return Err(refuse("UUID", &launch.uuid, "36 characters such as 7f0b7d6e-58c1-4b8e-9a6e-0c2f8f3ad111"));
    }
    if launch.cpus == 0 || launch.cpus > 255 {
        return Err(refuse("number of processors", &launch.cpus.to_string(), "1 to 255"));
    }
    if launch.memory_mib == 0 {
        return Err(refuse("memory", "0", "at least 1 MiB"));
    }
    let printable = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !printable(&launch.cpu_model) {
        return Err(refuse("processor model", &launch.cpu_model, "printable ASCII without spaces"));
    }
    let mut paths = vec![launch.folder.path()];
    if let Some(boot) = &launch.boot {
        if boot.append.contains(['\0', '\n']) || boot.append.len() > 2047 {
            // COMMAND_LINE_SIZE of x86 is 2048 with the final NUL; the kernel would cut the rest off without a word.
            return Err(refuse("kernel command line", &boot.append, "one line of at most 2047 bytes"));
        }
        paths.extend([boot.kernel.as_path(), boot.initramfs.as_path()]);
    }
    for drive in &launch.drives {
        if !printable(&drive.serial) || drive.serial.len() > 20 || drive.serial.contains(',') {
            return Err(refuse(
                "serial of a drive",
                &drive.serial,
                "1 to 20 of printable ASCII without spaces or commas",
            ));
        }
        if drive.node.is_none() {
            paths.push(&drive.file);
        }
    }
    sockets_fit(launch.folder.path(), &launch.connection)?;
    match paths.into_iter().find(|path| !path.is_absolute()) {
        // QEMU runs in the attempt's folder, so a relative path would mean another file.
        Some(path) => Err(refuse("path", &path.to_string_lossy(), "an absolute path")),
        None => Ok(()),
    }
}

/// Refuses the folder of an attempt in which the sockets of the closed user network have paths that are too long.
pub(crate) fn sockets_fit(folder: &Path, connection: &Connection) -> Result<(), QemuError> {
    if *connection != Connection::UserClosed {
        return Ok(());
    }
    let paths = user_network::SOCKETS.map(|name| folder.join(name).into_os_string());
    match paths.into_iter().find(|path| path.len() > MAX_SOCKET) {
        Some(path) => {
            let allowed = "at most 107 bytes, which is all that the kernel takes: a shorter path of the state folder, or `resources.nic.host-access: true`";
            Err(refuse("path of a socket", &path.to_string_lossy(), allowed))
        }
        None => Ok(()),
    }
}

fn refuse(what: &'static str, found: &str, allowed: &'static str) -> QemuError {
    QemuError::InvalidLaunch { what, found: found.chars().take(200).collect(), allowed }
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
