//! QEMU as a driver: what it satisfies, and each call of the seam by what the modules beside this one do. Must not decide.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use cloud_machine_child::ChildError;
use cloud_machine_protocol::{Connection, RootOfTrust};
use cloud_machine_store::{DriverState, ImageFolder, MachineFolder, Store};

use super::{
    Accelerator, DirectBoot, Drive, Launch, Life, Process, Qemu, QemuError, Subject, connection, decide, disk,
    kernel::Kernel, keys::KEYS, process_table::HostProcesses,
};
use crate::{
    description::Description,
    error::{DriverError, DriverErrorKind},
    machine::{
        Backing, BlockDevice, Boot, DirtyMap, Driver, MachineRef, Power, ProcessTable, Processor, Running, Started,
        Storage, Trouble,
    },
    socket, ssh,
};

/// The package of the machine's program.
const SYSTEM: DriverErrorKind =
    DriverErrorKind::MissingTool { package: "qemu-system-x86", programs: "qemu-system-x86_64" };
/// The package of the programs for disk files.
const UTILS: DriverErrorKind =
    DriverErrorKind::MissingTool { package: "qemu-utils", programs: "qemu-img and qemu-nbd" };

/// The way out when the bridge helper refuses.
const BRIDGE_REFUSED: &str = "allow it with a line `allow NAME` in /etc/qemu/bridge.conf; for users other than root the helper needs \
    CAP_NET_ADMIN, as by `chmod u+s /usr/lib/qemu/qemu-bridge-helper`";

/// The way out when QEMU does not make the closed user network.
const CLOSED_REFUSED: &str = "QEMU 7.2 or later closes the host's loopback interface to machines; a machine of a configuration with \
    `nic: {host-access: true}` reaches it, and runs with an older one";

impl Driver for Qemu {
    fn name(&self) -> &'static str {
        "qemu"
    }

    fn describe(&self) -> Description {
        Description::new("qemu", KEYS)
    }

    fn preflight(&self) -> Result<(), DriverError> {
        self.version().map(drop).map_err(|error| DriverError::new(SYSTEM, error))
    }

    fn can_connect(&self, connection: &Connection) -> Result<(), DriverError> {
        connection::check(connection)
    }

    fn can_be_in(&self, folder: &MachineFolder, connection: &Connection) -> Result<(), DriverError> {
        // Of the longest name that an attempt will ever have.
        Ok(super::sockets_fit(&folder.path().join("run/attempt-9999"), connection)?)
    }

    fn processor(&self, store: &Store, image: &ImageFolder) -> Result<Processor, DriverError> {
        let verdict = decide(self, store, image)?;
        Ok(Processor { accelerator: verdict.accelerator.to_string(), model: verdict.cpu_model, reason: verdict.reason })
    }

    fn kernel_arguments(&self) -> &'static str {
        "console=ttyS0"
    }

    /// Kernel, initramfs and command line come from this host.
    fn root_of_trust(&self) -> RootOfTrust {
        RootOfTrust::Host
    }

    fn power(&self, machine: &MachineRef, patience: Duration) -> Power {
        match Subject::from(machine).settled_life(patience) {
            Life::Ended => Power::Off,
            Life::Running(process) => Power::On(Box::new(process)),
            Life::Unknown(doubt) => Power::Unknown(doubt),
        }
    }

    fn process_table(&self) -> Option<Box<dyn ProcessTable>> {
        match HostProcesses::take(&Kernel::host()) {
            Ok(table) => Some(Box::new(table)),
            Err(error) => {
                tracing::debug!(%error, "each machine is asked for by itself");
                None
            }
        }
    }

    fn halt(&self, machine: &MachineRef, grace: Duration) -> Result<(), DriverError> {
        Ok(Subject::from(machine).end(grace)?)
    }

    fn start(&self, machine: &MachineRef, boot: &Boot, until: Instant) -> Result<Started, DriverError> {
        let mut launch = launch(boot)?;
        let mut ssh_port = boot.ssh_port;
        let mut launched = self.launch(&launch);
        // The port was free when the machine was created; something else may have taken it since.
        if launched.as_ref().is_err_and(QemuError::is_port_taken) {
            ssh_port = ssh::free_port().map_err(|error| DriverError::new(DriverErrorKind::Failed, error))?;
            launch.ssh_port = Some(ssh_port);
            launched = self.launch(&launch);
        }
        let process = launched?;
        let state = DriverState::of(&Subject::from(machine).proof(&process)?)
            .map_err(|error| DriverError::new(DriverErrorKind::Failed, error))?;
        let path = boot.folder.agent_socket();
        // What the agent writes while nobody is connected is lost: first the port, then the processors.
        let agent = socket::open(&path, until).map_err(QemuError::io("connect to the agent's port", path))?;
        Ok(Started { running: Box::new(process), agent, state, ssh_port, rescue_host_key: None })
    }

    fn storage(&self) -> Option<&dyn Storage> {
        Some(self)
    }
}

