//! Host, machine and disk together under one schedule: who takes the next step, when the power goes, and what must hold
//! then. Must not take a step of its own in the protocol.

use crate::{
    agent::{self, Machine, Step},
    disk::{Disk, FIRST, IDENTITY, LAST, SECTORS, UNITS, identity, wanted},
    host::{self, Call, Program, Record, State},
    protocol::{Action, INVARIANTS, Invariant, Mutant, Request},
    random::Random,
};

/// Steps of one case before the cuts end.
const STEPS: usize = 260;
/// Calls of the program after the last cut within which the machine must run or be quarantined.
const CALLS: usize = 8;

/// One case.
pub(crate) struct World {
    pub(crate) mutant: Option<Mutant>,
    pub(crate) random: Random,
    pub(crate) disk: Disk,
    pub(crate) machine: Option<Machine>,
    program: Option<Program>,
    /// The record on the host's disk.
    record: Record,
    /// What is being written in its place.
    pub(crate) storing: Option<Record>,
    /// Request of the report that the record being written accepts.
    pub(crate) accepting: Option<u8>,
    /// Volume and pin of the last attempt.
    pub(crate) prepared: Option<Request>,
    /// A volume that a job left on a disk.
    pub(crate) planted: Option<Request>,
    /// The newest image.
    pub(crate) generations: u8,
    /// The rewrite that had the disk last, until a job has it.
    rewrite: Option<Rewrite>,
    ids: u8,
    nonces: u32,
    keys: u8,
    /// Accepted reports of each request.
    accepted: [u8; 64],
    /// The newest reimage request that was ever stored.
    newest: Option<u8>,
    /// Whether a job ran since the last accepted report.
    used: bool,
    /// Whether disks lose writes and fail in this case.
    faulty: bool,
    /// Whether one did lose a write.
    lost: bool,
    /// Whether anything goes wrong still.
    calm: bool,
    cuts_left: u8,
    pub(crate) cuts: Cuts,
    pub(crate) broken: [bool; INVARIANTS.len()],
    /// What happened, when somebody wants to read it.
    trace: Option<Vec<String>>,
}

/// What is remembered of a rewrite to judge what a cut leaves.
struct Rewrite {
    generation: u8,
    /// The disk when it began.
    before: [u8; SECTORS],
    written: bool,
    /// Whether anything that it wrote was flushed.
    durable: bool,
}

/// How often what went.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cuts {
    /// The machine's process.
    pub(crate) machine: u64,
    /// The host's program.
    pub(crate) program: u64,
    /// The power of everything.
    pub(crate) power: u64,
    /// Of all these, those during a rewrite.
    pub(crate) writing: u64,
}

impl Cuts {
    pub(crate) fn total(&self) -> u64 {
        self.machine + self.program + self.power
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.machine += other.machine;
        self.program += other.program;
        self.power += other.power;
        self.writing += other.writing;
    }
}

impl World {
    pub(crate) fn new(seed: u64, mutant: Option<Mutant>) -> Self {
        let mut random = Random::new(seed);
        let mut bytes = [0; SECTORS];
        // Full of another tenant's bytes, or the image with some of them.
        let all = random.one_in(2);
        for (sector, byte) in bytes.iter_mut().enumerate() {
            let foreign = all || random.one_in(4);
            *byte = if foreign { 0x40 | random.below(32) as u8 } else { wanted(0, sector) };
        }
        let faulty = random.one_in(3);
        let cuts_left = 1 + random.below(5) as u8;
        Self {
            mutant,
            random,
            disk: Disk::new(bytes),
            machine: None,
            program: None,
            record: Record { state: State::Failed, request: None, image: 0, last_report: None, key: None },
            storing: None,
            accepting: None,
            prepared: None,
            planted: None,
            generations: 0,
            rewrite: None,
            ids: 0,
            nonces: 0,
            keys: 0,
            accepted: [0; 64],
            newest: None,
            used: true,
            faulty,
            lost: false,
            calm: false,
            cuts_left,
            cuts: Cuts::default(),
            broken: [false; INVARIANTS.len()],
            trace: None,
        }
    }

    /// The same, telling what happens.
    pub(crate) fn traced(seed: u64, mutant: Option<Mutant>) -> Vec<String> {
        let mut world = Self::new(seed, mutant);
        world.trace = Some(Vec::new());
        world.run();
        world.trace.unwrap_or_default()
    }

