//! The driver of machines that are elsewhere: off is what their power says, and their agent runs on a rescue system. Must not know
//! who has the power.

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use cloud_machine_protocol::{Connection, Digest, MachineFacts, RootOfTrust, causes};
use cloud_machine_store::{DriverState, ImageFolder, Store};

use super::{
    Controls, LoginKey, Remote, RescueSystem, Source, Switch,
    fault::{failed, refused, timed_out},
    rescue,
};
use crate::{
    description::Description,
    error::{DriverError, DriverErrorKind},
    machine::{
        Boot, Delivery, Doubt, Driver, GivenSizes, KnownMachine, MachineRef, Orphan, Power, Processor, Provisioned,
        Running, Sizes, Snapshots, Started, Trouble, WantedMachine,
    },
    ssh::{self, ServingAgent},
};

/// How long the power may take to be told.
const ASK_LIMIT: Duration = Duration::from_secs(30);
/// How long it may take to be switched, besides what its owner's own limit is.
const SWITCH_LIMIT: Duration = Duration::from_secs(600);
/// How often it is asked whether a machine has ended: commands and requests of a provider cost something.
const LOOK: Duration = Duration::from_secs(5);
/// How long a machine may take to be told to shut down.
const SHUT_DOWN_LIMIT: Duration = Duration::from_secs(30);

impl<S: Source> Remote<S> {
    fn controls(&self, machine: &MachineRef) -> Result<Box<dyn Controls>, DriverError> {
        let remote = machine.remote.as_ref().ok_or_else(|| {
            let text = format!("machine {} has not been adopted: its record does not say where it is", machine.name);
            DriverError::new(DriverErrorKind::Refused, text)
        })?;
        self.0.controls(machine, &remote.control)
    }

    fn running(machine: &MachineRef, controls: Box<dyn Controls>, agent: Option<ServingAgent>) -> Elsewhere {
        let parts = Parts { controls, agent, looked: None };
        Elsewhere { machine: machine.clone(), parts: Mutex::new(parts) }
    }
}

impl<S: Source> Driver for Remote<S> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn describe(&self) -> Description {
        self.0.describe()
    }

    fn preflight(&self) -> Result<(), DriverError> {
        ssh::preflight()?;
        self.0.preflight()
    }

    fn settings(&self) -> Result<(), DriverError> {
        self.0.settings()
    }

    fn can_connect(&self, connection: &Connection) -> Result<(), DriverError> {
        on_no_network_of_this_host(connection)
    }

    fn processor(&self, _: &Store, _: &ImageFolder) -> Result<Processor, DriverError> {
        Ok(its_own_processor())
    }

    fn kernel_arguments(&self) -> &'static str {
        ""
    }

    /// Whoever owns the machine starts the rescue system.
    fn root_of_trust(&self) -> RootOfTrust {
        RootOfTrust::Provider
    }

    fn delivery(&self) -> Delivery {
        Delivery::Connection
    }

    fn power(&self, machine: &MachineRef, _: Duration) -> Power {
        let controls = match self.controls(machine) {
            Ok(controls) => controls,
            Err(error) => return Power::Unknown(doubt(error)),
        };
        match controls.power(Instant::now() + ASK_LIMIT) {
            Ok(Switch::Off) => Power::Off,
            Ok(Switch::On) => Power::On(Box::new(Self::running(machine, controls, None))),
            Err(error) => Power::Unknown(doubt(error)),
        }
    }

    fn halt(&self, machine: &MachineRef, _: Duration) -> Result<(), DriverError> {
        self.controls(machine)?.switch(Switch::Off, Instant::now() + SWITCH_LIMIT)
    }

    fn start(&self, machine: &MachineRef, boot: &Boot, until: Instant) -> Result<Started, DriverError> {
        let controls = self.controls(machine)?;
        let login = LoginKey::of(machine)?;
        let system = into_rescue(machine, &*controls, &login, until)?;
        let entered = rescue::enter(machine, boot, &login, &system, until)?;
        let state = DriverState::of(&"rescue system").map_err(|error| failed(error.to_string()))?;
        Ok(Started {
            running: Box::new(Self::running(machine, controls, Some(entered.agent))),
            agent: entered.socket,
            state,
            ssh_port: boot.ssh_port,
            rescue_host_key: Some(entered.host_key),
        })
    }

    fn start_system(&self, machine: &MachineRef, until: Instant) -> Result<Box<dyn Running>, DriverError> {
        let controls = self.controls(machine)?;
        controls.disable_rescue(until)?;
        controls.switch(Switch::On, until)?;
        Ok(Box::new(Self::running(machine, controls, None)))
    }

    fn release(&self, machine: &MachineRef) -> Result<(), DriverError> {
        if !self.0.makes() {
            return Ok(());
        }
        // One whose key is lost is given up all the same.
        let login = LoginKey::of(machine).ok();
        self.controls(machine)?.release(login.as_ref(), Instant::now() + SWITCH_LIMIT)
    }

    fn makes(&self) -> bool {
        self.0.makes()
    }

    fn sizes(&self, wanted: Sizes, cache: &Path, until: Instant) -> Option<Result<GivenSizes, DriverError>> {
        self.0.sizes(wanted, cache, until)
    }

    fn provision(&self, wanted: &WantedMachine<'_>, until: Instant) -> Option<Result<Provisioned, DriverError>> {
        self.0.provision(wanted, until)
    }

    fn survey(
        &self,
        machine: &MachineRef,
        agent: (&Path, Digest),
        until: Instant,
    ) -> Result<MachineFacts, DriverError> {
        let (controls, login) = (self.controls(machine)?, LoginKey::of(machine)?);
        controls.switch(Switch::Off, until)?;
        let system = into_rescue(machine, &*controls, &login, until)?;
        let facts = rescue::survey(machine, agent, &login, &system, until)?;
        controls.entered(until)?;
        Ok(facts)
    }

    fn snapshots(&self) -> Option<&dyn Snapshots> {
        self.0.keeps_snapshots().then_some(self)
    }

    fn orphans(&self, owner: &str, known: &[KnownMachine]) -> Option<Result<Vec<Orphan>, DriverError>> {
        self.0.orphans(owner, known)
    }

    fn remove_orphan(&self, owner: &str, orphan: &Orphan) -> Result<(), DriverError> {
        self.0.remove_orphan(owner, orphan)
    }

    fn control(&self, named: &str) -> Option<Result<DriverState, DriverError>> {
        Some(self.0.control(named))
    }
}

