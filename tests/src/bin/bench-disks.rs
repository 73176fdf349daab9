//! `make bench`: writing an image to a disk, against real programs that write images, on a loop device and on a file in
//! memory. Exit code 0 when every target is met, 1 when one is missed, 2 when something could not be measured.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use cloud_machine_disk::{Access, Disk};
use cloud_machine_image::{AlignedBuffer, ReadBlocks};
use cloud_machine_tests::{
    artifacts::Artifacts,
    bench::{
        disks::{Before, Ratio, Row, Stage, Timed, measure, ratio},
        measure::Subject,
        overlay,
    },
    image_server::{Behaviour, ImageServer},
    loop_device::{LoopDevice, run},
    program::Program,
};
use comfy_table::{Table, presets::ASCII_MARKDOWN};
use serde::Serialize;

/// Name of the image in the store.
const IMAGE: &str = "bench";
/// Rounds, each with every row once.
const ROUNDS: usize = 5;
/// Argument by which this program knows that it is the plain read that a scan is held against.
const READ: &str = "--read";
/// Argument by which it makes a fresh overlay on a golden disk.
const OVERLAY: &str = "--overlay";
const THREADS: u64 = 4;
const UNIT: u64 = 1 << 20;
/// Peak memory of ours.
const MEMORY_MIB: f64 = 32.0;

const MEMORY: &str = "file in memory";
const FULL: &str = "ours: full, verified";
const CLEAN: &str = "ours: clean disk";
const READING: &str = "plain O_DIRECT read";
const HINTED: &str = "ours: 1 % dirty, hinted";
const ALL: &str = "ours: 100 % dirty";
const BMAPTOOL: &str = "bmaptool copy, zst";
const NBDCOPY: &str = "nbdcopy, raw";
const QEMU_IMG: &str = "qemu-img convert -m 8 -W, raw";

#[derive(Serialize)]
struct Measured {
    stages: Vec<Staged>,
    overlay: Ratio,
}

#[derive(Serialize)]
struct Staged {
    stage: &'static str,
    rows: Vec<Timed>,
    ratios: Vec<Ratio>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let ended = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => all().map(|measured| show(&measured)),
        ["--json"] => all().and_then(|measured| print(&measured)),
        [READ, disk] => read(Path::new(disk)),
        [OVERLAY, state, image, path] => overlay::fresh(Path::new(state), image, Path::new(path)).map(|_| true),
        _ => Err("usage: bench-disks [--json]".to_owned()),
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

/// Reads all of a disk past the cache, with the threads and units of ours, and does nothing with it.
fn read(path: &Path) -> Result<bool, String> {
    let disk = Disk::open(path, Access::Read).map_err(|error| error.to_string())?;
    let next = std::sync::atomic::AtomicU64::new(0);
    let worker = || -> std::io::Result<()> {
        let mut buffer = AlignedBuffer::new(UNIT as usize);
        loop {
            let offset = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed) * UNIT;
            if offset >= disk.size() {
                return Ok(());
            }
            let length = UNIT.min(disk.size() - offset) as usize;
            disk.read_at(&mut buffer[..length], offset)?;
        }
    };
    let ended = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(worker)).collect();
        threads.into_iter().map(|thread| thread.join()).collect::<Vec<_>>()
    });
    for thread in ended {
        thread.map_err(|_| "a reading thread ended".to_owned())?.map_err(|error| error.to_string())?;
    }
    println!("read");
    Ok(true)
}

fn all() -> Result<Measured, String> {
    let artifacts = Artifacts::from_environment()?;
    let program = Program::new(&artifacts);
    let manifest = program.pack(&artifacts, IMAGE)?;
    let packed = program.state().join("images").join(IMAGE).join("image.zst");
    let bytes = fs::read(&packed).map_err(|error| format!("read {}: {error}", packed.display()))?;
    let server = ImageServer::start(bytes, Behaviour::Good);
    let address = [server.url(), manifest["digest"].as_str().unwrap_or_default().to_owned()];
    let folder = |parent: &Path| {
        let made = tempfile::Builder::new().prefix("cloud-machine-bench-").tempdir_in(parent);
        made.map_err(|error| format!("make a folder in {}: {error}", parent.display()))
    };
    let scratch = folder(&env::temp_dir())?;
    let raw = artifacts.image.join("disk.raw");
    let sources = Sources::new(&raw, &packed, address, (&artifacts.program, program.state()), scratch.path())?;
    let size = fs::metadata(&sources.raw).map_err(|error| error.to_string())?.len();

    let file = scratch.path().join("disk");
    allocate(&file, size)?;
    let device = LoopDevice::new(&file, 512);
    let stage = Stage::new(&sources.raw, &file, device.path())?;
    let mut stages = vec![one("loop device", &stage, &sources, scratch.path())?];
    drop(device);
    let overlay = fresh_overlay(program.state(), scratch.path())?;

    let memory = folder(Path::new("/dev/shm"))?;
    let file = memory.path().join("disk");
    allocate(&file, size)?;
    let stage = Stage::new(&sources.raw, &file, &file)?;
    stages.push(one(MEMORY, &stage, &sources, scratch.path())?);
    Ok(Measured { stages, overlay })
}