    /// Runs the case to its end.
    pub(crate) fn run(&mut self) {
        for _ in 0..STEPS {
            self.step();
        }
        self.calm = true;
        for _ in 0..CALLS {
            if self.is_settled() {
                return;
            }
            for _ in 0..STEPS {
                self.step();
                if self.program.is_none() {
                    break;
                }
            }
        }
        let settled = self.is_settled();
        self.check(Invariant::Ends, settled);
    }

    fn is_settled(&self) -> bool {
        let running = self.record.state == State::Running && self.is_alive();
        self.program.is_none() && (running || self.record.state == State::Quarantined)
    }

    fn step(&mut self) {
        if !self.calm && self.cuts_left > 0 && self.random.one_in(40) {
            self.cuts_left -= 1;
            return self.cut();
        }
        let waits = self.program.as_ref().is_none_or(|program| program.waits(self.machine.as_ref()));
        let machine = self.machine.as_ref().is_some_and(|machine| machine.step != Step::Off);
        let idle = self.program.is_none();
        match (machine, waits) {
            // A machine whose program is gone runs on; then somebody calls again.
            (true, true) if !(idle && (self.calm || self.random.one_in(12))) => self.machine_step(),
            (true, false) if self.random.one_in(2) => self.machine_step(),
            _ if idle => self.call(),
            _ => self.program_step(),
        }
    }

    fn machine_step(&mut self) {
        let Some(mut machine) = self.machine.take() else { return };
        let before = machine.step;
        agent::step(self, &mut machine);
        self.tell(|world| format!("machine: {before:?}, disk {:02x?}", world.disk.cache));
        self.machine = Some(machine);
    }

    fn program_step(&mut self) {
        let Some(program) = self.program.take() else { return };
        let before = program.step;
        self.program = host::step(self, program);
        self.tell(|world| format!("host: {before:?}, record {:?}", world.record));
    }

    /// An operator, or whatever calls the program.
    fn call(&mut self) {
        let reimage = self.random.one_in(2);
        let upgrade = !self.calm && self.random.one_in(3) && self.generations < 14;
        let release = !self.calm && self.random.one_in(2);
        let call = if reimage { Call::Reimage { upgrade, release } } else { Call::Start };
        self.tell(|_| format!("call {call:?}"));
        self.program = Some(Program::new(self.record, call));
    }

    /// Kills the machine's process, the host's program, or takes the power of everything.
    fn cut(&mut self) {
        let writing = self.record.state == State::Writing && self.machine.is_some();
        self.cuts.writing += u64::from(writing);
        match self.random.below(4) {
            0 => {
                self.cuts.machine += 1;
                self.end_process();
            }
            1 => {
                self.cuts.program += 1;
                self.kill_program();
            }
            _ => {
                self.cuts.power += 1;
                self.kill_program();
                self.machine = None;
                self.lose_power();
            }
        }
        self.tell(|world| format!("cut {:?}, disk {:02x?}, record {:?}", world.cuts, world.disk.cache, world.record));
    }

    fn kill_program(&mut self) {
        self.program = None;
        // A record that was being replaced is the old one or the new one.
        if self.random.one_in(2) {
            self.commit();
        }
        (self.storing, self.accepting) = (None, None);
    }

    /// Ends the process of the machine. What it had written stays in the host's cache, or went with the disk's.
    pub(crate) fn end_process(&mut self) {
        if self.machine.take().is_some() && !self.calm && self.random.one_in(2) {
            self.lose_power();
        }
    }

    fn lose_power(&mut self) {
        self.disk.cut(&mut self.random);
        self.boot_head();
    }

    /// The record on its way is durable.
    pub(crate) fn commit(&mut self) {
        let Some(record) = self.storing.take() else { return };
        if let Some(request) = record.request.filter(|request| request.action == Action::Reimage) {
            self.newest = Some(request.id);
        }
        if let Some(id) = self.accepting.take() {
            let count = &mut self.accepted[usize::from(id) % 64];
            *count += 1;
            let once = *count == 1;
            self.check(Invariant::OneReport, once);
            self.used = false;
        }
        self.record = record;
    }

    /// A rewrite begins to read.
    pub(crate) fn rewrite_begins(&mut self, generation: u8) {
        self.rewrite = Some(Rewrite { generation, before: self.disk.cache, written: false, durable: false });
    }

    /// What a rewrite left when it was cut off is not bootable, unless it is the image, or nothing but the boot head was
    /// written and none of it flushed.
    fn boot_head(&mut self) {
        // Of a disk that loses writes nothing can be promised before it is read back.
        let Some(rewrite) = self.rewrite.as_ref().filter(|_| !self.lost) else { return };
        let found = &self.disk.durable;
        let mut sectors = (2..SECTORS).filter(|sector| !IDENTITY.contains(sector));
        let done = sectors.all(|sector| found[sector] == wanted(rewrite.generation, sector));
        let body = FIRST.end..LAST.start;
        let untouched = !rewrite.durable && found[body.clone()] == rewrite.before[body];
        let job_code = found[0] & 0xc0 == 0x40;
        let dark = !(self.disk.has_table() || job_code);
        self.check(Invariant::BootHead, dark || done || untouched);
    }