impl Running for Process {
    fn ended(&self, until: Instant) -> Result<bool, DriverError> {
        Ok(Self::ended(self, until)?)
    }

    fn resume(&self, until: Instant) -> Result<(), DriverError> {
        Self::resume(self, until).map_err(|error| {
            let kind = if Instant::now() >= until { DriverErrorKind::TimedOut } else { DriverErrorKind::Failed };
            DriverError::new(kind, error)
        })
    }

    fn trouble(&self, until: Instant) -> Result<Option<Trouble>, DriverError> {
        Self::trouble(self, until).map_err(|error| DriverError::new(DriverErrorKind::Failed, error))
    }

    fn shut_down(&self, until: Instant) -> Result<bool, DriverError> {
        Ok(self.power_down(until)?)
    }
}

impl Storage for Qemu {
    fn new_overlay(&self, overlay: &Path, golden: &Path, size: u64) -> Result<(), DriverError> {
        disk::new_overlay(overlay, golden, size).map_err(of_tools)
    }

    fn new_map(&self, map: &Path, size: u64) -> Result<(), DriverError> {
        disk::new_map(map, size).map_err(of_tools)
    }

    fn read_map(&self, map: &Path, raw: &Path, size: u64) -> Result<DirtyMap, DriverError> {
        disk::read_map(map, raw, size).map_err(of_tools)
    }

    fn is_newer_than_map(&self, raw: &Path, map: &Path) -> Result<bool, DriverError> {
        disk::is_newer_than_map(raw, map).map_err(of_tools)
    }
}

/// A boot as QEMU takes it.
pub(crate) fn launch(boot: &Boot) -> Result<Launch, DriverError> {
    let accelerator = Accelerator::named(&boot.processor.accelerator).ok_or_else(|| {
        DriverError::new(DriverErrorKind::Refused, format!("there is no accelerator {:?}", boot.processor.accelerator))
    })?;
    Ok(Launch {
        name: boot.name.clone(),
        uuid: boot.uuid.clone(),
        memory_mib: boot.ram >> 20,
        cpus: boot.cpus,
        accelerator,
        cpu_model: boot.processor.model.clone(),
        boot: Some(DirectBoot {
            kernel: boot.kernel.clone(),
            initramfs: boot.initramfs.clone(),
            append: boot.command_line.clone(),
        }),
        drives: boot.devices.iter().map(drive).collect::<Result<_, _>>()?,
        mac: boot.mac,
        connection: boot.connection.clone(),
        nics: boot.nics.clone(),
        ssh_port: boot.connection.is_user().then_some(boot.ssh_port),
        folder: boot.folder.clone(),
    })
}

fn drive(device: &BlockDevice) -> Result<Drive, QemuError> {
    let node = match &device.backing {
        Backing::None => None,
        Backing::Map(map) => Some(disk::mapped_node(map, &device.file)?),
        Backing::Golden(golden) => Some(disk::overlay_node(&device.file, golden)?),
    };
    Ok(Drive {
        bus: device.bus,
        file: device.file.clone(),
        serial: device.serial.clone(),
        read_only: device.read_only,
        node,
    })
}

/// A failure of QEMU's disk tools.
fn of_tools(error: QemuError) -> DriverError {
    match error {
        QemuError::Run { .. } => DriverError::new(UTILS, error),
        other => other.into(),
    }
}

impl From<QemuError> for DriverError {
    fn from(error: QemuError) -> Self {
        let kind = match &error {
            QemuError::Unproven { pid, .. } => DriverErrorKind::Unproven { pid: *pid },
            QemuError::InvalidLaunch { .. } => DriverErrorKind::Refused,
            QemuError::Undecided { .. } | QemuError::Child(ChildError::TimedOut { .. }) => DriverErrorKind::TimedOut,
            _ => DriverErrorKind::Failed,
        };
        let way_out = match &error {
            QemuError::Unproven { way_out, .. } => way_out.clone(),
            error if error.is_stream_refused() => Some(CLOSED_REFUSED.to_owned()),
            error if error.is_bridge_refused() => Some(BRIDGE_REFUSED.to_owned()),
            _ => None,
        };
        Self::new(kind, error).with_way_out(way_out)
    }
}