fn fresh_overlay(state: &Path, scratch: &Path) -> Result<Ratio, String> {
    let own = env::current_exe().map_err(|error| error.to_string())?;
    let ours = Subject::new(own, scratch).arguments([OVERLAY]);
    let found = overlay::compare(&ours, state, IMAGE, scratch)?;
    let name = format!("a fresh overlay, {:.1} ms / qemu-img create -b, {:.1} ms", found.ours, found.peer);
    Ok(Ratio { name, ratio: found.median, interval: found.interval, target: Some(2.0) })
}

/// Makes a file whose bytes all exist: filling holes would be measured as well.
fn allocate(path: &Path, size: u64) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("make {}: {error}", path.display());
    let file = File::create(path).map_err(failed)?;
    let chunk = vec![0xa5; UNIT as usize];
    for offset in (0..size).step_by(UNIT as usize) {
        let length = UNIT.min(size - offset) as usize;
        std::os::unix::fs::FileExt::write_all_at(&file, &chunk[..length], offset).map_err(failed)?;
    }
    file.sync_all().map_err(failed)
}

/// The image in every form that a program reads.
struct Sources {
    /// The state folder in which ours is installed: what its zeros hash to was found when it was packed.
    state: PathBuf,
    /// Where a server has ours, and its digest.
    address: [String; 2],
    program: PathBuf,
    raw: PathBuf,
    zst: PathBuf,
    bmap: PathBuf,
}

impl Sources {
    fn new(
        raw: &Path,
        packed: &Path,
        address: [String; 2],
        (program, state): (&Path, &Path),
        scratch: &Path,
    ) -> Result<Self, String> {
        let (zst, bmap) = (scratch.join("disk.raw.zst"), scratch.join("disk.bmap"));
        run(Command::new("zstd").args(["-q", "-3", "-T0", "-o"]).arg(&zst).arg(raw));
        run(Command::new("bmaptool").arg("create").arg("-o").arg(&bmap).arg(raw));
        // Whatever has to be read comes from the page cache for everyone.
        for file in [raw, packed, &zst] {
            fs::read(file).map_err(|error| format!("read {}: {error}", file.display()))?;
        }
        let (state, program, raw) = (state.to_owned(), program.to_owned(), raw.to_owned());
        Ok(Self { state, address, program, raw, zst, bmap })
    }

    fn rows(&self, stage: &Stage, scratch: &Path) -> Result<Vec<Row>, String> {
        let disk = stage.disk.to_string_lossy().into_owned();
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let (raw, zst, bmap) = (text(&self.raw), text(&self.zst), text(&self.bmap));
        let write = |image: &str, more: &[&str]| {
            let subject = Subject::new(&self.program, scratch).arguments(["image", "write", image]);
            let subject = subject.variable("CLOUD_MACHINE_STATE", &self.state);
            subject.arguments(["--yes", "--quiet", "--disk", &disk]).arguments(more)
        };
        let ours = |more: &[&str]| write(IMAGE, more);
        let [url, digest] = &self.address;
        let row = |name: &str, before, subject| Row { name: name.to_owned(), before, subject, writes: true };
        let shell = |script: String| Subject::new("/bin/sh", scratch).arguments(["-euc".to_owned(), script]);
        let own = env::current_exe().map_err(|error| error.to_string())?;
        let map = scratch.join("dirty.json");
        let leaves: Vec<String> =
            stage.dirty(10, false).iter().map(|at| format!("{{\"offset\": {at}, \"length\": 65536}}")).collect();
        fs::write(&map, format!("[{}]", leaves.join(", "))).map_err(|error| error.to_string())?;

        let mut rows = vec![
            row(FULL, Before::Old, ours(&["--tier", "stream"])),
            row(NBDCOPY, Before::Old, Subject::new("nbdcopy", scratch).arguments(["--flush", &raw, &disk])),
            row(
                QEMU_IMG,
                Before::Old,
                Subject::new("qemu-img", scratch)
                    .arguments(["convert", "-n", "-m", "8", "-W", "-t", "none", "-f", "raw", "-O", "raw", &raw, &disk]),
            ),
            row(
                "dd bs=4M oflag=direct, raw",
                Before::Old,
                shell(format!("dd if={raw} of={disk} bs=4M oflag=direct conv=fsync,notrunc status=none")),
            ),
            row(
                "zstd -dc | dd oflag=direct",
                Before::Old,
                shell(format!(
                    "zstd -dc {zst} | dd of={disk} bs=4M iflag=fullblock oflag=direct conv=fsync,notrunc status=none"
                )),
            ),
            row(
                BMAPTOOL,
                Before::Old,
                Subject::new("bmaptool", scratch).arguments(["copy", "--bmap", &bmap, &zst, &disk]),
            ),
            row(
                "bmaptool copy, raw",
                Before::Old,
                Subject::new("bmaptool", scratch).arguments(["copy", "--bmap", &bmap, &raw, &disk]),
            ),
            Row {
                name: READING.to_owned(),
                before: Before::Clean,
                subject: Subject::new(own, scratch).arguments([READ, &disk]).prints("read"),
                writes: false,
            },
            row(CLEAN, Before::Clean, ours(&[])),
            row(HINTED, Before::Dirty { permille: 10, run: false }, ours(&["--dirty", &text(&map)])),
            row("ours: full, verified, over HTTP", Before::Old, write(url, &["--tier", "stream", "--digest", digest])),
            row(
                "ours: 3 % dirty, over HTTP",
                Before::Dirty { permille: 30, run: false },
                write(url, &["--digest", digest]),
            ),
            row(ALL, Before::Dirty { permille: 1000, run: false }, ours(&[])),
        ];
        for (percent, run) in [(1, false), (3, false), (10, false), (1, true), (3, true), (10, true)] {
            let before = Before::Dirty { permille: percent * 10, run };
            rows.push(row(&dirty_name(percent, run), before, ours(&[])));
        }
        Ok(rows)
    }
}

