//! The power goes at random moments of real reimages: QEMU is killed, and so is the host's program. The next start must
//! finish, with a report that is accepted, and leave nothing of the tenant on the disk.

use std::{
    collections::{BTreeMap, BTreeSet, hash_map::RandomState},
    env, fs,
    hash::{BuildHasher, Hasher},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use cloud_machine_plan::verify;
use cloud_machine_protocol::Event;
use cloud_machine_tests::{
    fixture::{Fixture, without_turn},
    vm::{Boot, BootEnd},
};

/// How often the power goes, unless this variable says otherwise.
const CUTS: (&str, u64) = ("CLOUD_MACHINE_POWER_CUTS", 50);
/// Sets the seed, to repeat what a run of the tests printed.
const SEED: &str = "CLOUD_MACHINE_POWER_CUTS_SEED";
/// Machines that run at the same time.
const MACHINES: u64 = 2;
/// Bytes in a second that are written while the power goes, so that most of a short life is writing.
const WRITE_LIMIT: u64 = 3 << 20;
/// What a tenant left in every block.
const SENTINEL: &[u8] = b"CM-TENANT";
/// Leaves that ext4 may use more for the same files: it spreads new folders at random.
const SPREAD: usize = 4;
const LEAF: usize = 65_536;
/// The root partition, which the agent mounts for the identity.
const ROOT: std::ops::Range<usize> = 1 << 20..21 << 20;

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{variable}={text}: {error}")))
}

/// Any of the numbers below `bound`, the same for the same seed (SplitMix64).
fn random(seed: u64, index: u64, bound: u64) -> u64 {
    let state = seed.wrapping_add((index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) % bound
}

/// How far a machine was when the power went, by what its agent had said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    BeforeHello,
    BeforeWriting,
    Writing,
    Identity,
    Reported,
}

fn phase(end: &BootEnd) -> Phase {
    let has = |step: &str| end.events.iter().any(|event| event.step.as_ref().is_some_and(|id| id.0 == step));
    match () {
        () if end.report.is_some() => Phase::Reported,
        () if has("mount-root") => Phase::Identity,
        () if has("reimage-system") => Phase::Writing,
        () if end.greeted => Phase::BeforeWriting,
        () => Phase::BeforeHello,
    }
}

/// A disk full of a tenant's bytes under a partition table that works.
fn tenants_disk(raw: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x55; raw.len()];
    bytes.chunks_mut(4096).for_each(|block| block[..SENTINEL.len()].copy_from_slice(SENTINEL));
    bytes[512..34 * 512].copy_from_slice(&raw[512..34 * 512]);
    bytes
}

fn has_sentinel(bytes: &[u8]) -> bool {
    bytes.windows(SENTINEL.len()).any(|window| window == SENTINEL)
}

/// Leaves in which the disk differs from the image; what lies outside of the root must not differ at all.
fn differing(raw: &[u8], disk: &[u8]) -> BTreeSet<usize> {
    let leaves = raw.chunks(LEAF).zip(disk.chunks(LEAF)).enumerate();
    let differing: BTreeSet<usize> = leaves.filter(|(_, (raw, disk))| raw != disk).map(|(index, _)| index).collect();
    let inside = |leaf: &usize| ROOT.contains(&(leaf * LEAF));
    assert!(differing.iter().all(inside), "the disk differs outside of the root: {differing:?}");
    differing
}

/// A boot that must end in a report that the host accepts.
fn accepted(boot: &mut Boot, case: &str) -> BootEnd {
    let end = boot.run();
    let report = end.report.as_ref().unwrap_or_else(|| panic!("{case}: no report\n{}", end.console));
    verify(&end.expected, report).unwrap_or_else(|rejection| panic!("{case}: {rejection}\n{}", end.console));
    assert!(!has_sentinel(&end.system), "{case}: bytes of the tenant are left");
    end
}

fn machine(fixture: &Fixture) -> Boot {
    let mut boot = Boot::good(fixture);
    boot.system = tenants_disk(&fixture.raw());
    boot.write_limit = WRITE_LIMIT;
    boot
}

/// One machine after the other, each killed at its moment and started again.
fn worker(fixture: &Fixture, seed: u64, cuts: u64, next: &AtomicU64, phases: &Mutex<BTreeMap<Phase, u64>>) {
    // A life without a cut: how long it is, and which leaves the identity changes.
    let mut uncut = machine(fixture);
    let life = accepted(&mut uncut, "without a cut");
    let raw = fixture.raw();
    let changed = differing(&raw, &life.system);
    println!(
        "without a cut: {:.1} s from start to report, identity in {} leaves",
        life.took.as_secs_f64(),
        changed.len()
    );
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        if index >= cuts {
            break;
        }
        let mut boot = machine(fixture);
        let before = boot.system.clone();
        let share = random(seed, index, 1000);
        let (killed, when) = if index.is_multiple_of(2) {
            // One moment in each part of a life, so that the moments are spread over all of it.
            let parts = u32::try_from(cuts).expect("some cuts");
            let moment =
                life.took / parts * u32::try_from(index).expect("a cut") + life.took / parts * share as u32 / 1000;
            (boot.run_for(moment), format!("after {:.2} s", moment.as_secs_f64()))
        } else {
            // However fast the machine is, half of the cuts are among the writes.
            let so_far = |event: &Event| matches!((event.done, event.total), (Some(done), Some(total)) if done * 1000 >= total * share);
            (boot.run_until(so_far), format!("after {share} thousandths of the rewrite"))
        };
        let phase = phase(&killed);
        let case = format!("cut {index} of {SEED}={seed} {when} in {phase:?}");
        let written = before.chunks(LEAF).zip(killed.system.chunks(LEAF)).filter(|(old, new)| old != new).count();
        assert!(written == 0 || !killed.is_bootable() || !has_sentinel(&killed.system), "{case}: half made, and boots");
        *phases.lock().expect("no panic").entry(phase).or_default() += 1;

        boot.write_limit = 0;
        boot.next_attempt();
        let end = accepted(&mut boot, &case);
        let leaves = differing(&raw, &end.system);
        let more = format!("{case}: leaves {leaves:?} differ; without a cut it is {changed:?}");
        assert!(leaves.len() <= changed.len() + SPREAD, "{more}");
        println!("{case}: {written} leaves were written; finished in {:.1} s", end.took.as_secs_f64());
    }
}

