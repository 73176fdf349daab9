//! Power and rescue by commands of the operator, of which each is asked whether it did what it says. Must not read a command
//! from a machine's configuration, which a project may write.

use std::{
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use cloud_machine_child::{self as child, Bounds, ChildError, Output};
use cloud_machine_protocol::escape;
use cloud_machine_store::DriverState;
use serde::{Deserialize, Serialize};

use super::{
    Controls, LoginKey, RescueSystem, Source, Switch,
    control::{self, Control, Rescue, Words},
    fault::{failed, refused, timed_out},
};
use crate::{
    description::{
        Description,
        Support::{Exact, Ignored},
    },
    error::{DriverError, DriverErrorKind},
    machine::MachineRef,
};

/// Bytes that a command may say.
const OUTPUT: usize = 64 << 10;
/// How often it is asked whether a command has done what it says.
const LOOK: Duration = Duration::from_secs(1);
/// The folder of the operator's controls, below each folder of configuration.
const FOLDER: &str = "drivers/ssh";
/// Why a key that describes hardware has no effect.
const AS_IT_IS: &str = "the machine is there, and keeps what it has";

/// The operator's commands for machines of any kind.
#[derive(Clone, Debug)]
pub struct Commands {
    folders: Vec<PathBuf>,
}

impl Default for Commands {
    /// With files in the user's folder of configuration and in the host's.
    fn default() -> Self {
        Self { folders: control::folders().into_iter().map(|folder| folder.join(FOLDER)).collect() }
    }
}

/// What is kept of a machine: the name of its control. What the file says counts when it is used, so that it can be mended.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    control: String,
}

impl Source for Commands {
    fn name(&self) -> &'static str {
        "ssh"
    }

    fn describe(&self) -> Description {
        let mut keys = vec![
            ("resources.ram", Ignored { why: AS_IT_IS }),
            ("resources.cpus", Ignored { why: AS_IT_IS }),
            ("resources.disks.*.bus", Ignored { why: AS_IT_IS }),
        ];
        keys.extend(super::KEYS.iter().map(|key| (*key, Exact)));
        Description::new(self.name(), &keys)
    }

    fn settings(&self) -> Result<(), DriverError> {
        control::all(&self.folders)
    }

    fn controls(&self, machine: &MachineRef, control: &DriverState) -> Result<Box<dyn Controls>, DriverError> {
        let kept: Kept = control.read().map_err(|error| {
            failed(format!("the record of machine {} does not say which control it has: {error}", machine.name))
        })?;
        let control = control::read(&self.folders, &kept.control)?;
        let address = machine.remote.as_ref().map(|remote| remote.address.clone()).unwrap_or_default();
        let uuid = machine.uuid.clone().unwrap_or_default();
        Ok(Box::new(Commanded { name: machine.name.to_string(), uuid, address, control }))
    }

    fn control(&self, named: &str) -> Result<DriverState, DriverError> {
        control::read(&self.folders, named)?;
        DriverState::of(&Kept { control: named.to_owned() }).map_err(|error| failed(error.to_string()))
    }
}

/// One machine, and the commands for it.
#[derive(Debug)]
struct Commanded {
    name: String,
    uuid: String,
    address: String,
    control: Control,
}

impl Commanded {
    /// Runs `words`, in which the machine is named, to a good end.
    fn run(
        &self,
        words: &Words,
        login: Option<&LoginKey>,
        limit: Duration,
        until: Instant,
    ) -> Result<Output, DriverError> {
        let given = |word: &String| {
            let public = login.map_or_else(String::new, |key| key.private.with_extension("pub").display().to_string());
            let named = [
                ("{name}", &self.name),
                ("{uuid}", &self.uuid),
                ("{address}", &self.address),
                ("{public-key}", &public),
            ];
            named.iter().fold(word.clone(), |word, (token, value)| word.replace(token, value))
        };
        let mut words = words.0.iter().map(given);
        let program = words.next().unwrap_or_default();
        let limit = limit.min(until.saturating_duration_since(Instant::now()));
        let output = child::run(Command::new(&program).args(words), Bounds { limit, output: OUTPUT });
        let output = output.map_err(|error| match error {
            ChildError::TimedOut { .. } => DriverError::new(DriverErrorKind::TimedOut, error),
            error => DriverError::new(DriverErrorKind::Failed, error),
        })?;
        if output.status.success() {
            return Ok(output);
        }
        let said = escape::tail(&output.stderr, 5);
        Err(failed(format!(
            "the operator's command {program} for machine {} ended with {}\n{said}",
            self.name, output.status
        )))
    }