fn dirty_name(percent: usize, run: bool) -> String {
    format!("ours: {percent} % dirty, {}", if run { "in one run" } else { "scattered" })
}

fn one(name: &'static str, stage: &Stage, sources: &Sources, scratch: &Path) -> Result<Staged, String> {
    eprintln!("bench: {name}");
    let rows = measure(stage, &sources.rows(stage, scratch)?, ROUNDS, scratch)?;
    let faster = |one: &'static str, two: &'static str| {
        let time = |name| rows.iter().find(|row| row.name == name).map(|row| row.milliseconds);
        if time(one) <= time(two) { one } else { two }
    };
    let three = dirty_name(3, false);
    let ratios = [
        (FULL, faster(NBDCOPY, QEMU_IMG), Some(1.0)),
        // 0.20 is for a write that nobody reads back, which ours has no way to do.
        (FULL, BMAPTOOL, Some(0.30)),
        // Reading memory takes all processors, so that nothing can be hashed beside it.
        (CLEAN, READING, (name != MEMORY).then_some(1.2)),
        (CLEAN, FULL, Some(0.65)),
        (&three, CLEAN, Some(1.2)),
        (ALL, FULL, Some(1.15)),
        (HINTED, FULL, Some(0.08)),
    ];
    let ratios: Result<Vec<Ratio>, String> =
        ratios.into_iter().map(|(one, two, target)| ratio(&rows, one, two, target)).collect();
    Ok(Staged { stage: name, ratios: ratios?, rows })
}

fn is_met(ratio: &Ratio) -> bool {
    ratio.target.is_none_or(|target| ratio.ratio <= target)
}

fn is_good(row: &Timed) -> bool {
    !row.name.starts_with("ours") || (row.exact == Some(true) && row.mebibytes <= MEMORY_MIB)
}

fn all_good(measured: &Measured) -> bool {
    let good = |stage: &Staged| stage.ratios.iter().all(is_met) && stage.rows.iter().all(is_good);
    is_met(&measured.overlay) && measured.stages.iter().all(good)
}

fn print(measured: &Measured) -> Result<bool, String> {
    println!("{}", serde_json::to_string_pretty(measured).map_err(|error| error.to_string())?);
    Ok(all_good(measured))
}

fn show(measured: &Measured) -> bool {
    for stage in &measured.stages {
        println!("### On a {}\n", stage.stage);
        let mut table = table(["what", "ms", "processor, ms", "MiB", "exact"]);
        for row in &stage.rows {
            let exact = row.exact.map_or("-", word);
            let (time, cpu) = (format!("{:.0}", row.milliseconds), format!("{:.0}", row.processor_milliseconds));
            table.add_row([row.name.as_str(), &time, &cpu, &format!("{:.1}", row.mebibytes), exact]);
        }
        println!("{table}\n");
        println!("{}\n", ratios(&stage.ratios));
    }
    println!("### A fresh overlay\n\n{}\n", ratios(std::slice::from_ref(&measured.overlay)));
    all_good(measured)
}

fn word(met: bool) -> &'static str {
    if met { "yes" } else { "NO" }
}

fn ratios(ratios: &[Ratio]) -> Table {
    let mut table = table(["ratio", "median (95 % interval)", "target", "met"]);
    for row in ratios {
        let median = format!("{:.3} ({:.3} to {:.3})", row.ratio, row.interval.0, row.interval.1);
        let target = row.target.map_or_else(|| "none".to_owned(), |target| format!("at most {target}"));
        table.add_row([row.name.as_str(), &median, &target, row.target.map_or("-", |_| word(is_met(row)))]);
    }
    table
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(header);
    table
}
