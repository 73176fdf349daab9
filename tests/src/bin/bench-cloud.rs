//! `make bench`: a rented server cleaned through the rescue system, against what its provider has: a reboot, a rebuild, the rescue
//! boot alone; on the emulated cloud. Exit code 0 when every target is met, 1 when one is missed, 2 when something could not be
//! measured.

use std::{env, process::ExitCode};

use cloud_machine_tests::{
    artifacts::{self, Artifacts},
    bench::{
        cloud::{Reimage, Stage},
        disks::Ratio,
        measure::{interval, median, sorted},
    },
};
use comfy_table::{Table, presets::ASCII_MARKDOWN};
use serde::Serialize;

const USAGE: &str = "usage: bench-cloud [--json] [--rounds ROUNDS]

Measures a reimage through the rescue system against reboot, rebuild and the rescue boot alone, on machines of the emulated cloud.
Needs root, and CLOUD_MACHINE_BIN, CLOUD_MACHINE_AGENT and CLOUD_MACHINE_TEST_CLOUD_IMAGE, which `make bench` sets.
  --json           print JSON in place of tables
  --rounds ROUNDS  each with every row once; 3 without it

Exit code 0: every target is met; 1: one is missed; 2: something could not be measured.";

/// Parts of the disk that a job has written over, in percent of its frames.
const DIRTY: [usize; 3] = [1, 10, 100];
/// A reimage of a disk that is 1 % dirty takes at most so many plain reboots besides the rescue boot itself.
const REBOOTS: f64 = 1.25;
/// And brings at most this part of the packed image over the network: all of it is what a full write needs.
const PART: f64 = 0.05;

/// All of one round.
struct Round {
    reboot: f64,
    reset: f64,
    rescue: f64,
    rebuild: f64,
    /// In the order of [`DIRTY`].
    reimages: Vec<Reimage>,
}

#[derive(Serialize)]
struct Measured {
    rounds: usize,
    image_bytes: u64,
    packed_bytes: u64,
    rows: Vec<Row>,
    ratios: Vec<Ratio>,
    phases: Vec<Phase>,
}

#[derive(Serialize)]
struct Row {
    what: String,
    /// Median of all rounds.
    seconds: f64,
    /// Medians as well; only of a reimage.
    #[serde(skip_serializing_if = "Option::is_none")]
    cleaned: Option<Cleaned>,
}

#[derive(Serialize)]
struct Cleaned {
    dirty_frames_percent: f64,
    dirty_leaves_percent: f64,
    network_bytes: f64,
}

#[derive(Serialize)]
struct Phase {
    what: String,
    /// Medians in the order of [`DIRTY`].
    seconds: Vec<f64>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let ended = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--help" | "-h"] => {
            println!("{USAGE}");
            Ok(true)
        }
        [] => all(3).map(|measured| show(&measured)),
        ["--json"] => all(3).and_then(|measured| print(&measured)),
        ["--rounds", rounds] => number(rounds).and_then(all).map(|measured| show(&measured)),
        ["--json", "--rounds", rounds] | ["--rounds", rounds, "--json"] => {
            number(rounds).and_then(all).and_then(|measured| print(&measured))
        }
        _ => Err(USAGE.to_owned()),
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn number(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|rounds| *rounds > 0).ok_or_else(|| format!("{text:?} is no number of rounds"))
}

fn all(rounds: usize) -> Result<Measured, String> {
    let (artifacts, image) = (Artifacts::from_environment_without_image()?, artifacts::cloud_image()?);
    eprintln!("bench-cloud: the first server");
    let stage = Stage::new(&artifacts, &image)?;
    let done = (1..=rounds).map(|number| {
        let done = round(&stage, number)?;
        eprintln!("bench-cloud: round {number} of {rounds}");
        Ok(done)
    });
    let done: Vec<Round> = done.collect::<Result<_, String>>()?;
    Ok(Measured {
        rounds,
        image_bytes: stage.size,
        packed_bytes: stage.packed,
        rows: rows(&done),
        ratios: ratios(&done, stage.packed, stage.size),
        phases: phases(&done),
    })
}

/// In the other order in every other round. Each ends with a clean system that runs.
fn round(stage: &Stage, number: usize) -> Result<Round, String> {
    let mut order: Vec<usize> = (0..DIRTY.len()).collect();
    if number.is_multiple_of(2) {
        order.reverse();
    }
    // The provider's image knows nothing of the machine: a reimage comes next, before anybody asks for its host key.
    let rebuild = stage.rebuild()?;
    let mut reimages: Vec<(usize, Reimage)> = Vec::new();
    stage.clean()?;
    for index in order {
        let done = stage.reimage(DIRTY[index])?;
        eprintln!(
            "bench-cloud: {} % dirty: {:.1} s, {} bytes, {:?}",
            DIRTY[index], done.seconds, done.bytes, done.dirt
        );
        reimages.push((index, done));
    }
    reimages.sort_by_key(|(index, _)| *index);
    let (reboot, reset, rescue) = (stage.reboot("reboot")?, stage.reboot("reset")?, stage.rescue_boot()?);
    eprintln!("bench-cloud: reboot {reboot:.1} s, reset {reset:.1} s, rescue {rescue:.1} s, rebuild {rebuild:.1} s");
    Ok(Round { reboot, reset, rescue, rebuild, reimages: reimages.into_iter().map(|(_, done)| done).collect() })
}

fn middle(rounds: &[Round], value: impl Fn(&Round) -> f64) -> f64 {
    median(&sorted(rounds.iter().map(value)))
}

