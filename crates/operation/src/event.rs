//! What an operation tells while it works: values with a machine and a place in the work, for whoever shows or records them.
//! Must not print.

use std::fmt;

use cloud_machine_driver::machine::Trouble;
use cloud_machine_packing::golden::Checked;
use cloud_machine_protocol::MachineName;
use cloud_machine_store::Strategy;
use serde::{Deserialize, Serialize};

use crate::readable;

/// Takes what operations tell. Called from the thread that works, so it should return soon.
pub trait Observer: Sync {
    /// Takes one event.
    fn event(&self, event: &Event<'_>);
}

/// Nobody listens.
impl Observer for () {
    fn event(&self, _: &Event<'_>) {}
}

/// One thing that an operation tells.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// Of which machine; `None` for what concerns no machine yet.
    pub machine: Option<&'a MachineName>,
    /// What is done with it.
    pub operation: Operation,
    /// What happened.
    pub happening: Happening<'a>,
}

/// What is done with a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// A machine is made from its description.
    Create,
    /// A machine that is there is taken over.
    Adopt,
    /// What is on its disks is started.
    Start,
    /// Its system ends.
    Stop,
    /// It becomes what it was described to be.
    Reimage,
    /// Its evidence is judged again.
    Verify,
    /// What a reimage would do.
    Plan,
    /// It is removed with its disks.
    Delete,
    /// A program runs on it.
    Use,
    /// An image is looked at.
    Image,
}

impl fmt::Display for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Create => "create",
            Self::Adopt => "adopt",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Reimage => "reimage",
            Self::Verify => "verify",
            Self::Plan => "plan",
            Self::Delete => "delete",
            Self::Use => "use",
            Self::Image => "image",
        })
    }
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum Happening<'a> {
    /// A phase of an attempt ended.
    Phase {
        /// Which.
        phase: Phase,
        /// How long it took on the host's clock.
        milliseconds: u64,
    },
    /// A piece of work begins.
    Begin(&'a Task),
    /// How far it is.
    Progress {
        /// Which piece of work.
        task: &'a Task,
        /// Bytes done.
        done: u64,
        /// Of how many; 0 when that is not known.
        total: u64,
    },
    /// It is over, well or not.
    End(&'a Task),
    /// Something that a person would want to know.
    Notice(&'a Notice),
}

/// Phases of an attempt, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The machine's last boot is ended.
    EndLastBoot,
    /// The system disk is made on the host.
    MakeSystemDisk,
    /// Nonce, volume and launch are made.
    Prepare,
    /// From power on to the agent's first message.
    StartAgent,
    /// What the agent does, to its report.
    AgentSteps,
    /// The report is judged and the evidence is stored.
    VerifyAndStore,
    /// The provider keeps the clean disk.
    KeepDisk,
    /// The provider writes the disk that it keeps over the job's.
    Rebuild,
    /// From the host's word to an answer over SSH.
    StartSystem,
    /// From there until cloud-init is done, when that is waited for.
    CloudInit,
}

impl fmt::Display for Phase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::EndLastBoot => "end the last boot",
            Self::MakeSystemDisk => "make the system disk",
            Self::Prepare => "prepare",
            Self::StartAgent => "start the agent",
            Self::AgentSteps => "the agent's steps",
            Self::VerifyAndStore => "verify and store",
            Self::KeepDisk => "keep the clean disk",
            Self::Rebuild => "rebuild",
            Self::StartSystem => "start the system until SSH answers",
            Self::CloudInit => "cloud-init",
        })
    }
}

/// A piece of work that may take long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// A step of the agent, by its id, escaped.
    AgentStep(String),
    /// The golden disk is made or compared.
    GoldenDisk,
    /// The signature of the image of this name is checked.
    CheckSignature(String),
    /// The zeros of the image of this name are hashed.
    HashZeros(String),
    /// The machine's system starts.
    StartSystem,
    /// cloud-init works in the machine's system.
    CloudInit,
    /// The machine's system shuts down.
    ShutDown(MachineName),
    /// A provider makes the machine.
    Provision,
    /// A machine is asked what it is, on its rescue system.
    Survey,
    /// A provider keeps the machine's clean disk.
    KeepDisk,
    /// A provider writes the disk that it keeps.
    Rebuild,
}