impl<S: Source> Snapshots for Remote<S> {
    fn keep(
        &self,
        machine: &MachineRef,
        owner: &str,
        attempt: &str,
        until: Instant,
    ) -> Result<DriverState, DriverError> {
        let controls = self.controls(machine)?;
        // One that somebody else has switched on is not as the agent left it.
        let is_off = |controls: &dyn Controls| match controls.power(until)? {
            Switch::Off => Ok(()),
            Switch::On => {
                let text = format!("machine {} was switched on by somebody else: its disk is not kept", machine.name);
                Err(refused(text))
            }
        };
        is_off(&*controls)?;
        let kept = controls.keep_disk(owner, attempt, until)?;
        is_off(&*controls)?;
        Ok(kept)
    }

    fn check(
        &self,
        machine: &MachineRef,
        owner: &str,
        request: &str,
        snapshot: &DriverState,
        until: Instant,
    ) -> Result<(), DriverError> {
        self.controls(machine)?.check_disk(owner, request, snapshot, until)
    }

    fn rebuild(&self, machine: &MachineRef, snapshot: &DriverState, until: Instant) -> Result<(), DriverError> {
        let controls = self.controls(machine)?;
        // Or the rebuilt machine would start in it.
        controls.disable_rescue(until)?;
        controls.rebuild(snapshot, until)
    }

    fn discard(
        &self,
        machine: &MachineRef,
        owner: &str,
        snapshot: &DriverState,
        until: Instant,
    ) -> Result<(), DriverError> {
        self.controls(machine)?.discard_disk(owner, snapshot, until)
    }
}

/// Refuses a network of this host's, which a machine elsewhere cannot have.
pub(super) fn on_no_network_of_this_host(connection: &Connection) -> Result<(), DriverError> {
    // What nothing else is said of.
    if connection.is_user() {
        return Ok(());
    }
    let text = format!("cannot connect a machine to {connection}: its network is its owner's, not this host's");
    Err(DriverError::new(DriverErrorKind::Refused, text).with_way_out(Some("leave `network` out".to_owned())))
}

/// What the instructions of a machine elsewhere are executed by.
pub(super) fn its_own_processor() -> Processor {
    let reason = "this host does not run the machine".to_owned();
    Processor { accelerator: "none".to_owned(), model: "the machine's own".to_owned(), reason }
}

