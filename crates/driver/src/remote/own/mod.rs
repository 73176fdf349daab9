//! The driver of machines over which nobody has power: each reimages itself from its recovery partition. Its reports come from what the
//! machine's own disk starts, so they prove nothing. Must not say that a machine has ended.

mod machine;
mod paced;
mod request;
mod staging;

use std::{
    fs,
    os::unix::net::UnixStream,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use cloud_machine_protocol::{Connection, RootOfTrust, causes};
use cloud_machine_store::{DriverState, ImageFolder, Store, file, identity};

use self::{
    machine::{Machine, OverSsh},
    staging::Staging,
};
use super::{
    fault::{failed, refused},
    rescue::{own_system, place},
};
use crate::{
    description::{
        Description,
        Support::{Exact, Ignored},
    },
    error::{DriverError, DriverErrorKind},
    machine::{Boot, Delivery, Doubt, Driver, MachineRef, Power, Processor, Running, Started, Trouble},
    ssh::{self, SshError, Target},
};

/// Why a key that describes hardware has no effect.
const AS_IT_IS: &str = "the machine is there, and keeps what it has";
/// How long a machine may take to show its host key.
const ASK_LIMIT: Duration = Duration::from_secs(20);
/// How long it may take to be told to shut down.
const SHUT_DOWN_LIMIT: Duration = Duration::from_secs(30);
/// What `adopt` calls a control that nobody has named.
const NO_CONTROL: &str = "default";

/// The driver.
#[derive(Clone, Copy, Debug, Default)]
pub struct SelfReimage;

impl Driver for SelfReimage {
    fn name(&self) -> &'static str {
        "ssh-self"
    }

    fn describe(&self) -> Description {
        let hardware = ["resources.ram", "resources.cpus", "resources.disks.*.bus"];
        let mut keys: Vec<_> = hardware.map(|key| (key, Ignored { why: AS_IT_IS })).to_vec();
        keys.extend(super::KEYS.iter().map(|key| (*key, Exact)));
        Description::new(self.name(), &keys)
    }

    fn preflight(&self) -> Result<(), DriverError> {
        ssh::preflight()
    }

    fn can_connect(&self, connection: &Connection) -> Result<(), DriverError> {
        super::driver::on_no_network_of_this_host(connection)
    }

    fn processor(&self, _: &Store, _: &ImageFolder) -> Result<Processor, DriverError> {
        Ok(super::driver::its_own_processor())
    }

    fn kernel_arguments(&self) -> &'static str {
        ""
    }

    /// What starts the agent lies on a disk that a job could write.
    fn root_of_trust(&self) -> RootOfTrust {
        RootOfTrust::MachineDisk
    }

    fn delivery(&self) -> Delivery {
        Delivery::Connection
    }

    /// It runs when it answers with its host key; what does not answer may run all the same.
    fn power(&self, machine: &MachineRef, _: Duration) -> Power {
        match answers(machine, Instant::now() + ASK_LIMIT) {
            Ok(()) => Power::On(Box::new(Alone { machine: machine.clone() })),
            Err(error) => Power::Unknown(Doubt { way_out: error.way_out.clone(), ..Doubt::new(None, causes(&error)) }),
        }
    }

    fn halt(&self, machine: &MachineRef, _: Duration) -> Result<(), DriverError> {
        let text = format!("nobody has power over machine {}: that it has ended cannot be known", machine.name);
        let way_out =
            "`cloud-machine ssh NAME -- systemctl poweroff` asks its system; driver ssh has commands for the power";
        Err(refused(text).with_way_out(Some(way_out.to_owned())))
    }

    fn start(&self, machine: &MachineRef, boot: &Boot, until: Instant) -> Result<Started, DriverError> {
        let over_ssh = reach(machine, boot)?;
        let told = over_ssh.tell(until)?;
        request::can_start(&told)?;
        let token = identity::nonce().map_err(|error| DriverError::new(DriverErrorKind::Failed, error))?.to_string();
        let (ours, theirs) = UnixStream::pair().map_err(|error| failed(format!("cannot make a socket: {error}")))?;
        let staging = Staging {
            machine: Box::new(over_ssh),
            told,
            kernel: boot.kernel.clone(),
            initramfs: boot.initramfs.clone(),
            command_line: boot.command_line.clone(),
            token,
            pause: Staging::PAUSE,
            until,
        };
        thread::spawn(move || staging.serve(theirs));
        Ok(Started {
            running: Box::new(Alone { machine: machine.clone() }),
            agent: ours,
            state: DriverState::of(&"reimages itself").map_err(|error| failed(error.to_string()))?,
            ssh_port: boot.ssh_port,
            rescue_host_key: None,
        })
    }

    fn control(&self, named: &str) -> Option<Result<DriverState, DriverError>> {
        if named != NO_CONTROL {
            let text = format!("a machine that reimages itself has no control, and none is called {named}");
            return Some(Err(refused(text).with_way_out(Some("leave `--control` out, or use driver ssh".to_owned()))));
        }
        Some(DriverState::of(&NO_CONTROL).map_err(|error| failed(error.to_string())))
    }

    fn makes(&self) -> bool {
        false
    }
}

