//! The whole protocol as a small explicit model: host, agent, job and disk, with cuts at random steps, lost writes and torn
//! epochs. The invariants hold in every case, and each fault that is built into the model breaks one.

mod agent;
mod disk;
mod host;
mod protocol;
mod random;
mod world;

use std::{
    collections::hash_map::RandomState,
    env,
    hash::{BuildHasher, Hasher},
    thread,
};

use protocol::{INVARIANTS, Invariant, Mutant};
use random::Random;
use world::{Cuts, World};

/// Cuts of every run of the tests.
const CUTS: u64 = 1_000_000;
/// Within so many cases each seeded fault must be caught.
const BOUND: u64 = 20_000;
/// Sets the seed, to repeat what a run of the tests printed.
const SEED: &str = "CLOUD_MACHINE_MODEL_SEED";

fn seed() -> u64 {
    match env::var(SEED) {
        Ok(text) => text.parse().unwrap_or_else(|error| panic!("{SEED}={text}: {error}")),
        // Another one at every run: what was never tried is tried some day.
        Err(_) => RandomState::new().build_hasher().finish(),
    }
}

#[test]
fn a_million_cuts_break_nothing() {
    let seed = seed();
    println!("{SEED}={seed}");
    let halves: Vec<_> = (0..2).map(|half| thread::spawn(move || cut_until(seed ^ half, CUTS / 2))).collect();
    let (mut cuts, mut cases) = (Cuts::default(), 0);
    for half in halves {
        let (cut, run) = half.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        cuts.add(&cut);
        cases += run;
    }
    println!("{} cuts in {cases} cases: {cuts:?}", cuts.total());
    assert!(cuts.total() >= CUTS);
    assert!(cuts.writing * 4 > cuts.total(), "too few cuts during a rewrite: {cuts:?}");
}

fn cut_until(seed: u64, enough: u64) -> (Cuts, u64) {
    let mut seeds = Random::new(seed);
    let (mut cuts, mut cases) = (Cuts::default(), 0);
    while cuts.total() < enough {
        let case = seeds.next();
        let mut world = World::new(case, None);
        world.run();
        if world.broken.contains(&true) {
            let trace = World::traced(case, None);
            let end = trace.iter().position(|line| line.starts_with("VIOLATED")).map_or(trace.len(), |at| at + 1);
            let tail = trace[end.saturating_sub(60)..end].join("\n");
            panic!("case {case} of {SEED}={seed} breaks {:?}\n{tail}", broken(&world));
        }
        cuts.add(&world.cuts);
        cases += 1;
    }
    (cuts, cases)
}

fn broken(world: &World) -> Vec<Invariant> {
    INVARIANTS.into_iter().zip(world.broken).filter_map(|(invariant, broken)| broken.then_some(invariant)).collect()
}

/// Cases of `mutant` that break each invariant, and after how many the named one was broken first.
fn caught(mutant: Mutant, by: Invariant) -> ([u64; INVARIANTS.len()], Option<u64>) {
    let mut seeds = Random::new(1);
    let (mut counts, mut first) = ([0; INVARIANTS.len()], None);
    for case in 0..BOUND {
        let mut world = World::new(seeds.next(), Some(mutant));
        world.run();
        let broken = broken(&world);
        if broken.contains(&by) && first.is_none() {
            first = Some(case + 1);
        }
        for invariant in broken {
            counts[invariant as usize] += 1;
        }
    }
    (counts, first)
}

#[test]
fn every_seeded_fault_is_caught() {
    let seeded = [
        (Mutant::MissingFlush, Invariant::DiskIsTheImage),
        (Mutant::MarkerWithChecksumOnly, Invariant::NothingSkipped),
        (Mutant::MarkerOfAnyRequest, Invariant::NothingSkipped),
        (Mutant::TailSkipped, Invariant::DiskIsTheImage),
        (Mutant::DoneBeforeIdentity, Invariant::IdentityIsTheRecords),
        (Mutant::NoVerify, Invariant::DiskIsTheImage),
        (Mutant::FlushOnlyAtEnd, Invariant::BootHead),
        (Mutant::StalePin, Invariant::OneReport),
        (Mutant::AcceptedRequestContinued, Invariant::OneReport),
    ];
    let columns: String = INVARIANTS.iter().map(|invariant| format!("{invariant:>10}")).collect();
    println!("cases of {BOUND} that break it\n{:<26}{columns}  first", "seeded fault");
    let mut missed = Vec::new();
    for (mutant, by) in seeded {
        let (counts, first) = caught(mutant, by);
        let row: String = counts.iter().map(|count| format!("{count:>10}")).collect();
        println!("{:<26}{row}  {first:?} ({by})", format!("{mutant:?}"));
        if first.is_none() {
            missed.push(mutant);
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
}
