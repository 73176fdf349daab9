//! The host: its record, which is the only journal, and one call of its program, step by step in the order of the real
//! one. Must not see the disk or what an agent does.

use crate::{
    agent::{Machine, Step},
    protocol::{Action, Answer, Message, Mutant, Report, Request},
    world::World,
};

/// crates/driver/src/store/record.rs `MachineState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Requested,
    Writing,
    Accepted,
    Running,
    Failed,
    Quarantined,
}

/// crates/driver/src/store/record.rs `MachineRecord`; on the host's disk, replaced in one step and flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) state: State,
    pub(crate) request: Option<RequestRecord>,
    pub(crate) image: u8,
    /// Request of the last accepted report.
    pub(crate) last_report: Option<u8>,
    /// Key of the last accepted report.
    pub(crate) key: Option<u8>,
}

/// crates/driver/src/store/record.rs `RequestRecord`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestRecord {
    pub(crate) id: u8,
    pub(crate) action: Action,
    pub(crate) failures: u8,
}

/// What an operator calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Start,
    Reimage { upgrade: bool, release: bool },
}

/// One call of the program, in memory until it ends or is killed.
#[derive(Clone)]
pub(crate) struct Program {
    record: Record,
    call: Call,
    action: Action,
    pub(crate) step: HostStep,
    /// What this attempt is held against.
    expected: Option<Request>,
    report: Option<Report>,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HostStep {
    Read,
    /// A record is on its way to the disk; then comes the other step.
    Stored(After),
    EndProcess,
    Prepare,
    Launch,
    Converse,
    Judge,
    Go,
    WaitReady,
    Fail,
    End,
}

/// What follows on a stored record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    Intent,
    Writing,
    Accepted,
    End,
}

/// crates/operation/src/request.rs `MAX_FAILURES`.
const MAX_FAILURES: u8 = 3;

impl Program {
    pub(crate) fn new(record: Record, call: Call) -> Self {
        Self { record, call, action: Action::Boot, step: HostStep::Read, expected: None, report: None }
    }

    /// Whether the agent's port has somebody at its other end.
    pub(crate) fn is_listening(&self) -> bool {
        use HostStep::{Converse, Go, Judge, Stored};
        matches!(self.step, Converse | Judge | Go | Stored(After::Accepted))
    }

    /// Whether it can only wait for the machine.
    pub(crate) fn waits(&self, machine: Option<&Machine>) -> bool {
        let Some(machine) = machine else { return false };
        match self.step {
            HostStep::Converse => machine.to_host.is_empty() && machine.step != Step::Off,
            HostStep::WaitReady => !matches!(machine.step, Step::Job | Step::Off),
            _ => false,
        }
    }
}

/// crates/operation/src/request.rs `is_pending`.
fn is_pending(state: State) -> bool {
    matches!(state, State::Requested | State::Writing | State::Failed | State::Quarantined)
}

/// Takes one step; the real functions are named above each arm. `None` when the call has ended.
pub(crate) fn step(world: &mut World, mut program: Program) -> Option<Program> {
    program.step = match program.step {
        // crates/operation/src/start.rs, reimage.rs, then attempt.rs `Attempt::intend`.
        HostStep::Read => read(world, &mut program),
        // crates/driver/src/store/file.rs `replace`: it is durable when this returns.
        HostStep::Stored(after) => {
            world.commit();
            match after {
                After::Intent => HostStep::EndProcess,
                After::Writing => HostStep::Launch,
                After::Accepted => HostStep::Go,
                After::End => HostStep::End,
            }
        }
        // crates/operation/src/life.rs `end`: nothing of it is left when this returns.
        HostStep::EndProcess => {
            world.end_process();
            HostStep::Prepare
        }
        // crates/operation/src/prepare.rs `prepare`, then `Attempt::attempt` stores `Writing`.
        HostStep::Prepare => {
            program.expected = Some(prepare(world, &program));
            program.record.state = State::Writing;
            store(world, &program.record, After::Writing)
        }
        // crates/operation/src/attempt.rs `Attempt::start`: a process, its port, and only then it runs.
        HostStep::Launch => match program.expected {
            Some(expected) => {
                world.machine = Some(Machine::start([Some(expected), world.planted], expected.digest(), world.asked()));
                HostStep::Converse
            }
            None => HostStep::Fail,
        },
        // crates/operation/src/attempt.rs `Attempt::converse`.
        HostStep::Converse => converse(world, &mut program),
        // crates/operation/src/attempt.rs `Attempt::judge`, then `Attempt::accept`.
        HostStep::Judge => judge(world, &mut program),
        // crates/operation/src/attempt.rs `Attempt::attempt`: GO, only when `Accepted` is stored.
        HostStep::Go => {
            if let (Some(machine), Some(expected)) = (&mut world.machine, program.expected) {
                machine.answer = Some(Answer::Go { nonce: expected.nonce });
            }
            HostStep::WaitReady
        }
        // crates/operation/src/attempt.rs `Attempt::wait_ready`, then `Running` is stored. A system may run and not answer in time.
        HostStep::WaitReady => match world.machine.as_ref().map(|machine| machine.step) {
            Some(Step::Job) if !world.is_silent() => {
                program.record.state = State::Running;
                store(world, &program.record, After::End)
            }
            _ => HostStep::Fail,
        },
        // crates/operation/src/attempt.rs `Attempt::failed`.
        HostStep::Fail => {
            if let Some(request) = &mut program.record.request {
                request.failures = request.failures.saturating_add(1);
                let quarantined = request.action == Action::Reimage && request.failures >= MAX_FAILURES;
                program.record.state = if quarantined { State::Quarantined } else { State::Failed };
            }
            world.end_process();
            store(world, &program.record, After::End)
        }
        HostStep::End => return None,
    };
    (program.step != HostStep::End).then_some(program)
}