/// Whether the machine answers with the host key that is known.
fn answers(machine: &MachineRef, until: Instant) -> Result<(), DriverError> {
    let (host, port) = place(machine)?;
    let silent = |error: SshError| {
        let way_out = format!("start the machine, and see that SSH answers at {}", host.place(port));
        ssh_failed(error).with_way_out(Some(way_out))
    };
    let found = ssh::host_key(&host, port, until).map_err(silent)?;
    let known = known_keys(machine)?;
    if known.iter().any(|known| ssh::is_same_key(known, &found)) {
        return Ok(());
    }
    let expected = known.first().map_or_else(|| "none".to_owned(), |key| ssh::fingerprint(key));
    let text = format!(
        "what answers in the place of machine {} has the host key {}, and {expected} was expected",
        machine.name,
        ssh::fingerprint(&found)
    );
    let way_out = "somebody else may answer there; if its owner gave it a new key, `cloud-machine delete` forgets the machine and \
                   `cloud-machine adopt` takes it over again by that one";
    Err(refused(text).with_way_out(Some(way_out.to_owned())))
}

/// The host key of its last accepted report, or the one that it was taken over with.
fn known_keys(machine: &MachineRef) -> Result<Vec<String>, DriverError> {
    let pinned =
        file::read(&machine.folder.known_hosts(), file::MAX_WORD).map_err(|error| failed(error.to_string()))?;
    let pinned = pinned.map(|text| String::from_utf8_lossy(&text).into_owned());
    Ok(match pinned {
        Some(text) => text.lines().filter_map(|line| line.split_once(' ').map(|(_, key)| key.to_owned())).collect(),
        None => machine.remote.iter().filter_map(|remote| remote.host_key.clone()).collect(),
    })
}

/// The machine as it is, and as it will be with the host key that it keeps.
fn reach(machine: &MachineRef, boot: &Boot) -> Result<OverSsh, DriverError> {
    let (host, port) = place(machine)?;
    let name = host.known_as(port);
    let pin = |file: &str, key: &str| -> Result<PathBuf, DriverError> {
        let path = boot.folder.path().join(file);
        ssh::write_known_hosts(&path, &name, key).map_err(ssh_failed)?;
        Ok(path)
    };
    let now = known_keys(machine)?
        .into_iter()
        .next()
        .ok_or_else(|| failed(format!("no host key of machine {} is known", machine.name)))?;
    let kept = machine.folder.kept_host_key();
    let after = match fs::exists(&kept) {
        Ok(true) => ssh::public_key(&kept).map_err(ssh_failed)?,
        _ => {
            let text = format!(
                "machine {} keeps no host key: nobody would know that it answers after a reimage",
                machine.name
            );
            return Err(refused(text).with_way_out(Some("set `identity.ssh-host-keys: keep`".to_owned())));
        }
    };
    let target = own_system(machine)?;
    let now = Target { known_hosts: pin("known_hosts", &now)?, ..target.clone() };
    let after = Target { known_hosts: pin("known_hosts_after", &after)?, ..target };
    Ok(OverSsh { name: machine.name.to_string(), now, after })
}

