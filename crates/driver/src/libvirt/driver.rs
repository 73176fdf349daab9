//! libvirt as a driver: each call of the seam by what `virsh` answers and by what this host shows of the process. Must not take
//! an answer that did not come for one.

use std::{
    io::Write as _,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use cloud_machine_protocol::{Connection, RootOfTrust, causes};
use cloud_machine_store::{AttemptFolder, DriverState, ImageFolder, MachineFolder, Store, identity::is_uuid};

use super::{
    Libvirt, LibvirtError, Virsh,
    domain::{self, Domain, Owner},
    words::Refusal,
};
use crate::{
    description::{Description, Support},
    error::{DriverError, DriverErrorKind},
    machine::{Backing, Boot, Doubt, Driver, MachineRef, Power, Processor, Running, SETTLE, Started, Trouble},
    qemu::{self, KEYS, Launch, Life, Process, Qemu, Subject},
    socket, ssh,
};

/// How often it is looked whether a doubt has ended: libvirt takes a moment until it sees that a process has.
const LOOK: Duration = Duration::from_millis(100);
/// Domains of one machine that are ended before it is given up.
const MAX_DOMAINS: usize = 4;
/// The description that a domain was started from, in the attempt's folder.
const DESCRIPTION: &str = "domain.xml";

/// A domain that runs.
#[derive(Debug)]
struct Machine {
    libvirt: Libvirt,
    uuid: String,
    process: Process,
}

impl Driver for Libvirt {
    fn name(&self) -> &'static str {
        "libvirt"
    }

    /// The machine is QEMU's in any case.
    fn describe(&self) -> Description {
        // It gives no machine an interface of this host.
        let of_host = ["resources.nic.network.", "resources.nics."];
        let own = |(key, _): &&(&'static str, Support)| !of_host.iter().any(|start| key.starts_with(start));
        let keys: Vec<(&'static str, Support)> = KEYS.iter().filter(own).copied().collect();
        Description::new("libvirt", &keys)
    }

    fn preflight(&self) -> Result<(), DriverError> {
        Ok(self.virsh()?.uuids().map(drop)?)
    }

    fn can_be_in(&self, folder: &MachineFolder, connection: &Connection) -> Result<(), DriverError> {
        // Of the longest name that an attempt will ever have.
        let attempt = AttemptFolder::at(folder.path().join("run/attempt-9999"), 9999);
        domain::sockets_fit(&attempt)?;
        Ok(qemu::sockets_fit(attempt.path(), connection)?)
    }

    fn processor(&self, store: &Store, image: &ImageFolder) -> Result<Processor, DriverError> {
        Qemu::default().processor(store, image)
    }

    fn kernel_arguments(&self) -> &'static str {
        "console=ttyS0"
    }

    /// Kernel, initramfs and command line come from this host.
    fn root_of_trust(&self) -> RootOfTrust {
        RootOfTrust::Host
    }

    fn power(&self, machine: &MachineRef, patience: Duration) -> Power {
        let settled = Instant::now() + patience;
        loop {
            // Whoever has no patience at all only shows the answer.
            match self.look(machine, patience.is_zero()) {
                Power::Unknown(_) if Instant::now() < settled => thread::sleep(LOOK),
                power => return power,
            }
        }
    }

    fn halt(&self, machine: &MachineRef, grace: Duration) -> Result<(), DriverError> {
        if let Some(uuid) = &machine.uuid {
            self.end_domain(machine, uuid).map_err(|error| match error {
                Ending::Libvirt(source) => {
                    LibvirtError::End { machine: machine.name.clone(), source: Box::new(source) }.into()
                }
                Ending::Doubt(doubt) => crate::machine::unproven(machine, doubt),
            })?;
        }
        // What libvirt does not know of any more, as after its state was lost.
        Ok(Subject::from(machine).end(grace)?)
    }

    fn start(&self, machine: &MachineRef, boot: &Boot, until: Instant) -> Result<Started, DriverError> {
        if boot.devices.iter().any(|device| device.backing != Backing::None) {
            let text = "cannot start a machine with an overlay or a dirty map: driver libvirt has neither";
            return Err(DriverError::new(DriverErrorKind::Refused, text));
        }
        let virsh = self.virsh()?;
        let mut launch = qemu::launch(boot)?;
        let mut created = create(&virsh, &launch, until);
        // The port was free when the machine was created; something else may have taken it since.
        if refused(&created).is_some_and(Refusal::is_port_taken) {
            let port = ssh::free_port().map_err(|error| DriverError::new(DriverErrorKind::Failed, error))?;
            launch.ssh_port = Some(port);
            created = create(&virsh, &launch, until);
        }
        created?;
        let subject = Subject::from(machine);
        let process = match subject.settled_life(SETTLE) {
            Life::Running(process) => process,
            Life::Ended => return Err(no_process(machine, "none with its UUID is shown").into()),
            Life::Unknown(doubt) => return Err(no_process(machine, &doubt.why).into()),
        };
        if boot.connection == Connection::UserClosed
            && let Err(error) = qemu::start_relay(&boot.folder)
        {
            self.halt(machine, SETTLE)?;
            return Err(error.into());
        }
        let state = DriverState::of(&subject.proof(&process)?)
            .map_err(|error| DriverError::new(DriverErrorKind::Failed, error))?;
        let path = boot.folder.agent_socket();
        // What the agent writes while nobody is connected is lost: first the port, then the processors.
        let agent = socket::open(&path, until).map_err(|source| {
            LibvirtError::from(qemu::QemuError::Io { operation: "connect to the agent's port", path, source })
        })?;
        let ssh_port = launch.ssh_port.unwrap_or(boot.ssh_port);
        let running = Box::new(Machine { libvirt: self.clone(), uuid: boot.uuid.clone(), process });
        Ok(Started { running, agent, state, ssh_port, rescue_host_key: None })
    }
}

impl Running for Machine {
    fn ended(&self, until: Instant) -> Result<bool, DriverError> {
        Ok(self.process.ended(until)?)
    }

    fn resume(&self, until: Instant) -> Result<(), DriverError> {
        Ok(self.libvirt.virsh()?.resume(&self.uuid, until)?)
    }

    fn trouble(&self, until: Instant) -> Result<Option<Trouble>, DriverError> {
        let virsh = self.libvirt.virsh()?;
        let state = virsh.state(&self.uuid, until)?;
        Ok(match (state.word.as_str(), state.reason.as_str()) {
            ("running" | "idle", _) => {
                let failed = |source| qemu::QemuError::Process {
                    operation: "look at the relay of",
                    pid: self.process.pid(),
                    source,
                };
                self.process.without_network().map_err(failed)?
            }
            ("in shutdown" | "shut off", _) => None,
            ("paused", "I/O error") if virsh.has_no_space(&self.uuid, until)? => Some(Trouble::NoSpace),
            ("paused", "I/O error") => Some(Trouble::Disk),
            (word, "") => Some(Trouble::Other(word.to_owned())),
            (word, reason) => Some(Trouble::Other(format!("{word} ({reason})"))),
        })
    }

    fn shut_down(&self, until: Instant) -> Result<bool, DriverError> {
        self.libvirt.virsh()?.shut_down(&self.uuid, until)?;
        Ok(self.process.ended(until)?)
    }
}

/// Why a domain was not ended.
enum Ending {
    Libvirt(LibvirtError),
    Doubt(Doubt),
}

impl Libvirt {
    /// What libvirt says, then what this host shows, and what follows from both.
    fn look(&self, machine: &MachineRef, to_show: bool) -> Power {
        let subject = Subject::from(machine);
        // Of one without a readable record its files are all that is known, and they tell of any process that has them.
        let Some(uuid) = &machine.uuid else {
            return match subject.life() {
                Life::Ended => Power::Off,
                Life::Running(process) => Power::Unknown(Doubt::new(Some(process.pid()), "it has no readable record")),
                Life::Unknown(doubt) => Power::Unknown(doubt),
            };
        };
        let asked = self.virsh().and_then(|virsh| {
            let virsh = if to_show { virsh.for_showing() } else { virsh };
            domain_of(&virsh, uuid, machine)
        });
        match (asked, subject.life()) {
            (Ok(Some(domain)), _) if !domain.ours => Power::Unknown(foreign(uuid, machine)),
            // A process with its UUID is it, whatever libvirt knows of it, and whether it answers or not.
            (_, Life::Running(process)) => {
                Power::On(Box::new(Machine { libvirt: self.clone(), uuid: uuid.clone(), process }))
            }
            (_, Life::Unknown(doubt)) => Power::Unknown(doubt),
            (Ok(Some(domain)), Life::Ended) if domain.active => {
                Power::Unknown(Doubt::new(None, "libvirt says that it runs, and no process of it is shown here"))
            }
            (Ok(_), Life::Ended) => Power::Off,
            (Err(error), Life::Ended) => Power::Unknown(unasked(&error)),
        }
    }

    fn end_domain(&self, machine: &MachineRef, uuid: &str) -> Result<(), Ending> {
        let virsh = self.virsh().map_err(Ending::Libvirt)?;
        for _ in 0..MAX_DOMAINS {
            match domain_of(&virsh, uuid, machine).map_err(Ending::Libvirt)? {
                Some(domain) if !domain.ours => return Err(Ending::Doubt(foreign(uuid, machine))),
                Some(domain) if domain.active => match virsh.destroy(uuid) {
                    Ok(()) => {}
                    // It may have ended by itself in between: it is asked for again.
                    Err(error) if error.refusal().is_some() => {
                        tracing::debug!(machine = %machine.name, %error, "libvirt did not end the domain");
                    }
                    Err(error) => return Err(Ending::Libvirt(error)),
                },
                _ => return Ok(()),
            }
        }
        let why = format!("libvirt was told {MAX_DOMAINS} times to end its domain {uuid}, which still runs");
        Err(Ending::Doubt(Doubt::new(None, why)))
    }
}

/// The domain of a machine; no word that is none goes to `virsh`.
fn domain_of(virsh: &Virsh, uuid: &str, machine: &MachineRef) -> Result<Option<Domain>, LibvirtError> {
    if !is_uuid(uuid) {
        let found = uuid.chars().take(200).collect();
        return Err(LibvirtError::InvalidDomain { what: "UUID", found, allowed: "36 characters" });
    }
    virsh.domain(&uuid.to_ascii_lowercase(), &machine.name)
}

fn foreign(uuid: &str, machine: &MachineRef) -> Doubt {
    let machine = &machine.name;
    let why = format!(
        "libvirt has a domain with its UUID {uuid} that does not say that it is cloud-machine's machine {machine}"
    );
    let way_out = format!("see `virsh dumpxml {uuid}`; end that domain and `virsh undefine` it if it is none of yours");
    Doubt { way_out: Some(way_out), ..Doubt::new(None, why) }
}

/// The doubt of a machine that libvirt could not be asked about.
fn unasked(error: &LibvirtError) -> Doubt {
    let way_out = if error.is_missing() {
        Some("`apt-get install libvirt-clients` brings virsh".to_owned())
    } else {
        error.way_out()
    };
    Doubt { way_out, ..Doubt::new(None, causes(error)) }
}

fn no_process(machine: &MachineRef, why: &str) -> LibvirtError {
    LibvirtError::NoProcess { machine: machine.name.clone(), why: why.to_owned() }
}

/// Starts the domain, paused.
fn create(virsh: &Virsh, launch: &Launch, until: Instant) -> Result<(), LibvirtError> {
    // As any user that the daemon of the system is told, which is the one whose files these are. That of a session has its own.
    let owner = virsh
        .connection()
        .is_system()
        .then(|| Owner { user: rustix::process::geteuid().as_raw(), group: rustix::process::getegid().as_raw() });
    let description = launch.folder.path().join(DESCRIPTION);
    write_private(&description, &domain::write(launch, owner)?)?;
    // libvirt would make it readable for others: it is there before.
    qemu::private(&launch.folder.console_log())?;
    let created = virsh.create(&description, until);
    if refused(&created).is_some_and(Refusal::is_name_taken) {
        return Err(LibvirtError::NameTaken { machine: launch.name.clone(), domain: domain::name(&launch.name) });
    }
    created
}

/// The words of libvirt, if it refused.
fn refused(answer: &Result<(), LibvirtError>) -> Option<&Refusal> {
    answer.as_ref().err().and_then(LibvirtError::refusal)
}

/// A file for its owner alone.
fn write_private(path: &Path, bytes: &[u8]) -> Result<(), LibvirtError> {
    let written = qemu::private(path)?.write_all(bytes);
    written.map_err(|source| qemu::QemuError::Io { operation: "write", path: path.to_owned(), source }.into())
}

#[cfg(test)]
#[path = "driver_tests.rs"]
mod tests;
