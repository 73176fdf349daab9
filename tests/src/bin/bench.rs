//! `make bench`: our program against real ones, and on hostile documents, as whole processes. Exit code 0 when every
//! target is met, 1 when one is missed, 2 when something could not be measured.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use cloud_machine_tests::{
    artifacts::Artifacts,
    bench::{
        documents::{KEYS, SMALL, SMALL_IGNITION, part, whole},
        measure::{Ratio, Subject, alone, compare},
        namespace,
        peers::Peers,
    },
    hostile_documents::{self, MEMORY, MILLISECONDS},
};
use cloud_machine_volume::write as volume;
use comfy_table::{Table, presets::ASCII_MARKDOWN};
use serde::{Deserialize, Serialize};

/// Pairs with cloud-init, which takes most of a second.
const SLOW_PAIRS: usize = 25;
/// Pairs of programs that take milliseconds.
const FAST_PAIRS: usize = 201;
/// Runs on a hostile document.
const HOSTILE_RUNS: usize = 9;
/// File with what was measured inside the namespace.
const COMPARISONS: &str = "comparisons.json";

#[derive(Serialize)]
struct Measured {
    date: String,
    processor: String,
    peers: Vec<String>,
    comparisons: Vec<Comparison>,
    hostile: Vec<Hostile>,
}

#[derive(Serialize, Deserialize)]
struct Comparison {
    what: String,
    peer: String,
    ours_milliseconds: f64,
    peer_milliseconds: f64,
    ratio: f64,
    interval: (f64, f64),
    pairs: usize,
    /// At most this ratio; without it, the row is there to be known.
    target: Option<f64>,
}

#[derive(Serialize)]
struct Hostile {
    document: &'static str,
    milliseconds: f64,
    mebibytes: f64,
    outcome: &'static str,
}

impl Comparison {
    fn new(what: &str, peer: &str, ratio: Ratio, target: Option<f64>) -> Self {
        Self {
            what: what.to_owned(),
            peer: peer.to_owned(),
            ours_milliseconds: ratio.ours,
            peer_milliseconds: ratio.peer,
            ratio: ratio.median,
            interval: ratio.interval,
            pairs: ratio.pairs,
            target,
        }
    }

    fn is_met(&self) -> bool {
        self.target.is_none_or(|target| self.ratio <= target)
    }
}

impl Hostile {
    fn is_met(&self) -> bool {
        self.milliseconds <= MILLISECONDS && self.mebibytes <= (MEMORY >> 20) as f64
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let ended = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => measure().map(|measured| show(&measured)),
        ["--json"] => measure().and_then(|measured| print(&measured)),
        [namespace::INSIDE, folder] => inside(Path::new(folder)),
        _ => Err("usage: bench [--json]".to_owned()),
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

fn measure() -> Result<Measured, String> {
    let folder =
        tempfile::Builder::new().prefix("cloud-machine-bench-").tempdir().map_err(|error| error.to_string())?;
    prepare(folder.path()).map_err(|error| format!("write the documents: {error}"))?;
    let bench = Bench::new(folder.path())?;
    let peers = Peers::from_environment()?;
    if !namespace::enter(folder.path())?.success() {
        return Err("the part of the benchmark in a namespace failed".to_owned());
    }
    let text = fs::read(folder.path().join(COMPARISONS)).map_err(|error| format!("read {COMPARISONS}: {error}"))?;
    Ok(Measured {
        date: output("date", &["--utc", "+%Y-%m-%d"])?,
        processor: processor()?,
        peers: peers.versions()?.lines().map(ToOwned::to_owned).collect(),
        comparisons: serde_json::from_slice(&text).map_err(|error| format!("read {COMPARISONS}: {error}"))?,
        hostile: bench.hostile()?,
    })
}

/// With the configuration of the host in `/etc`: all that needs it.
fn inside(folder: &Path) -> Result<bool, String> {
    let comparisons = Bench::new(folder)?.comparisons(&Peers::from_environment()?)?;
    let text = serde_json::to_vec(&comparisons).map_err(|error| error.to_string())?;
    fs::write(folder.join(COMPARISONS), text).map_err(|error| format!("write {COMPARISONS}: {error}"))?;
    Ok(true)
}

fn prepare(folder: &Path) -> std::io::Result<()> {
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        fs::write(path, bytes)
    };
    // The folder is the root of a repository: nothing above it counts.
    for name in [".git", "empty", "project", "hostile"] {
        fs::create_dir_all(folder.join(name))?;
    }
    write("project/cloud-machine.yaml", whole("project").as_bytes())?;
    write("etc/cloud-machine/config.yaml", part("global", 1000).as_bytes())?;
    for (set, text) in [("part", part as fn(&str, usize) -> String), ("whole", |layer, _| whole(layer))] {
        write(&format!("{set}/cloud-machine/config.yaml"), text("user", 2000).as_bytes())?;
        write(&format!("{set}/argument.yaml"), text("argument", 3000).as_bytes())?;
        write(&format!("{set}/url.yaml"), text("url", 4000).as_bytes())?;
        let drive = volume::build(&[("user-data", text("volume", 5000).as_bytes())]).map_err(std::io::Error::other)?;
        write(&format!("{set}/drive.img"), &drive)?;
    }
    write("small/small.yaml", SMALL.as_bytes())?;
    write("small/small.ign", SMALL_IGNITION.as_bytes())
}

struct Bench {
    program: PathBuf,
    folder: PathBuf,
}

impl Bench {
    fn new(folder: &Path) -> Result<Self, String> {
        Ok(Self { program: Artifacts::from_environment_without_image()?.program, folder: folder.to_owned() })
    }