fn ssh_failed(error: SshError) -> DriverError {
    DriverError::new(DriverErrorKind::Failed, error)
}

/// A machine that runs, over which nobody has power.
#[derive(Debug)]
struct Alone {
    machine: MachineRef,
}

impl Running for Alone {
    /// Nobody says so of it.
    fn ended(&self, _: Instant) -> Result<bool, DriverError> {
        Ok(false)
    }

    fn resume(&self, _: Instant) -> Result<(), DriverError> {
        Ok(())
    }

    fn trouble(&self, _: Instant) -> Result<Option<Trouble>, DriverError> {
        Ok(None)
    }

    fn shut_down(&self, until: Instant) -> Result<bool, DriverError> {
        let limit = SHUT_DOWN_LIMIT.min(until.saturating_duration_since(Instant::now()));
        let asked = ssh::ask(&own_system(&self.machine)?, &["systemctl", "poweroff", "--no-block"], limit);
        let output = asked.map_err(ssh_failed)?;
        if output.status.success() {
            return Ok(false);
        }
        Err(failed(format!("the machine's system was not told to shut down: {}", output.status)))
    }
}

#[cfg(test)]
mod tests {
    use cloud_machine_store::RemoteRecord;

    use super::*;
    use crate::machine::{end, unproven, without_end};

    fn machine(folder: &std::path::Path, host_key: Option<String>) -> MachineRef {
        let store = Store::open(folder.join("state")).unwrap();
        let name = "web".parse().unwrap();
        let remote = RemoteRecord {
            address: "127.0.0.1".to_owned(),
            port: ssh::free_port().unwrap(),
            host_key,
            control: DriverState::of(&NO_CONTROL).unwrap(),
            facts: None,
            adopted: "2026-01-01T00:00:00Z".parse().unwrap(),
            snapshot: None,
        };
        let folder = store.machine(&name);
        MachineRef { remote: Some(remote), ..MachineRef::without_record(name, folder) }
    }

    #[test]
    fn no_other_driver_goes_on_without_the_end_of_the_last_boot() {
        let folder = tempfile::tempdir().unwrap();
        let machine = machine(folder.path(), None);
        let drivers = crate::drivers();
        let go_on = drivers.all().filter(|driver| without_end(*driver, &machine).is_ok()).map(Driver::name);
        assert_eq!(go_on.collect::<Vec<_>>(), ["ssh-self"]);
        // That it has ended is what it never says.
        let error = end(&SelfReimage, &machine, Duration::ZERO).unwrap_err();
        assert!(error.to_string().contains("nobody has power over machine web"), "{error}");
    }

    #[test]
    fn a_machine_that_does_not_answer_may_run() {
        let folder = tempfile::tempdir().unwrap();
        let machine = machine(folder.path(), None);
        let Power::Unknown(doubt) = SelfReimage.power(&machine, Duration::ZERO) else { panic!("it does not run") };
        let error = unproven(&machine, doubt);
        assert!(error.to_string().contains("cannot tell whether machine web runs"), "{error}");
        assert!(error.way_out.unwrap().contains("start the machine"));
    }

    #[test]
    fn a_machine_is_known_by_the_key_of_its_last_report_and_before_that_by_the_one_it_was_taken_over_with() {
        let folder = tempfile::tempdir().unwrap();
        let machine = machine(folder.path(), Some("ssh-ed25519 AAAA".to_owned()));
        assert_eq!(known_keys(&machine).unwrap(), ["ssh-ed25519 AAAA"]);
        fs::create_dir_all(machine.folder.path()).unwrap();
        file::replace(&machine.folder.known_hosts(), b"cloud-machine ssh-ed25519 BBBB\n").unwrap();
        assert_eq!(known_keys(&machine).unwrap(), ["ssh-ed25519 BBBB"]);
    }

    #[test]
    fn a_control_that_somebody_names_is_refused() {
        assert!(SelfReimage.control(NO_CONTROL).unwrap().is_ok());
        let error = SelfReimage.control("ipmi").unwrap().unwrap_err();
        assert!(error.to_string().contains("none is called ipmi"), "{error}");
    }
}
