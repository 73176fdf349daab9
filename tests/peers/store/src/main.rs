//! The same work on files and on SQLite (bundled, WAL, `synchronous=FULL`): a list of many machines, leases that are taken and given
//! back by eight processes, programs that are killed, a full file system. docs/decisions/0004-store.md has the commands.

use std::{
    env,
    error::Error,
    fs::{self, File},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio, id},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, TransactionBehavior, params};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, statat};
use serde::{Deserialize, de::IgnoredAny};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const PROCESSES: u64 = 8;
const NAMES: u64 = 1000;

/// Of a record, what a list shows. The rest is skipped, but still read and looked at.
#[derive(Deserialize)]
struct Summary<'a> {
    name: &'a str,
    uuid: &'a str,
    driver: &'a str,
    ssh_port: u16,
    state: &'a str,
    dirty: bool,
    #[serde(rename = "layers")]
    _layers: IgnoredAny,
}

/// Makes a state folder of `count` machines with records of 14 KB.
fn fill(root: &Path, count: usize) -> Outcome<()> {
    let key = |section, key| serde_json::json!({"value": format!("some value {section} {key}"), "line": key});
    let section = |section: usize| -> serde_json::Value {
        (0..6).map(|number| (format!("key-{number}"), key(section, number))).collect()
    };
    let layers: serde_json::Value = (0..20).map(|number| (format!("section-{number}"), section(number))).collect();
    for number in 0..count {
        let folder = root.join("machines").join(format!("ci-{number}"));
        fs::create_dir_all(folder.join("disks"))?;
        File::create(folder.join("disks/system.raw"))?.set_len(1 << 30)?;
        let record = serde_json::json!({
            "name": format!("ci-{number}"), "uuid": format!("7f0b7d6e-58c1-4b8e-9a6e-{number:012x}"), "driver": "qemu",
            "ssh_port": 2222, "state": "stopped", "dirty": false, "layers": layers,
        });
        fs::write(folder.join("machine.json"), serde_json::to_vec_pretty(&record)?)?;
    }
    Ok(())
}

/// What is done with the files of each machine.
#[derive(Clone, Copy)]
enum Look {
    /// Its record is read and parsed.
    Parse,
    /// The kernel is asked how its record looks.
    Record,
    /// The same, and of the folder of its disks.
    RecordAndDisks,
}

fn list_files(root: &Path, threads: usize, look: Look) -> Outcome<usize> {
    let folder = root.join("machines");
    let names: Vec<String> = fs::read_dir(&folder)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Outcome<_>>()?;
    let machines = openat(CWD, &folder, OFlags::DIRECTORY, Mode::empty())?;
    let next = AtomicUsize::new(0);
    let worker = || -> Outcome<()> {
        let mut buffer = vec![0; 1 << 16];
        while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
            let record = format!("{name}/machine.json");
            if let Look::Parse = look {
                let file = openat(&machines, record, OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
                let length = rustix::io::read(&file, &mut buffer)?;
                serde_json::from_slice::<Summary<'_>>(&buffer[..length])?;
            } else {
                statat(&machines, record, AtFlags::SYMLINK_NOFOLLOW)?;
            }
            if let Look::RecordAndDisks = look {
                statat(&machines, format!("{name}/disks"), AtFlags::SYMLINK_NOFOLLOW)?;
            }
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| "a thread panicked")?)
    })?;
    Ok(names.len())
}

fn database(path: &Path) -> Outcome<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(60))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    Ok(connection)
}

fn fill_sqlite(root: &Path) -> Outcome<()> {
    let mut connection = database(&root.join("store.db"))?;
    connection.execute_batch(
        "create table machine(name text primary key, uuid text, driver text, ssh_port integer, state text, dirty integer, record text)
         without rowid",
    )?;
    let transaction = connection.transaction()?;
    for entry in fs::read_dir(root.join("machines"))? {
        let text = fs::read_to_string(entry?.path().join("machine.json"))?;
        let one: Summary<'_> = serde_json::from_str(&text)?;
        let values = params![one.name, one.uuid, one.driver, one.ssh_port, one.state, one.dirty, text];
        transaction.execute("insert into machine values(?,?,?,?,?,?,?)", values)?;
    }
    Ok(transaction.commit()?)
}