    fn ours(&self, folder: &str) -> Subject {
        Subject::new(&self.program, self.folder.join(folder))
            .variable("HOME", self.folder.join("empty"))
            .variable("CLOUD_MACHINE_STATE", self.folder.join("state"))
            .arguments(["config"])
    }

    fn comparisons(&self, peers: &Peers) -> Result<Vec<Comparison>, String> {
        self.controls(peers)?;
        eprintln!("bench: {KEYS} keys");
        let document = self.folder.join("project/cloud-machine.yaml");
        let cloud_init = peers.cloud_init(&self.folder, &document).prints("Valid cloud-config");
        let (schema, validate) = ("cloud-init schema", "ignition-validate");
        let seven = compare(&self.seven_layers("part"), &cloud_init, SLOW_PAIRS)?;
        let heavy = compare(&self.seven_layers("whole"), &cloud_init, SLOW_PAIRS)?;
        eprintln!("bench: small documents");
        let ignition = peers.ignition(&self.folder, &self.folder.join("small/small.ign"));
        let small = |command, text| self.ours("small").arguments([command, "--config", "small.yaml"]).prints(text);
        let audit = compare(&small("audit", "command line small.yaml:3:10"), &ignition, FAST_PAIRS)?;
        let show = compare(&small("show", "image: debian-12"), &ignition, FAST_PAIRS)?;
        Ok(vec![
            Comparison::new("audit of 2,000 keys, changed by six layers", schema, seven, Some(0.02)),
            Comparison::new("the same, all 2,000 keys in five of them", schema, heavy, None),
            Comparison::new("audit of a small document", validate, audit, Some(1.2)),
            Comparison::new("show of a small document", validate, show, Some(1.2)),
        ])
    }

    /// `config audit` with something of every layer: built in, `/etc`, user, project, environment, command line,
    /// address, volume.
    fn seven_layers(&self, set: &str) -> Subject {
        let file = |name: &str| self.folder.join(set).join(name).into_os_string();
        let arguments = [
            "audit".into(),
            "--config".into(),
            file("argument.yaml"),
            "--set".into(),
            "resources.ram=4".into(),
            "--url-file".into(),
            file("url.yaml"),
            "--volume".into(),
            file("drive.img"),
        ];
        self.ours("project")
            .variable("XDG_CONFIG_HOME", self.folder.join(set))
            .variable("CLOUD_MACHINE__RESOURCES__CPUS", "3")
            .arguments(arguments)
            .prints("built-in default")
            .prints("environment CLOUD_MACHINE__RESOURCES__CPUS")
            .prints("argument --set resources.ram=4")
            .prints("drive.img/user-data:2:")
            .prints("yum_repos.repository-284.priority")
    }

