//! The machine: the agent in memory, step by step in the order of the real one, and the job after it. Must not see the
//! host's record: it knows its volume and its disk.

use std::{collections::VecDeque, mem};

use crate::{
    disk::{
        ALL, FIRST, IDENTITY, INTERIM, LAST, Marker, SECTORS, TAIL, TENANT_TABLE, UNITS, ZERO, identity, image, mask,
        wanted,
    },
    protocol::{Action, Answer, Invariant, Message, Mutant, Report, Request},
    world::World,
};

/// One process of the machine.
#[derive(Clone)]
pub(crate) struct Machine {
    /// The volumes that are attached: the host's, and what a job left on its disk.
    pub(crate) volumes: [Option<Request>; 2],
    /// The pin on the kernel command line.
    pub(crate) pin: u64,
    pub(crate) step: Step,
    pub(crate) to_host: VecDeque<Message>,
    pub(crate) answer: Option<Answer>,
    /// What the host's record said when it was started; the machine does not know.
    started_for: (Option<u8>, u8),
    agent: Agent,
}

/// What the agent keeps in memory; a cut takes it all.
#[derive(Clone, Default)]
struct Agent {
    request: Option<Request>,
    key: u8,
    /// The order in which threads come to the units, and how many were taken.
    order: [u8; 4],
    taken: usize,
    /// Sectors of the current unit that were wrong and are not written yet.
    wrong: u32,
    /// Sectors that were written, to be read back.
    touched: u32,
    /// Sectors that were compared.
    compared: u32,
    head_is_wrong: bool,
    last_is_zero: bool,
    invalidated: bool,
    /// Whether the body is done, so that what was taken away is put back.
    at_head: bool,
    reported: bool,
}

/// What comes next. Each step is one operation on the disk or one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Find,
    Hello,
    Begin,
    Look,
    Compare,
    PutRight,
    Invalidate(u8),
    Flush,
    ReadBack,
    PutBack(u8),
    LookAgain,
    Mount,
    WriteIdentity(u8),
    Report,
    WaitForGo,
    Switch,
    Job,
    Off,
}

impl Machine {
    /// `Qemu::launch` and `Process::resume`: a new process with an empty port.
    pub(crate) fn start(volumes: [Option<Request>; 2], pin: u64, started_for: (Option<u8>, u8)) -> Self {
        Self {
            volumes,
            pin,
            started_for,
            step: Step::Find,
            to_host: VecDeque::new(),
            answer: None,
            agent: Agent::default(),
        }
    }
}

/// The real functions are named above each arm.
pub(crate) fn step(world: &mut World, machine: &mut Machine) {
    if !matches!(machine.step, Step::Job | Step::Off | Step::WaitForGo | Step::Report) && world.breaks() {
        // `worker::work`: an error becomes a failed report, and the supervisor powers off.
        return fail(machine);
    }
    let next = match machine.step {
        // guest-agent/src/volume.rs `find`: a volume that matches the pin, and only one.
        Step::Find => find(machine),
        // guest-agent/src/host.rs `Host::hello`; what the request asks: crates/plan/src/plan.rs `plan`.
        Step::Hello => {
            machine.to_host.push_back(Message::Hello);
            match machine.agent.request.map(|request| request.action) {
                Some(Action::Reimage) => Step::Begin,
                _ => Step::Mount,
            }
        }
        // crates/image/src/reimage/mod.rs `rewrite`: what is read from now on is durable, or written by this run.
        Step::Begin => {
            world.flush();
            world.rewrite_begins(generation(machine));
            machine.agent.order = world.order();
            Step::Look
        }
        // crates/image/src/reimage/head.rs `Head::look`.
        Step::Look => look(world, machine),
        // crates/image/src/reimage/sweep.rs `Sweep::compare`, within `Sweep::fix`.
        Step::Compare => compare(world, machine),
        // crates/image/src/reimage/head.rs `Head::invalidate`.
        Step::Invalidate(part) => invalidate(world, machine, part),
        // crates/image/src/reimage/sweep.rs `Sweep::put_right`.
        Step::PutRight => put_right(world, machine),
        // crates/image/src/reimage/sweep.rs `Sweep::read_back`, first half: the flush.
        Step::Flush => {
            if machine.agent.touched != 0 {
                world.flush();
            }
            Step::ReadBack
        }
        // crates/image/src/reimage/sweep.rs `Sweep::read_back`, second half; then `Head::write` begins.
        Step::ReadBack => read_back(world, machine),
        // crates/image/src/reimage/head.rs `Head::put_back`.
        Step::PutBack(part) => put_back(world, machine, part),
        // crates/image/src/reimage/head.rs `Head::write`, its end: only here a `VerifiedImage` is made.
        Step::LookAgain => look_again(world, machine),
        // guest-agent/src/execute.rs `Executor::mount_root`.
        Step::Mount => match machine.agent.request.map(|request| request.action) {
            Some(Action::Reimage) if world.mutant != Some(Mutant::DoneBeforeIdentity) => Step::WriteIdentity(0),
            _ => Step::Report,
        },
        // guest-agent/src/identity.rs `write`, then crates/system/src/root.rs `flush`.
        Step::WriteIdentity(part) => write_identity(world, machine, part),
        // guest-agent/src/worker.rs `work`: `ReportBuilder::finish`, `Host::report`.
        Step::Report => report(world, machine),
        // guest-agent/src/host.rs `Host::wait_for_go`; nobody at the other end, or another nonce: power off.
        Step::WaitForGo => match (machine.answer, machine.agent.request) {
            (Some(Answer::Go { nonce }), Some(request)) if nonce == request.nonce => Step::Switch,
            (None, _) if world.is_listening() => Step::WaitForGo,
            _ => Step::Off,
        },
        // crates/system/src/root.rs `switch`.
        Step::Switch => {
            world.booted(machine.agent.request, machine.started_for);
            Step::Job
        }
        Step::Job => {
            job(world, machine);
            Step::Job
        }
        Step::Off => Step::Off,
    };
    // A step that failed has already said so.
    if machine.step != Step::Off {
        machine.step = next;
    }
}

