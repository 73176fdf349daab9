//! Tells what one operation does with one machine, so that whoever works names neither with each event. Must not show it.

use cloud_machine_protocol::{MachineName, escape};

use crate::event::{Event, Happening, Notice, Observer, Operation, Task};

/// Tells what one operation does with one machine.
#[derive(Clone, Copy)]
pub struct Teller<'a> {
    observer: &'a dyn Observer,
    machine: Option<&'a MachineName>,
    operation: Operation,
}

impl<'a> Teller<'a> {
    /// Of `machine`.
    #[must_use]
    pub const fn new(observer: &'a dyn Observer, machine: &'a MachineName, operation: Operation) -> Self {
        Self { observer, machine: Some(machine), operation }
    }

    /// Of what concerns no machine yet.
    #[must_use]
    pub const fn of_none(observer: &'a dyn Observer, operation: Operation) -> Self {
        Self { observer, machine: None, operation }
    }

    /// Tells what happened.
    pub fn tell(&self, happening: Happening<'_>) {
        self.observer.event(&Event { machine: self.machine, operation: self.operation, happening });
    }

    /// Tells what a person would want to know.
    pub fn notice(&self, notice: Notice) {
        self.tell(Happening::Notice(&notice));
    }

    /// Begins a piece of work, which ends when what is returned is dropped.
    #[must_use]
    pub fn begin(self, task: Task) -> Working<'a> {
        self.tell(Happening::Begin(&task));
        Working { teller: self, task }
    }

    /// Begins a step of the agent, whose id is text of the guest.
    pub(crate) fn agent_step(self, id: &str) -> Working<'a> {
        self.begin(Task::AgentStep(escape::line(id.as_bytes(), MAX_STEP)))
    }
}

/// Characters of a step's id that are told.
const MAX_STEP: usize = 28;

/// A piece of work that is under way.
pub struct Working<'a> {
    teller: Teller<'a>,
    task: Task,
}

impl Working<'_> {
    /// Tells that `done` of `total` bytes are done; a total of 0 is one that is not known.
    pub fn progress(&self, done: u64, total: u64) {
        self.teller.tell(Happening::Progress { task: &self.task, done, total });
    }

    pub(crate) fn is_step(&self, id: &str) -> bool {
        self.task.step() == Some(escape::line(id.as_bytes(), MAX_STEP).as_str())
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.teller.tell(Happening::End(&self.task));
    }
}