    /// Every layer is really read, and each peer really judges: it refuses what is wrong.
    fn controls(&self, peers: &Peers) -> Result<(), String> {
        let layers = ["global /etc/cloud-machine/config.yaml:2:", "user ", "project cloud-machine.yaml:2:"];
        let more = ["command line ", "cloud-init URL ", "volume "];
        let all = self.seven_layers("part").arguments(["--all"]);
        layers.into_iter().chain(more).fold(all, Subject::prints).run()?;
        let wrong = |name: &str, text: &str| {
            let path = self.folder.join(name);
            fs::write(&path, text).map(|()| path).map_err(|error| format!("write {name}: {error}"))
        };
        let path = wrong("wrong.yaml", "#cloud-config\nyum_repos: 1\n")?;
        peers.cloud_init(&self.folder, &path).code(1).prints("yum_repos").run()?;
        let path = wrong("wrong.ign", "{\"ignition\": {\"version\": 3}}")?;
        peers.ignition(&self.folder, &path).code(1).run()?;
        Ok(())
    }

    fn hostile(&self) -> Result<Vec<Hostile>, String> {
        eprintln!("bench: hostile documents");
        let mut rows = Vec::new();
        for case in hostile_documents::all() {
            let arguments = case.write(&self.folder.join("hostile")).map_err(|error| error.to_string())?;
            let subject = self.ours("hostile").arguments(&arguments[1..]).code(case.code).prints(case.says);
            rows.push(Hostile {
                document: case.name,
                milliseconds: alone(&subject, HOSTILE_RUNS)?,
                mebibytes: subject.peak(&self.folder)?,
                outcome: case.says,
            });
        }
        Ok(rows)
    }
}

impl Measured {
    fn is_met(&self) -> bool {
        self.comparisons.iter().all(Comparison::is_met) && self.hostile.iter().all(Hostile::is_met)
    }
}

fn print(measured: &Measured) -> Result<bool, String> {
    println!("{}", serde_json::to_string_pretty(measured).map_err(|error| error.to_string())?);
    Ok(measured.is_met())
}

fn show(measured: &Measured) -> bool {
    println!("measured on {}, {}", measured.date, measured.processor);
    println!("peers: {}\n", measured.peers.join(", "));
    let word = |met: bool| if met { "yes" } else { "NO" };
    let mut table = table(["what", "peer", "ours, ms", "peer, ms", "ratio (95 % interval)", "pairs", "target", "met"]);
    for row in &measured.comparisons {
        let ratio = format!("{:.4} ({:.4} to {:.4})", row.ratio, row.interval.0, row.interval.1);
        let target = row.target.map_or_else(|| "none".to_owned(), |target| format!("at most {target}"));
        let met = if row.target.is_some() { word(row.is_met()) } else { "-" };
        let (ours, peer) = (format!("{:.1}", row.ours_milliseconds), format!("{:.1}", row.peer_milliseconds));
        table.add_row([row.what.as_str(), &row.peer, &ours, &peer, &ratio, &row.pairs.to_string(), &target, met]);
    }
    println!("{table}\n");
    let mut table = self::table(["hostile document", "ms", "MiB", "what the program says", "met"]);
    for row in &measured.hostile {
        let (time, memory) = (format!("{:.1}", row.milliseconds), format!("{:.1}", row.mebibytes));
        table.add_row([row.document, &time, &memory, row.outcome, word(row.is_met())]);
    }
    println!("{table}\n\nbounds of hostile documents: {MILLISECONDS} ms, {} MiB", MEMORY >> 20);
    measured.is_met()
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(header);
    table
}

/// Name of the processor, and how many there are.
fn processor() -> Result<String, String> {
    let text = fs::read_to_string("/proc/cpuinfo").map_err(|error| format!("read /proc/cpuinfo: {error}"))?;
    let name = text.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let count = std::thread::available_parallelism().map_err(|error| error.to_string())?;
    Ok(format!("{} ({count} processors)", name.trim_start_matches(['\t', ' ', ':'])))
}

fn output(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).output().map_err(|error| format!("start {program}: {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