fn named(percent: usize) -> String {
    format!("reimage, {percent} % dirty")
}

fn rows(rounds: &[Round]) -> Vec<Row> {
    let plain = |what: &str, value: fn(&Round) -> f64| Row {
        what: what.to_owned(),
        seconds: middle(rounds, value),
        cleaned: None,
    };
    let mut rows = vec![
        plain("plain reboot", |round| round.reboot),
        plain("reset", |round| round.reset),
        plain("rescue boot alone", |round| round.rescue),
        plain("the provider's rebuild", |round| round.rebuild),
    ];
    rows.extend(DIRTY.iter().enumerate().map(|(index, percent)| {
        let of = |value: fn(&Reimage) -> f64| middle(rounds, |round| value(&round.reimages[index]));
        let cleaned = Cleaned {
            dirty_frames_percent: of(|done| done.dirt.frames),
            dirty_leaves_percent: of(|done| done.dirt.leaves),
            network_bytes: of(|done| done.bytes as f64),
        };
        Row { what: named(*percent), seconds: of(|done| done.seconds), cleaned: Some(cleaned) }
    }));
    rows
}

fn ratios(rounds: &[Round], packed: u64, size: u64) -> Vec<Ratio> {
    let ratio = |name: String, target: Option<f64>, value: &dyn Fn(&Round) -> f64| {
        let all = sorted(rounds.iter().map(value));
        Ratio { name, ratio: median(&all), interval: interval(&all), target }
    };
    let first = |round: &Round| round.reimages[0].seconds;
    let mut ratios = vec![
        ratio(format!("{} / ({REBOOTS} plain reboots + rescue boot)", named(DIRTY[0])), Some(1.0), &|round| {
            first(round) / (REBOOTS * round.reboot + round.rescue)
        }),
        ratio(format!("{}: bytes / packed image", named(DIRTY[0])), Some(PART), &|round| {
            round.reimages[0].bytes as f64 / packed as f64
        }),
        ratio(format!("{}: bytes / image as it is on the disk", named(DIRTY[0])), None, &|round| {
            round.reimages[0].bytes as f64 / size as f64
        }),
        ratio(format!("{} / plain reboot", named(DIRTY[0])), None, &|round| first(round) / round.reboot),
    ];
    ratios.extend(DIRTY.iter().enumerate().map(|(index, percent)| {
        let name = format!("{} / the provider's rebuild", named(*percent));
        ratio(name, None, &|round| round.reimages[index].seconds / round.rebuild)
    }));
    ratios
}

fn phases(rounds: &[Round]) -> Vec<Phase> {
    let Some(first) = rounds.first() else { return Vec::new() };
    let of = |index: usize, what: &str| {
        let seconds = |round: &Round| {
            let phase = round.reimages[index].phases.iter().find(|(name, _)| name == what);
            phase.map_or(0.0, |(_, seconds)| *seconds)
        };
        middle(rounds, seconds)
    };
    let phase = |(what, _): &(String, f64)| Phase {
        what: what.clone(),
        seconds: (0..DIRTY.len()).map(|index| of(index, what)).collect(),
    };
    first.reimages[0].phases.iter().map(phase).collect()
}

fn is_met(ratio: &Ratio) -> bool {
    ratio.target.is_none_or(|target| ratio.ratio <= target)
}

fn print(measured: &Measured) -> Result<bool, String> {
    println!("{}", serde_json::to_string_pretty(measured).map_err(|error| error.to_string())?);
    Ok(measured.ratios.iter().all(is_met))
}

fn show(measured: &Measured) -> bool {
    let mut rows =
        table(["what", "s", "frames dirty, %", "leaves dirty, %", "bytes over the network", "% of the packed image"]);
    for row in &measured.rows {
        let of = |value: &dyn Fn(&Cleaned) -> String| row.cleaned.as_ref().map_or_else(|| "-".to_owned(), value);
        rows.add_row([
            row.what.clone(),
            format!("{:.1}", row.seconds),
            of(&|cleaned| format!("{:.1}", cleaned.dirty_frames_percent)),
            of(&|cleaned| format!("{:.1}", cleaned.dirty_leaves_percent)),
            of(&|cleaned| format!("{:.0}", cleaned.network_bytes)),
            of(&|cleaned| format!("{:.1}", cleaned.network_bytes * 100.0 / measured.packed_bytes as f64)),
        ]);
    }
    let (size, packed) = (measured.image_bytes, measured.packed_bytes);
    println!("{rows}\n\nimage: {size} bytes, packed {packed}; medians of {} rounds\n", measured.rounds);
    let mut ratios = table(["ratio", "median (95 % interval)", "target", "met"]);
    for row in &measured.ratios {
        let median = format!("{:.3} ({:.3} to {:.3})", row.ratio, row.interval.0, row.interval.1);
        let target = row.target.map_or_else(|| "none".to_owned(), |target| format!("at most {target}"));
        let met = row.target.map_or("-", |_| if is_met(row) { "yes" } else { "NO" });
        ratios.add_row([row.name.as_str(), &median, &target, met]);
    }
    println!("{ratios}\n");
    let mut phases = table(["phase of a reimage, s", "1 % dirty", "10 % dirty", "100 % dirty"]);
    for phase in &measured.phases {
        let seconds = phase.seconds.iter().map(|seconds| format!("{seconds:.1}"));
        phases.add_row([phase.what.clone()].into_iter().chain(seconds));
    }
    println!("{phases}");
    measured.ratios.iter().all(is_met)
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(header);
    table
}
