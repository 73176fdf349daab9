//! `make bench`: lists of many machines, as whole processes. Exit code 0 when every target is met, 1 when one is missed, 2 when
//! something could not be measured. `bench-store leases FOLDER SECONDS` counts leases in a folder, which decides how fast they are.

use std::{
    fs, io,
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    time::Duration,
};

use cloud_machine_tests::{
    artifacts::Artifacts,
    bench::{
        leases,
        measure::{Subject, alone},
    },
    fabricated,
    program::Program,
};
use comfy_table::{Table, presets::ASCII_MARKDOWN};
use serde::Serialize;
use serde_json::{Value, json};

/// Machines in the state folder.
const MACHINES: usize = 10_000;
/// Of them, those that have a process.
const RUNNING: usize = 100;
/// Runs of which the median counts.
const RUNS: usize = 15;
/// At most this for a list.
const MILLISECONDS: f64 = 50.0;
const MEBIBYTES: f64 = 64.0;
/// So long the store does not trust that a change of a file would show.
const SETTLED: Duration = Duration::from_secs(4);

#[derive(Serialize)]
struct Row {
    what: String,
    milliseconds: f64,
    mebibytes: f64,
    has_target: bool,
}

impl Row {
    fn is_met(&self) -> bool {
        !self.has_target || (self.milliseconds <= MILLISECONDS && self.mebibytes <= MEBIBYTES)
    }
}

/// Processes that end with this value.
struct Running(Vec<Child>);

impl Drop for Running {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // One that has ended already is no error.
            let _ended = child.kill();
            let _waited = child.wait();
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let measured = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => measure().map(|rows| show(&rows)),
        ["--json"] => measure().and_then(|rows| print(&rows)),
        ["leases", folder, seconds] => number(seconds).and_then(|seconds| count(Path::new(folder), seconds)),
        ["work", state, seconds, seed] => {
            number(seconds).and_then(|seconds| leases::work(Path::new(state), seconds, number(seed)?)).map(|()| true)
        }
        _ => Err("usage: bench-store [--json] | leases FOLDER SECONDS".to_owned()),
    };
    match measured {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text:?} is no number"))
}

/// Leases in a state folder of its own below `folder`.
fn count(folder: &Path, seconds: u64) -> Result<bool, String> {
    let scratch = tempfile::tempdir_in(folder).map_err(|error| error.to_string())?;
    let leases::Leases { rate, median, most, slowest } = leases::measure(&scratch.path().join("state"), seconds)?;
    println!(
        "{rate:.0} leases taken and given back a second; half took at most {median:.1} ms, 99 of 100 {most:.1} ms"
    );
    println!("the slowest took {slowest:.1} ms");
    Ok(true)
}

fn measure() -> Result<Vec<Row>, String> {
    let artifacts = Artifacts::from_environment_without_image()?;
    let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
    let program = Program::at(&artifacts, scratch.path().join("state"));
    eprintln!("bench-store: {MACHINES} machines");
    let running = fill(&program).map_err(|error| format!("make the machines: {error}"))?;
    let subject = |arguments: &[&str]| {
        Subject::new(&artifacts.program, scratch.path())
            .variable("CLOUD_MACHINE_STATE", program.state())
            .arguments(arguments)
            .prints(format!("ci-{}", MACHINES - 1))
    };
    let list = subject(&["list"]).prints("runs");
    let mut rows = vec![row("the first list, each record read", &list, scratch.path(), false, 1)?];
    std::thread::sleep(SETTLED);
    list.run()?;
    rows.push(row(&format!("list, {RUNNING} of them running"), &list, scratch.path(), true, RUNS)?);
    let json = subject(&["list", "--output", "json"]).prints("\"runs\"");
    rows.push(row("list --output json, the same", &json, scratch.path(), true, RUNS)?);
    drop(running);
    let ended = subject(&["list"]).prints("none");
    rows.push(row("list, their processes have ended", &ended, scratch.path(), true, RUNS)?);
    Ok(rows)
}

fn row(what: &str, subject: &Subject, scratch: &Path, has_target: bool, runs: usize) -> Result<Row, String> {
    if runs == 1 {
        let cost = subject.cost(scratch)?;
        return Ok(Row {
            what: what.to_owned(),
            milliseconds: cost.milliseconds,
            mebibytes: cost.mebibytes,
            has_target,
        });
    }
    Ok(Row {
        what: what.to_owned(),
        milliseconds: alone(subject, runs)?,
        mebibytes: subject.peak(scratch)?,
        has_target,
    })
}

/// Machines with layers of some thousand bytes and an empty disk of 1 GiB each.
fn fill(program: &Program) -> io::Result<Running> {
    let keys = |section: usize| -> Value {
        (0..6)
            .map(|key| (format!("key-{key}"), json!({"value": format!("value {section} {key}"), "line": key})))
            .collect()
    };
    let layers: Value = (0..20).map(|section| (format!("section-{section}"), keys(section))).collect();
    let mut running = Running(Vec::new());
    for number in 0..MACHINES {
        let process = if number < RUNNING {
            let child = Command::new("sleep").arg("100000").stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
            let process = fabricated::process(child.id());
            running.0.push(child);
            process
        } else {
            Value::Null
        };
        let folder = fabricated::machine(program, &format!("ci-{number}"), 2222, |record| {
            let uuid: Value = format!("7f0b7d6e-58c1-4b8e-9a6e-{number:012x}").into();
            record["identity"]["machine_uuid"] = uuid.clone();
            record["uuid"] = uuid;
            record["layers"] = layers.clone();
            record["driver_state"] = process;
        });
        fs::create_dir(folder.join("disks"))?;
        fs::File::create(folder.join("disks/system.raw"))?.set_len(1 << 30)?;
    }
    Ok(running)
}

fn print(rows: &[Row]) -> Result<bool, String> {
    println!("{}", serde_json::to_string_pretty(rows).map_err(|error| error.to_string())?);
    Ok(rows.iter().all(Row::is_met))
}

fn show(rows: &[Row]) -> bool {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(["what", "ms", "MiB", "met"]);
    for row in rows {
        let met = match (row.has_target, row.is_met()) {
            (false, _) => "-",
            (true, true) => "yes",
            (true, false) => "NO",
        };
        table.add_row([&row.what, &format!("{:.1}", row.milliseconds), &format!("{:.1}", row.mebibytes), met]);
    }
    println!("{table}\n\nbounds: {MILLISECONDS} ms, {MEBIBYTES} MiB");
    rows.iter().all(Row::is_met)
}