/// Switches a machine that is off on, into its rescue system.
fn into_rescue(
    machine: &MachineRef,
    controls: &dyn Controls,
    login: &LoginKey,
    until: Instant,
) -> Result<RescueSystem, DriverError> {
    let system = controls.enable_rescue(login, until)?;
    // Whatever was switched on before that runs the machine's own system.
    if controls.power(until)? != Switch::Off {
        let text = format!(
            "machine {} was switched on by somebody else before its rescue system: what runs there is not believed",
            machine.name
        );
        let way_out = "see what switches it on, such as a timer of its firmware or another program; then try again";
        return Err(refused(text).with_way_out(Some(way_out.to_owned())));
    }
    controls.switch(Switch::On, until)?;
    Ok(system)
}

fn doubt(error: DriverError) -> Doubt {
    Doubt { way_out: error.way_out.clone(), ..Doubt::new(None, causes(&error)) }
}

impl LoginKey {
    /// This host's key for a machine.
    fn of(machine: &MachineRef) -> Result<Self, DriverError> {
        let private = machine.folder.ssh_key();
        let failed = |error: ssh::SshError| DriverError::new(DriverErrorKind::Failed, error);
        let public = ssh::public_key(&private).map_err(failed)?;
        Ok(Self { private, public })
    }
}

/// A machine that has power.
#[derive(Debug)]
struct Elsewhere {
    machine: MachineRef,
    parts: Mutex<Parts>,
}

#[derive(Debug)]
struct Parts {
    controls: Box<dyn Controls>,
    /// The agent, while it is the rescue system that runs.
    agent: Option<ServingAgent>,
    /// When the power was asked for last, and what was said.
    looked: Option<(Instant, Switch)>,
}

impl Parts {
    /// The power now, or a moment ago.
    fn power(&mut self) -> Result<Switch, DriverError> {
        if let Some((at, found)) = self.looked
            && at.elapsed() < LOOK
        {
            return Ok(found);
        }
        let found = self.controls.power(Instant::now() + ASK_LIMIT)?;
        self.looked = Some((Instant::now(), found));
        Ok(found)
    }
}

impl Elsewhere {
    fn with<T>(&self, act: impl FnOnce(&mut Parts) -> T) -> T {
        act(&mut self.parts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Running for Elsewhere {
    fn ended(&self, until: Instant) -> Result<bool, DriverError> {
        loop {
            if self.with(Parts::power)? == Switch::Off {
                return Ok(true);
            }
            if Instant::now() >= until {
                return Ok(false);
            }
            thread::sleep(LOOK.min(until.saturating_duration_since(Instant::now())));
        }
    }

    /// Its agent waits for the host's first message; before that, whoever starts the rescue system has to agree that it did.
    fn resume(&self, until: Instant) -> Result<(), DriverError> {
        self.with(|parts| parts.controls.entered(until))
    }

    fn trouble(&self, _: Instant) -> Result<Option<Trouble>, DriverError> {
        Ok(None)
    }

    fn agent_ended(&self, until: Instant) -> Result<bool, DriverError> {
        self.with(|parts| {
            let mut agent = parts.agent.take().ok_or_else(|| failed("no agent runs on the machine"))?;
            let ended =
                agent.ended(until).map_err(|error| failed(format!("cannot watch the agent's connection: {error}")))?;
            match ended {
                None => Err(timed_out("the agent had the word to go and did not end")),
                Some(status) if !status.success() => {
                    Err(failed(format!("the agent had the word to go and ended with {status}")))
                }
                Some(_) => Ok(true),
            }
        })
    }

    fn start_system(&self, until: Instant) -> Result<Option<DriverState>, DriverError> {
        self.with(|parts| {
            parts.controls.disable_rescue(until)?;
            parts.controls.restart(until)?;
            parts.looked = None;
            DriverState::of(&"own system").map(Some).map_err(|error| failed(error.to_string()))
        })
    }

    fn shut_down(&self, until: Instant) -> Result<bool, DriverError> {
        let limit = SHUT_DOWN_LIMIT.min(until.saturating_duration_since(Instant::now()));
        let target = rescue::own_system(&self.machine)?;
        let asked = ssh::ask(&target, &["systemctl", "poweroff", "--no-block"], limit);
        let output = asked.map_err(|error| DriverError::new(DriverErrorKind::Failed, error))?;
        if !output.status.success() {
            return Err(failed(format!("the machine's system was not told to shut down: {}", output.status)));
        }
        self.with(|parts| parts.looked = None);
        self.ended(until)
    }
}