fn list_sqlite(root: &Path) -> Outcome<usize> {
    type Row = (String, String, String, u16, String, bool);
    let connection = database(&root.join("store.db"))?;
    let mut query = connection.prepare("select name, uuid, driver, ssh_port, state, dirty from machine")?;
    let row =
        |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?));
    Ok(query.query_map([], row)?.collect::<Result<Vec<Row>, _>>()?.len())
}

trait Leases {
    /// The number of the new lease; `None` while there is one.
    fn take(&mut self, name: &str) -> Outcome<Option<u64>>;
    fn give_back(&mut self, name: &str, number: u64) -> Outcome<()>;
}

/// A file and a lock for each: written aside, flushed, renamed, folder flushed.
struct Files(PathBuf);

impl Files {
    fn change<T>(&self, name: &str, change: impl FnOnce(u64, bool) -> Outcome<(T, Option<String>)>) -> Outcome<T> {
        let lock =
            fs::OpenOptions::new().create(true).truncate(false).write(true).open(self.0.join("locks").join(name))?;
        lock.lock()?;
        let path = self.0.join(name);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => "0 free".to_owned(),
            text => text?,
        };
        let (number, held) = text.split_once(' ').ok_or("a file is torn")?;
        let (result, new) = change(number.parse()?, held == "held")?;
        if let Some(new) = new {
            let aside = self.0.join(format!(".write.{}", id()));
            let mut file = File::create(&aside)?;
            file.write_all(new.as_bytes())?;
            file.sync_all()?;
            fs::rename(&aside, &path)?;
            File::open(&self.0)?.sync_all()?;
        }
        Ok(result)
    }
}

impl Leases for Files {
    fn take(&mut self, name: &str) -> Outcome<Option<u64>> {
        self.change(name, |number, held| {
            Ok(if held { (None, None) } else { (Some(number + 1), Some(format!("{} held", number + 1))) })
        })
    }

    fn give_back(&mut self, name: &str, number: u64) -> Outcome<()> {
        self.change(name, |found, _| {
            if found == number { Ok(((), Some(format!("{number} free")))) } else { Err("another one has it".into()) }
        })
    }
}

struct Sqlite(Connection);

impl Leases for Sqlite {
    fn take(&mut self, name: &str) -> Outcome<Option<u64>> {
        let transaction = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute("insert or ignore into lease values(?, 0, 0)", [name])?;
        let taken = transaction
            .execute("update lease set number = number + 1, held = 1 where name = ? and held = 0", [name])?;
        let number: i64 = transaction.query_row("select number from lease where name = ?", [name], |row| row.get(0))?;
        transaction.commit()?;
        Ok((taken == 1).then_some(number.try_into()?))
    }

    fn give_back(&mut self, name: &str, number: u64) -> Outcome<()> {
        let sql = "update lease set held = 0 where name = ? and number = ?";
        if self.0.execute(sql, params![name, i64::try_from(number)?])? == 1 {
            Ok(())
        } else {
            Err("another one has it".into())
        }
    }
}

fn open(kind: &str, folder: &Path) -> Outcome<Box<dyn Leases>> {
    fs::create_dir_all(folder.join("locks"))?;
    if kind == "files" {
        return Ok(Box::new(Files(folder.to_owned())));
    }
    let connection = database(&folder.join("leases.db"))?;
    connection.execute_batch(
        "create table if not exists lease(name text primary key, number integer, held integer) without rowid",
    )?;
    Ok(Box::new(Sqlite(connection)))
}

/// One of the processes: prints how many microseconds each pair of take and give back took.
fn work(kind: &str, folder: &Path, seconds: u64, seed: u64) -> Outcome<()> {
    let (mut leases, end) = (open(kind, folder)?, Instant::now() + Duration::from_secs(seconds));
    let (mut random, mut times) = (seed * 7919 + 1, String::new());
    while Instant::now() < end {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (name, began) = (format!("ci-{}", (random >> 33) % NAMES), Instant::now());
        if let Some(number) = leases.take(&name)? {
            leases.give_back(&name, number)?;
            times.push_str(&format!("{}\n", began.elapsed().as_micros()));
        }
    }
    print!("{times}");
    Ok(())
}

fn start(kind: &str, folder: &Path, seconds: u64, seed: u64) -> Outcome<Child> {
    let mut command = Command::new(env::current_exe()?);
    command.args(["work", kind]).arg(folder).args([seconds.to_string(), seed.to_string()]);
    Ok(command.stdout(Stdio::piped()).spawn()?)
}