impl Task {
    /// The id of the agent's step, when it is one.
    #[must_use]
    pub fn step(&self) -> Option<&str> {
        match self {
            Self::AgentStep(id) => Some(id),
            _ => None,
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AgentStep(id) => formatter.write_str(id),
            Self::GoldenDisk => formatter.write_str("golden disk"),
            Self::CheckSignature(image) => write!(formatter, "check the signature of {image}"),
            Self::HashZeros(image) => write!(formatter, "hash the zeros of {image}"),
            Self::StartSystem => formatter.write_str("start the system"),
            Self::CloudInit => formatter.write_str("wait for cloud-init"),
            Self::ShutDown(machine) => write!(formatter, "shut down {machine}"),
            Self::Provision => formatter.write_str("make the machine at its provider"),
            Self::KeepDisk => formatter.write_str("have the provider keep the clean disk"),
            Self::Rebuild => formatter.write_str("have the provider write the clean disk"),
            Self::Survey => formatter.write_str("ask the machine what it is, on its rescue system"),
        }
    }
}

/// Something that a person would want to know, and that stops nothing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Notice {
    /// What the machine runs on, and why.
    Accelerator {
        /// Its name.
        name: String,
        /// Why it was chosen.
        reason: String,
    },
    /// How the system disk becomes the image again.
    Strategy {
        /// Which one was chosen.
        strategy: Strategy,
        /// What it does, and why no cheaper one was possible.
        reasons: Vec<String>,
    },
    /// The overlay that is discarded holds this many bytes.
    DiscardedOverlay(u64),
    /// The old system disk is discarded first: only this many bytes are free.
    DiscardedFirst(u64),
    /// No map of writes is kept, and why.
    NoDirtyMap(String),
    /// The map of writes missed something while the machine was off.
    DirtyMapIncomplete,
    /// The machine found a block different that the map calls unchanged.
    DirtyMapWrong,
    /// The disks of all machines may outgrow what is free.
    Overcommitted(String),
    /// The machine's SSH port was taken by something else; it is this one now.
    PortChanged(u16),
    /// What a provider has made.
    Provisioned(String),
    /// A snapshot that is not needed any more could not be deleted, and why: it costs until it is.
    SnapshotLeft(String),
    /// Earlier reports cannot be told to be whole, and why: a new chain begins.
    NewChain(String),
    /// An operator allows an image that the rules refuse for this reason.
    AllowedImage(String),
    /// A value without effect.
    IgnoredKey {
        /// Its path.
        key: String,
        /// Where it was set.
        origin: String,
        /// Why it has none.
        why: String,
    },
    /// Something beside a document that is not read.
    NotRead(String),
    /// The machine is there and is described like this.
    AlreadyCreated(MachineName),
    /// The machine runs.
    AlreadyRuns(MachineName),
    /// The machine was paused and goes on.
    GoesOn(MachineName, Trouble),
    /// A reimage that was cut off is finished first.
    FinishesReimage(MachineName),
    /// The system could not be asked to shut down, and why: its process is ended.
    NotAskedToShutDown(MachineName, String),
    /// The record cannot be read, and why; the folder is deleted.
    UnreadableRecord(MachineName, String),
    /// What a disk holds is not known: the plan assumes that it is empty.
    AssumedEmpty(String),
    /// The journal cannot be written, and why: the operation goes on without.
    NotInJournal(String),
    /// The machine's cloud-init is done and complains; its own words, safe to show.
    CloudInitComplains(MachineName, String),
}