fn store(world: &mut World, record: &Record, after: After) -> HostStep {
    world.storing = Some(*record);
    HostStep::Stored(after)
}

fn read(world: &mut World, program: &mut Program) -> HostStep {
    program.action = match program.call {
        Call::Start => match start(world, &program.record) {
            Some(action) => action,
            None => return HostStep::End,
        },
        Call::Reimage { upgrade, release } => {
            if program.record.state == State::Quarantined {
                if !release {
                    return HostStep::End;
                }
                program.record.request = None;
                program.record.state = State::Failed;
            }
            if upgrade {
                program.record.image = world.new_image();
            }
            Action::Reimage
        }
    };
    intend(world, program);
    store(world, &program.record, After::Intent)
}

/// What `start` does; nothing when the machine runs or is quarantined.
fn start(world: &World, record: &Record) -> Option<Action> {
    if record.state == State::Quarantined {
        return None;
    }
    let pending = record.request.filter(|_| is_pending(record.state)).map(|request| request.action);
    let pending = if record.last_report.is_none() { Some(Action::Reimage) } else { pending };
    if pending.is_none() && record.state == State::Running && world.is_alive() {
        return None;
    }
    Some(pending.unwrap_or(Action::Boot))
}

fn intend(world: &mut World, program: &mut Program) {
    let (record, action) = (&mut program.record, program.action);
    let pending = record.request.take().filter(|request| request.action == action && is_pending(record.state));
    let continued = world.mutant == Some(Mutant::AcceptedRequestContinued);
    // One report per request: a request whose report was accepted is over, though its system did not answer.
    let over = |request: &RequestRecord| record.last_report == Some(request.id) && !continued;
    record.request = Some(match pending {
        Some(request) if over(&request) => RequestRecord { id: world.new_id(), ..request },
        Some(request) => request,
        None => RequestRecord { id: world.new_id(), action, failures: 0 },
    });
    record.state = State::Requested;
}

/// Nonce, volume and pin. The old process is gone.
fn prepare(world: &mut World, program: &Program) -> Request {
    if let (Some(Mutant::StalePin), Some(earlier)) = (world.mutant, world.prepared) {
        return earlier;
    }
    let id = program.record.request.map_or(0, |request| request.id);
    let prepared = Request { id, action: program.action, nonce: world.new_nonce(), image: program.record.image };
    world.prepared = Some(prepared);
    prepared
}

fn converse(world: &mut World, program: &mut Program) -> HostStep {
    match world.machine.as_mut().and_then(|machine| machine.to_host.pop_front()) {
        Some(Message::Hello) => HostStep::Converse,
        Some(Message::Report(report)) => {
            program.report = Some(report);
            HostStep::Judge
        }
        // The port is closed, or the deadline came.
        None => HostStep::Fail,
    }
}

/// crates/plan/src/verify.rs `verify`, as far as there is something to claim here.
fn verify(expected: &Request, report: &Report, last_key: Option<u8>) -> bool {
    let reimaged = expected.action == Action::Reimage;
    report.done
        && report.request.id == expected.id
        && report.request.nonce == expected.nonce
        && report.request.action == expected.action
        && report.request.image == expected.image
        && (!reimaged || usize::from(report.coverage) == crate::disk::SECTORS)
        && (!reimaged || report.key.is_some() && report.key != last_key)
}

fn judge(world: &mut World, program: &mut Program) -> HostStep {
    let (Some(expected), Some(report)) = (program.expected, program.report) else { return HostStep::Fail };
    if !verify(&expected, &report, program.record.key) {
        if let Some(machine) = &mut world.machine {
            machine.answer = Some(Answer::Stop);
        }
        return HostStep::Fail;
    }
    program.record.state = State::Accepted;
    if expected.action == Action::Reimage {
        program.record.last_report = program.record.request.map(|request| request.id);
        program.record.key = report.key;
        world.accepting = Some(report.request.id);
    }
    store(world, &program.record, After::Accepted)
}