fn fail(machine: &mut Machine) {
    if let Some(request) = machine.agent.request {
        let report = Report { done: false, request, coverage: 0, key: None };
        machine.to_host.push_back(Message::Report(report));
    }
    machine.step = Step::Off;
}

fn find(machine: &mut Machine) -> Step {
    let mut matching = machine.volumes.iter().flatten().filter(|volume| volume.digest() == machine.pin);
    match (matching.next(), matching.next()) {
        (Some(volume), None) => {
            machine.agent.request = Some(*volume);
            Step::Hello
        }
        _ => {
            machine.to_host.push_back(Message::Hello);
            Step::Off
        }
    }
}

fn generation(machine: &Machine) -> u8 {
    machine.agent.request.map_or(0, |request| request.image)
}

fn is_right(world: &World, machine: &Machine, sectors: u32) -> bool {
    (0..SECTORS)
        .filter(|sector| sectors >> sector & 1 == 1)
        .all(|sector| world.disk.cache[sector] == wanted(generation(machine), sector))
}

fn look(world: &World, machine: &mut Machine) -> Step {
    let sectors = mask(FIRST) | mask(LAST);
    machine.agent.head_is_wrong = !is_right(world, machine, sectors);
    machine.agent.last_is_zero = world.disk.cache[LAST].iter().all(|byte| *byte == ZERO);
    machine.agent.compared |= sectors;
    Step::Compare
}

/// The next unit, or the end of the pass.
fn compare(world: &mut World, machine: &mut Machine) -> Step {
    let agent = &mut machine.agent;
    let Some(&unit) = agent.order.get(agent.taken) else { return Step::Flush };
    agent.taken += 1;
    let unit = usize::from(unit);
    let skipped = match world.mutant {
        Some(Mutant::TailSkipped) => unit == TAIL,
        Some(Mutant::MarkerWithChecksumOnly) => {
            agent.request.is_some_and(|request| world.disk.marker.request == request.id)
                && world.disk.marker.units >> unit & 1 == 1
        }
        Some(Mutant::MarkerOfAnyRequest) => world.disk.marker.authentic && world.disk.marker.units >> unit & 1 == 1,
        _ => false,
    };
    if skipped {
        return Step::Compare;
    }
    agent.compared |= mask(UNITS[unit].clone());
    let leaves = UNITS[unit].clone().step_by(2).map(|sector| 3 << sector);
    let wrong = leaves.filter(|leaf| !is_right(world, machine, *leaf)).fold(0, |wrong, leaf| wrong | leaf);
    machine.agent.wrong = wrong;
    match (wrong, machine.agent.invalidated) {
        (0, _) => {
            mark(world, machine);
            Step::Compare
        }
        (_, false) => Step::Invalidate(0),
        (_, true) => Step::PutRight,
    }
}

/// What a design with a progress marker does after each unit.
fn mark(world: &mut World, machine: &Machine) {
    let Some(request) = machine.agent.request else { return };
    let unit = machine.agent.order[machine.agent.taken - 1];
    let marker = &mut world.disk.marker;
    if marker.request != request.id || !marker.authentic {
        *marker = Marker { request: request.id, units: 0, authentic: true };
    }
    marker.units |= 1 << unit;
}

fn put_right(world: &mut World, machine: &mut Machine) -> Step {
    let first = machine.agent.wrong.trailing_zeros() as usize;
    let generation = generation(machine);
    world.write(first, &[wanted(generation, first), wanted(generation, first + 1)]);
    machine.agent.touched |= 3 << first;
    machine.agent.wrong &= !(3 << first);
    if machine.agent.wrong != 0 {
        return Step::PutRight;
    }
    mark(world, machine);
    Step::Compare
}