impl Notice {
    /// Its name for programs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Accelerator { .. } => "accelerator",
            Self::Strategy { .. } => "strategy",
            Self::DiscardedOverlay(_) => "discarded_overlay",
            Self::DiscardedFirst(_) => "discarded_first",
            Self::NoDirtyMap(_) => "no_dirty_map",
            Self::DirtyMapIncomplete => "dirty_map_incomplete",
            Self::DirtyMapWrong => "dirty_map_wrong",
            Self::Overcommitted(_) => "overcommitted",
            Self::PortChanged(_) => "port_changed",
            Self::Provisioned(_) => "provisioned",
            Self::SnapshotLeft(_) => "snapshot_left",
            Self::NewChain(_) => "new_chain",
            Self::AllowedImage(_) => "allowed_image",
            Self::IgnoredKey { .. } => "ignored_key",
            Self::NotRead(_) => "not_read",
            Self::AlreadyCreated(_) => "already_created",
            Self::AlreadyRuns(_) => "already_runs",
            Self::GoesOn(..) => "goes_on",
            Self::FinishesReimage(_) => "finishes_reimage",
            Self::NotAskedToShutDown(..) => "not_asked_to_shut_down",
            Self::UnreadableRecord(..) => "unreadable_record",
            Self::AssumedEmpty(_) => "assumed_empty",
            Self::NotInJournal(_) => "not_in_journal",
            Self::CloudInitComplains(..) => "cloud_init_complains",
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accelerator { name, reason } => write!(formatter, "accelerator {name}: {reason}"),
            Self::Strategy { strategy, reasons } if reasons.is_empty() => write!(formatter, "strategy {strategy}"),
            Self::Strategy { strategy, reasons } => write!(formatter, "strategy {strategy}: {}", reasons.join("; ")),
            Self::DiscardedOverlay(bytes) => {
                write!(formatter, "the overlay that is discarded holds {}", readable::bytes(*bytes))
            }
            Self::DiscardedFirst(free) => {
                write!(formatter, "{} are free: the old system disk is discarded first", readable::bytes(*free))
            }
            Self::NoDirtyMap(why) => write!(formatter, "no dirty map is kept: {why}"),
            Self::DirtyMapIncomplete => formatter.write_str(
                "the dirty map of the system disk missed something: the next reimage looks at everything",
            ),
            Self::DirtyMapWrong => formatter.write_str(
                "the dirty map was wrong: a block that it calls unchanged had differed, so all of the disk was compared",
            ),
            Self::Overcommitted(text) => write!(formatter, "{text}: a machine that finds no room is paused"),
            Self::PortChanged(port) => write!(formatter, "the machine's SSH port was taken; it is {port} now"),
            Self::Provisioned(told) => write!(formatter, "made {told}"),
            Self::SnapshotLeft(why) => {
                write!(formatter, "the snapshot before this one was not deleted and goes on costing (`gc` lists it while it carries its labels): {why}")
            }
            Self::NewChain(why) => write!(
                formatter,
                "the reports before this one cannot be told to be whole, and a new chain begins: {why}"
            ),
            Self::AllowedImage(reason) => write!(formatter, "warning: {reason}; an operator allows it"),
            Self::IgnoredKey { key, origin, why } => write!(formatter, "{key} ({origin}) is ignored: {why}"),
            Self::NotRead(what) => formatter.write_str(what),
            Self::AlreadyCreated(name) => {
                write!(formatter, "machine {name} exists and is described like this; nothing to do")
            }
            Self::AlreadyRuns(name) => write!(formatter, "machine {name} runs; nothing to do"),
            Self::GoesOn(name, trouble) => write!(formatter, "machine {name} was paused ({trouble}); it goes on"),
            Self::FinishesReimage(name) => {
                write!(formatter, "the reimage of machine {name} was not finished: that comes first")
            }
            Self::NotAskedToShutDown(name, why) => write!(
                formatter,
                "the system of {name} could not be asked to shut down, so its process is ended: {why}"
            ),
            Self::NotInJournal(why) => {
                write!(formatter, "cannot write to the journal, and the operation goes on without: {why}")
            }
            Self::CloudInitComplains(name, words) => {
                write!(formatter, "cloud-init in machine {name} is done and complains:\n{words}")
            }
            Self::UnreadableRecord(name, why) => {
                write!(formatter, "the record of {name} cannot be read ({why}); its folder is deleted")
            }
            Self::AssumedEmpty(disk) => {
                write!(
                    formatter,
                    "what `{disk}` holds is not known here, and the plan shows what is done with an empty disk: content as it is described \
                     is used as it is, and any other refuses the reimage"
                )
            }
        }
    }
}

/// How it is known that the golden disk is right.
pub(crate) const fn checked(checked: Checked) -> &'static str {
    match checked {
        Checked::Made => "made, written and read back now",
        Checked::Compared => "all of it compared now",
        Checked::Unchanged => "its file is unchanged since all of it was compared",
    }
}

#[cfg(test)]
#[path = "event_tests.rs"]
mod tests;