fn leases(kind: &str, folder: &Path, seconds: u64) -> Outcome<()> {
    drop(open(kind, folder)?);
    let children = (0..PROCESSES).map(|seed| start(kind, folder, seconds, seed)).collect::<Outcome<Vec<_>>>()?;
    let mut times: Vec<u64> = Vec::new();
    for child in children {
        let output = child.wait_with_output()?;
        for line in String::from_utf8(output.stdout)?.lines() {
            times.push(line.parse()?);
        }
    }
    times.sort_unstable();
    let at = |percent: usize| times.get(times.len() * percent / 101).copied().unwrap_or_default();
    let rate = times.len() as u64 / seconds;
    println!("{kind}: {rate} pairs a second, p50 {} us, p99 {} us, slowest {} us", at(50), at(99), at(100));
    Ok(())
}

/// Kills a process again and again; after each the next change is timed, and its number must follow that of the one before.
fn kill(kind: &str, folder: &Path, rounds: u64) -> Outcome<()> {
    let mut slowest = Duration::ZERO;
    for round in 0..rounds {
        let mut child = start(kind, folder, 60, round)?;
        thread::sleep(Duration::from_millis(15 + (round * 37) % 50));
        child.kill()?;
        child.wait()?;
        let began = Instant::now();
        let mut leases = open(kind, folder)?;
        let number = leases.take("after")?.ok_or("a lease of nobody is held")?;
        leases.give_back("after", number)?;
        slowest = slowest.max(began.elapsed());
        if number != round + 1 {
            return Err(format!("number {number} after {round} rounds").into());
        }
    }
    let mut leases = open(kind, folder)?;
    let mut held = 0;
    for number in 0..NAMES {
        held += usize::from(leases.take(&format!("ci-{number}"))?.is_none());
    }
    println!(
        "{kind}: {rounds} kills, all leases read, {held} held by dead processes, slowest next change {} us",
        slowest.as_micros()
    );
    Ok(())
}

/// In a small file system.
fn full(kind: &str, folder: &Path) -> Outcome<()> {
    let mut leases = open(kind, folder)?;
    let number = leases.take("a")?.ok_or("held")?;
    let mut file = File::create(folder.join("fill"))?;
    while file.write_all(&[1; 4096]).is_ok() {}
    let text =
        |result: Outcome<Option<u64>>| result.map_or_else(|error| error.to_string(), |number| format!("{number:?}"));
    let gave = text(leases.give_back("a", number).map(|()| None));
    let (took, again) = (text(leases.take("b")), text(open(kind, folder).and_then(|mut other| other.take("a"))));
    println!("{kind}, full: give back: {gave}; take: {took}; another process takes what is held: {again}");
    drop(file);
    fs::remove_file(folder.join("fill"))?;
    println!("{kind}, with room again: take: {}", text(open(kind, folder)?.take("c")));
    Ok(())
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let began = Instant::now();
    let listed = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["fill", root, count] => return fill(Path::new(root), count.parse()?).and_then(|()| fill_sqlite(Path::new(root))),
        ["parse", root, threads] => list_files(Path::new(root), threads.parse()?, Look::Parse)?,
        ["stat", root, threads] => list_files(Path::new(root), threads.parse()?, Look::Record)?,
        ["stat-both", root, threads] => list_files(Path::new(root), threads.parse()?, Look::RecordAndDisks)?,
        ["sqlite", root] => list_sqlite(Path::new(root))?,
        ["work", kind, folder, seconds, seed] => return work(kind, Path::new(folder), seconds.parse()?, seed.parse()?),
        ["leases", kind, folder, seconds] => return leases(kind, Path::new(folder), seconds.parse()?),
        ["kill", kind, folder, rounds] => return kill(kind, Path::new(folder), rounds.parse()?),
        ["full", kind, folder] => return full(kind, Path::new(folder)),
        _ => return Err("fill ROOT COUNT | parse|stat|stat-both ROOT THREADS | sqlite ROOT | leases|kill KIND FOLDER NUMBER | full KIND FOLDER".into()),
    };
    let peak = fs::read_to_string("/proc/self/status")?;
    let peak = peak.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default().to_owned();
    println!("{listed} machines in {:.1} ms, {peak}", began.elapsed().as_secs_f64() * 1000.0);
    Ok(())
}