    /// The newest reimage request and the image in the record.
    pub(crate) fn asked(&self) -> (Option<u8>, u8) {
        (self.newest, self.record.image)
    }

    /// The agent switches to the root: from now on a job runs. `started_for`: what was [`Self::asked`] when the machine was
    /// started.
    pub(crate) fn booted(&mut self, request: Option<Request>, started_for: (Option<u8>, u8)) {
        let is_accepted = |id: u8| self.accepted[usize::from(id) % 64] > 0;
        let own = match request {
            Some(Request { action: Action::Reimage, id, .. }) => is_accepted(id),
            _ => true,
        };
        let newest = started_for.0.is_some_and(is_accepted);
        self.check(Invariant::BootsOnlyAccepted, own && newest);
        if !self.used {
            let files = identity(self.record.key.unwrap_or(0));
            let cache = self.disk.cache;
            let generation = started_for.1;
            let right = |sector: &usize| {
                let byte = cache[*sector];
                byte == wanted(generation, *sector) || IDENTITY.contains(sector) && byte & 0xc0 == 0xc0
            };
            self.check(Invariant::DiskIsTheImage, (0..SECTORS).all(|sector| right(&sector)));
            self.check(Invariant::IdentityIsTheRecords, cache[IDENTITY] == [files; 2]);
        }
        self.used = true;
        self.rewrite = None;
    }

    pub(crate) fn check(&mut self, invariant: Invariant, holds: bool) {
        if !holds {
            self.tell(|_| format!("VIOLATED: {invariant}"));
            let index = INVARIANTS.iter().position(|one| *one == invariant).unwrap_or_default();
            self.broken[index] = true;
        }
    }

    fn tell(&mut self, what: impl FnOnce(&Self) -> String) {
        if self.trace.is_some() {
            let line = what(self);
            self.trace.iter_mut().for_each(|trace| trace.push(line.clone()));
        }
    }

    /// A write of the rewrite, which a faulty disk may lose.
    pub(crate) fn write(&mut self, at: usize, bytes: &[u8]) {
        if self.faulty && !self.calm && self.random.one_in(100) {
            self.lost = true;
            self.tell(|_| format!("the write at {at} is lost"));
            return;
        }
        self.rewrite.iter_mut().for_each(|rewrite| rewrite.written = true);
        self.disk.write(at, bytes);
    }

    /// A flush of the rewrite.
    pub(crate) fn flush(&mut self) {
        match self.mutant {
            Some(Mutant::MissingFlush | Mutant::FlushOnlyAtEnd) => {}
            _ if self.faulty && !self.calm && self.random.one_in(100) => {
                self.lost = true;
                self.tell(|_| "a flush loses its epoch".to_owned());
                self.disk.vanish();
            }
            _ => {
                self.rewrite.iter_mut().for_each(|rewrite| rewrite.durable |= rewrite.written);
                self.disk.flush();
            }
        }
    }

    /// Whether this operation of the agent fails.
    pub(crate) fn breaks(&mut self) -> bool {
        self.faulty && !self.calm && self.random.one_in(600)
    }

    /// Whether a system that runs does not answer in time.
    pub(crate) fn is_silent(&mut self) -> bool {
        !self.calm && self.random.one_in(10)
    }

    pub(crate) fn is_listening(&self) -> bool {
        self.program.as_ref().is_some_and(Program::is_listening)
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.machine.as_ref().is_some_and(|machine| machine.step != Step::Off)
    }

    /// The order in which threads come to the units.
    pub(crate) fn order(&mut self) -> [u8; UNITS.len()] {
        let mut order = [0, 1, 2, 3];
        for index in (1..order.len()).rev() {
            order.swap(index, self.random.below(index + 1));
        }
        order
    }

    pub(crate) fn new_id(&mut self) -> u8 {
        self.ids += 1;
        self.ids
    }

    pub(crate) fn new_nonce(&mut self) -> u32 {
        self.nonces += 1;
        self.nonces
    }

    pub(crate) fn new_key(&mut self) -> u8 {
        self.keys += 1;
        self.keys
    }

    pub(crate) fn new_image(&mut self) -> u8 {
        self.generations += 1;
        self.generations
    }
}