    /// What the command `words` says of a switch.
    fn asked(&self, words: &Words, limit: Duration, until: Instant) -> Result<Switch, DriverError> {
        let output = self.run(words, None, limit, until)?;
        position(&output.stdout).ok_or_else(|| {
            let (program, said) = (words.0.first().map_or("", String::as_str), escape::line(&output.stdout, 200));
            let text =
                format!("the operator's command {program} says neither on nor off of machine {}: {said}", self.name);
            failed(text)
                .with_way_out(Some("its output has to have one of the words on, running, off, stopped".to_owned()))
        })
    }

    /// Asks again and again until `words` says `wanted`.
    fn wait(
        &self,
        what: &str,
        words: &Words,
        wanted: Switch,
        limit: Duration,
        until: Instant,
    ) -> Result<(), DriverError> {
        let last = until.min(Instant::now() + limit);
        loop {
            // The last answer is waited for like any other.
            let is_over = Instant::now() + LOOK >= last;
            match self.asked(words, limit, until) {
                Ok(found) if found == wanted => return Ok(()),
                // It may be on its way, or not be told for a moment.
                Err(error) if is_over => return Err(error),
                _ => {}
            }
            if is_over {
                let text = format!(
                    "{what} of machine {} is not {wanted} {} s after its command ended",
                    self.name,
                    limit.as_secs()
                );
                return Err(timed_out(text));
            }
            thread::sleep(LOOK);
        }
    }

    fn rescue(&self) -> Result<&Rescue, DriverError> {
        self.control.rescue.as_ref().ok_or_else(|| {
            let text = format!("machine {} has no rescue system: its control names no commands for one", self.name);
            DriverError::new(DriverErrorKind::Refused, text)
                .with_way_out(Some("add `rescue` with on, off and state to the control file".to_owned()))
        })
    }
}

impl Controls for Commanded {
    fn power(&self, until: Instant) -> Result<Switch, DriverError> {
        self.asked(&self.control.power.state, self.control.power.limit.duration(), until)
    }

    fn switch(&self, to: Switch, until: Instant) -> Result<(), DriverError> {
        let power = &self.control.power;
        let (words, limit) = (if to == Switch::On { &power.on } else { &power.off }, power.limit.duration());
        if self.power(until)? == to {
            return Ok(());
        }
        self.run(words, None, limit, until)?;
        self.wait("the power", &power.state, to, limit, until)
    }

    fn enable_rescue(&self, login: &LoginKey, until: Instant) -> Result<RescueSystem, DriverError> {
        let rescue = self.rescue()?;
        let limit = rescue.limit.duration();
        let output = self.run(&rescue.on, Some(login), limit, until)?;
        self.wait("the rescue system", &rescue.state, Switch::On, limit, until)?;
        let told = String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(str::trim)
            .find(|line| line.starts_with("ssh-ed25519 "))
            .map(str::to_owned);
        let host_key = rescue.host_key.clone().or(told);
        Ok(RescueSystem { host_key, identity: rescue.identity.clone(), limit: Some(rescue.boot_limit.duration()) })
    }

    fn disable_rescue(&self, until: Instant) -> Result<(), DriverError> {
        let rescue = self.rescue()?;
        let limit = rescue.limit.duration();
        self.run(&rescue.off, None, limit, until)?;
        self.wait("the rescue system", &rescue.state, Switch::Off, limit, until)
    }

    fn entered(&self, until: Instant) -> Result<(), DriverError> {
        let rescue = self.rescue()?;
        if !rescue.one_boot || self.asked(&rescue.state, rescue.limit.duration(), until)? == Switch::Off {
            return Ok(());
        }
        let text = format!(
            "machine {} has not booted its rescue system, which is still on for the next start: what answers is something else",
            self.name
        );
        let way_out =
            "see that the machine starts what its owner says; without `one-boot` in the control file this is not asked";
        Err(refused(text).with_way_out(Some(way_out.to_owned())))
    }

    /// The machine was there before this host knew it.
    fn release(&self, _: Option<&LoginKey>, _: Instant) -> Result<(), DriverError> {
        Ok(())
    }
}

/// What a text says of a switch: of the words that mean one of its two positions it has those of one.
fn position(text: &[u8]) -> Option<Switch> {
    let text = String::from_utf8_lossy(text).to_ascii_lowercase();
    let words: Vec<&str> = text.split(|letter: char| !letter.is_alphanumeric()).collect();
    let has = |meaning: &[&str]| words.iter().any(|word| meaning.contains(word));
    match (has(&["on", "running", "true"]), has(&["off", "stopped", "false"])) {
        (true, false) => Some(Switch::On),
        (false, true) => Some(Switch::Off),
        _ => None,
    }
}

#[cfg(test)]
#[path = "commands_tests.rs"]
mod tests;