#[test]
fn the_power_goes_at_random_moments_and_the_next_start_finishes() {
    let cuts = number(CUTS.0).unwrap_or(CUTS.1);
    let seed = number(SEED).unwrap_or_else(|| RandomState::new().build_hasher().finish());
    println!("{SEED}={seed}");
    let fixture = without_turn();
    let (next, phases) = (AtomicU64::new(0), Mutex::default());
    thread::scope(|scope| {
        for _ in 0..MACHINES {
            scope.spawn(|| worker(&fixture, seed, cuts, &next, &phases));
        }
    });
    let phases = phases.into_inner().expect("no panic");
    println!("{cuts} cuts: {phases:?}");
    assert_eq!(phases.values().sum::<u64>(), cuts);
    let writing = phases.get(&Phase::Writing).copied().unwrap_or(0);
    assert!(writing * 10 >= cuts * 3, "only {writing} of {cuts} cuts hit the writing");
    the_hosts_program_is_killed(&fixture, seed);
}

const KILLED: &str = "killed";
/// Whether it is time, by the machine's folder.
type Happened = fn(&Path) -> bool;

/// The program of the host is killed and its machine runs on; the next call finishes the same request. The small image has
/// no system to start, so each call ends with that, after the report was accepted.
fn the_hosts_program_is_killed(fixture: &Fixture, seed: u64) {
    let program = fixture.program();
    let folder = program.state().join("machines").join(KILLED);
    let moments: [(&str, Happened); 3] = [
        ("when the request is stored", |folder| request(folder).is_some()),
        ("while the disk is written", |folder| {
            let mut magic = [0; 8];
            let disk = fs::File::open(folder.join("disks/system.raw"));
            disk.and_then(|disk| disk.read_exact_at(&mut magic, 512)).is_ok() && &magic != b"EFI PART"
        }),
        ("when the report is stored", |folder| request(folder).is_some_and(|id| report_of(folder, &id).exists())),
    ];
    for (index, (when, happened)) in moments.into_iter().enumerate() {
        let mut command = program.command();
        match index {
            0 => command.args(["create", KILLED, "--image", "small"]),
            _ => {
                fill(&folder.join("disks/system.raw"));
                command.args(["reimage", KILLED])
            }
        };
        let earlier = request(&folder);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a program");
        let deadline = Instant::now() + Duration::from_secs(240);
        while request(&folder) == earlier || !happened(&folder) {
            assert!(child.try_wait().expect("a child").is_none(), "{when}: the program ended before");
            assert!(Instant::now() < deadline, "{when}: it did not happen");
            thread::sleep(Duration::from_millis(2));
        }
        thread::sleep(Duration::from_millis(random(seed, 1000 + index as u64, 200)));
        child.kill().expect("the program is killed");
        child.wait().expect("the program ended");
        let id = request(&folder).expect("a request");

        let finished = program.call(["start", KILLED], b"");
        assert_eq!(finished.code, 1, "{when}: {}{}", finished.output, finished.errors);
        let record = record(&folder).expect("a record");
        assert_eq!(record["last_report"], format!("reports/{id}.json"), "{when}: {}", finished.errors);
        // The small image has no system that could answer; all else about its report is good.
        let verified = program.call(["verify", KILLED], b"");
        assert_eq!(verified.code, 5, "{when}: {}", verified.errors);
        // Once the record has the report, what `start` goes on with is a boot, and that is another attempt.
        let reasons = ["did not come up after its last report", "another attempt began since the last accepted report"];
        assert!(reasons.iter().any(|reason| verified.errors.contains(reason)), "{when}: {}", verified.errors);
        let told = program.call(["doctor"], b"").output;
        assert!(told.contains("accepted reports, each the one that was stored"), "{when}: {told}");
        let disk = fs::read(folder.join("disks/system.raw")).expect("the disk");
        assert!(!has_sentinel(&disk), "{when}: bytes of the tenant are left");
        differing(&fixture.raw(), &disk);
        println!("the program killed {when}: finished");
    }
    assert_eq!(program.call(["delete", KILLED, "--yes"], b"").code, 0);
}

fn fill(disk: &Path) {
    let bytes = fs::read(disk).expect("the disk");
    fs::write(disk, tenants_disk(&bytes)).expect("the disk");
}

fn record(folder: &Path) -> Option<serde_json::Value> {
    serde_json::from_slice(&fs::read(folder.join("machine.json")).ok()?).ok()
}

/// Id of the request that is stored.
fn request(folder: &Path) -> Option<String> {
    Some(record(folder)?["request"]["id"].as_str()?.to_owned())
}

fn report_of(folder: &Path, id: &str) -> PathBuf {
    folder.join("reports").join(format!("{id}.json"))
}