fn invalidate(world: &mut World, machine: &mut Machine, part: u8) -> Step {
    match part {
        0 => world.write(0, &[INTERIM, ZERO, ZERO, ZERO]),
        1 if !machine.agent.last_is_zero => world.write(LAST.start, &[ZERO; 4]),
        1 => {}
        2 => world.flush(),
        _ => {
            let interim = world.disk.cache[FIRST] == [INTERIM, ZERO, ZERO, ZERO];
            let zero = world.disk.cache[LAST] == [ZERO; 4];
            if world.mutant != Some(Mutant::NoVerify) && !(interim && zero) {
                fail(machine);
                return Step::Off;
            }
            machine.agent.invalidated = true;
            return if machine.agent.at_head { Step::PutBack(0) } else { Step::PutRight };
        }
    }
    Step::Invalidate(part + 1)
}

fn read_back(world: &World, machine: &mut Machine) -> Step {
    let touched = mem::take(&mut machine.agent.touched);
    if world.mutant != Some(Mutant::NoVerify) && !is_right(world, machine, touched) {
        fail(machine);
        return Step::Off;
    }
    machine.agent.at_head = true;
    match (machine.agent.invalidated, machine.agent.head_is_wrong) {
        (true, _) => Step::PutBack(0),
        (false, true) => Step::Invalidate(0),
        (false, false) => Step::LookAgain,
    }
}

fn put_back(world: &mut World, machine: &Machine, part: u8) -> Step {
    let generation = generation(machine);
    let bytes = |sectors: std::ops::Range<usize>| {
        let mut bytes = [0; 4];
        sectors.clone().enumerate().for_each(|(index, sector)| bytes[index] = wanted(generation, sector));
        bytes
    };
    match part {
        0 => world.write(2, &bytes(2..4)[..2]),
        2 => world.write(LAST.start, &bytes(LAST)),
        4 => world.write(0, &bytes(0..2)[..2]),
        _ => world.flush(),
    }
    if part < 5 { Step::PutBack(part + 1) } else { Step::LookAgain }
}

fn look_again(world: &World, machine: &mut Machine) -> Step {
    if world.mutant != Some(Mutant::NoVerify) && !is_right(world, machine, mask(FIRST) | mask(LAST)) {
        fail(machine);
        return Step::Off;
    }
    Step::Mount
}

/// Two files, then the flush. They are read back through the filesystem, which the report says it does not cover: what is
/// lost here the host only sees when the machine answers without its key.
fn write_identity(world: &mut World, machine: &mut Machine, part: u8) -> Step {
    if part == 0 && !machine.agent.reported {
        machine.agent.key = world.new_key();
    }
    let at = IDENTITY.start + usize::from(part);
    if at < IDENTITY.end {
        world.disk.write(at, &[identity(machine.agent.key)]);
        return Step::WriteIdentity(part + 1);
    }
    if world.mutant != Some(Mutant::MissingFlush) {
        world.disk.flush();
    }
    if machine.agent.reported { Step::WaitForGo } else { Step::Report }
}

fn report(world: &mut World, machine: &mut Machine) -> Step {
    let Some(request) = machine.agent.request else { return Step::Off };
    let reimaged = request.action == Action::Reimage;
    let image_sectors = ALL & !mask(UNITS[TAIL].clone());
    world.check(Invariant::NothingSkipped, !reimaged || machine.agent.compared & image_sectors == image_sectors);
    machine.agent.reported = true;
    let early = reimaged && world.mutant == Some(Mutant::DoneBeforeIdentity);
    if early {
        machine.agent.key = world.new_key();
    }
    let key = reimaged.then_some(machine.agent.key);
    let coverage = if reimaged { SECTORS as u8 } else { 0 };
    machine.to_host.push_back(Message::Report(Report { done: true, request, coverage, key }));
    if early { Step::WriteIdentity(0) } else { Step::WaitForGo }
}

/// Code of the job, as root: it writes what it likes, forges what it can compute, and floods its port.
fn job(world: &mut World, machine: &mut Machine) {
    let random = &mut world.random;
    let at = random.below(SECTORS);
    let seen = world.generations;
    match random.below(12) {
        0 => world.disk.write(1, &[TENANT_TABLE; 2]),
        1 => world.disk.write(22, &[TENANT_TABLE; 2]),
        2 => {
            let old = image(random.below(usize::from(seen) + 1) as u8);
            world.disk.write(at, &[old]);
        }
        3 => world.disk.write(IDENTITY.start, &[identity(random.below(64) as u8); 2]),
        4 => {
            // It knows its own request's id, so it can guess the next.
            let request = machine.agent.request.map_or(0, |request| request.id) + random.below(3) as u8;
            world.disk.marker = Marker { request, units: 0xf, authentic: false };
        }
        5 => {
            // A copy of the volume that it was started with, as it is or changed.
            let mut volume = machine.agent.request;
            if let Some(volume) = volume.as_mut().filter(|_| random.one_in(2)) {
                volume.image = 15;
            }
            world.planted = volume;
        }
        6 => {
            let forged =
                machine.agent.request.map(|request| Report { done: true, request, coverage: 24, key: Some(0) });
            machine.to_host.extend(forged.map(Message::Report));
        }
        7 => world.disk.flush(),
        _ => {
            let byte = 0x40 | random.below(32) as u8;
            world.disk.write(at, &[byte]);
        }
    }
}
