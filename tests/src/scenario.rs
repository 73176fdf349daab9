//! The main job from end to end, through the program alone: create, plant, reimage, verify, look again. Used by the
//! demo and by the test of it, so that what is shown is what is tested.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use serde_json::Value;

use crate::{
    hostile::{self, PLANTED, Planted, Seen},
    program::Program,
};

/// Name of the machine.
pub const MACHINE: &str = "demo";
/// A data disk that a reimage wipes. One processor, since many boots follow: in software emulation a second one costs the host a fifth more.
const CONFIGURATION: &str = "\
#cloud-init
cloud-machine:
  driver: DRIVER
  image: IMAGE
  resources:
    ram: 1
    cpus: 1
    disks:
      system: {boot-partition: true}
      scratch: {allocation: 256MiB, on-reimage: wipe}
";

/// A golden image.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    /// The folder that its recipe made.
    pub folder: &'a Path,
    /// Its recipe, and its name in the store.
    pub name: &'a str,
}

/// What the scenario found.
#[derive(Debug)]
pub struct Ended {
    /// Each planted item: seen before the reimage, and after it.
    pub items: Vec<Item>,
    /// Each value of the identity: before, after, and whether it had to stay.
    pub identity: Vec<IdentityLine>,
    /// The program's result of the reimage.
    pub reimage: Value,
    /// The program's result of the verification.
    pub verification: Value,
    /// Phases of the scenario in order, with milliseconds.
    pub phases: Vec<(String, u128)>,
}

/// One planted item.
#[derive(Debug)]
pub struct Item {
    /// What it is.
    pub planted: Planted,
    /// Whether it was there before the reimage.
    pub before: bool,
    /// Whether it is there after it.
    pub after: bool,
}

/// One value of the identity.
#[derive(Debug)]
pub struct IdentityLine {
    /// Its name.
    pub name: &'static str,
    /// Before the job.
    pub before: String,
    /// After the reimage.
    pub after: String,
    /// Whether it had to stay; otherwise it had to change.
    pub kept: bool,
}

impl IdentityLine {
    /// Whether it is as it had to be.
    #[must_use]
    pub fn is_right(&self) -> bool {
        !self.before.is_empty() && !self.after.is_empty() && (self.before == self.after) == self.kept
    }
}

impl Ended {
    /// The assurance that the program printed.
    #[must_use]
    pub fn assurance(&self) -> &str {
        self.verification["machines"][0]["result"]["assurance"].as_str().unwrap_or("none")
    }

    /// What is wrong; empty when everything is as it must be.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for item in &self.items {
            if !item.before {
                faults.push(format!("not planted, so nothing is proved: {}", item.planted.name));
            }
            if item.after {
                faults.push(format!("survived: {}", item.planted.name));
            }
        }
        for line in self.identity.iter().filter(|line| !line.is_right()) {
            let wanted = if line.kept { "keep" } else { "change" };
            faults.push(format!("{} had to {wanted}: {:?} -> {:?}", line.name, line.before, line.after));
        }
        if self.assurance() != "host-rooted" {
            faults.push(format!("assurance is {}", self.assurance()));
        }
        faults
    }
}

/// Times the phases, and tells each as it begins.
struct Clock<'a> {
    tell: &'a dyn Fn(&str),
    phases: Vec<(String, u128)>,
}

impl Clock<'_> {
    fn phase<T>(&mut self, name: &str, work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
        (self.tell)(name);
        let began = Instant::now();
        let result = work().map_err(|error| format!("{name}: {error}"))?;
        self.phases.push((name.to_owned(), began.elapsed().as_millis()));
        Ok(result)
    }
}

/// Runs it all with an image on a driver. `tell` hears the name of each phase as it begins.
///
/// # Errors
/// A text when a phase fails; that something survived is no error but a fault of the result.
pub fn run(image: Image<'_>, program: &Program, driver: &str, tell: &dyn Fn(&str)) -> Result<Ended, String> {
    let mut clock = Clock { tell, phases: Vec::new() };
    let configuration = CONFIGURATION.replace("DRIVER", driver).replace("IMAGE", image.name);
    let configuration = write_configuration(program, &configuration)?;
    let file = configuration.to_string_lossy().into_owned();
    clock.phase("pack the image", || program.pack_folder(image.folder, image.name, &[]))?;
    clock.phase("create the machine", || program.json(["create", MACHINE, "--config", &file]))?;
    let before = identity(program)?;
    clock.phase("run the hostile job", || execute(program, &hostile::script()?))?;
    let planted = clock.phase("look for what it planted", || look(program))?;
    let reimage = clock.phase("reimage in place", || program.json(["reimage", MACHINE]))?;
    let verification = clock.phase("verify", || program.json(["verify", MACHINE]))?;
    let left = clock.phase("look again", || look(program))?;
    let after = identity(program)?;
    let items = PLANTED.iter().zip(planted.iter().zip(&left)).map(|(planted, (before, after))| Item {
        planted: *planted,
        before: *before,
        after: *after,
    });
    let identity = before.into_iter().zip(after).map(|((name, before, kept), (_, after, _))| IdentityLine {
        name,
        before,
        after,
        kept,
    });
    Ok(Ended { items: items.collect(), identity: identity.collect(), reimage, verification, phases: clock.phases })
}

fn write_configuration(program: &Program, configuration: &str) -> Result<PathBuf, String> {
    let folder = program.state().parent().ok_or("the state folder has no parent")?;
    let path = folder.join("demo.yaml");
    fs::create_dir_all(folder).and_then(|()| fs::write(&path, configuration)).map_err(|error| error.to_string())?;
    Ok(path)
}

/// Runs a script as root in the machine and gives what it printed.
fn execute(program: &Program, script: &str) -> Result<String, String> {
    let called = program.call(["exec", MACHINE, "--", "sh", "-s"], script.as_bytes());
    if called.code == 0 { Ok(called.output) } else { Err(format!("exit code {}\n{}", called.code, called.errors)) }
}

/// For each planted item, whether it is there.
fn look(program: &Program) -> Result<Vec<bool>, String> {
    let printed = execute(program, &hostile::checks())?;
    let folder = program.state().join("machines").join(MACHINE).join("disks");
    PLANTED
        .iter()
        .enumerate()
        .map(|(index, planted)| match planted.seen {
            Seen::Inside(_) => inside(&printed, index).ok_or_else(|| format!("no answer about {}", planted.name)),
            Seen::OnDisk { disk, needle } => {
                hostile::contains(&folder.join(format!("{disk}.raw")), needle).map_err(|error| error.to_string())
            }
        })
        .collect()
}

fn inside(printed: &str, index: usize) -> Option<bool> {
    let answer = printed.lines().find_map(|line| line.strip_prefix(&format!("{index} ")))?;
    match answer {
        "present" => Some(true),
        "gone" => Some(false),
        _ => None,
    }
}

/// Name, value and whether it must stay, of everything that identifies the machine: as the machine itself says it.
fn identity(program: &Program) -> Result<Vec<(&'static str, String, bool)>, String> {
    let script = "export PATH=/usr/sbin:/usr/bin:/sbin:/bin
hostname
cat /etc/machine-id
cat /sys/class/dmi/id/product_uuid
cat /sys/class/net/e*/address
ip -4 -o address show scope global | awk '{print $4}'
cut -d' ' -f2 /etc/ssh/ssh_host_ed25519_key.pub
hostid
sed -n s/^CLIENTID=//p /run/systemd/netif/leases/*
";
    let printed = execute(program, script)?;
    let names = [
        ("host name", true),
        ("machine-id", true),
        ("machine uuid", true),
        ("MAC", true),
        ("IP address", true),
        ("SSH host key", false),
        ("hostid", true),
        ("DHCP client id", true),
    ];
    let values: Vec<&str> = printed.lines().collect();
    if values.len() != names.len() {
        return Err(format!("the identity has {} lines: {printed}", values.len()));
    }
    Ok(names.iter().zip(values).map(|((name, kept), value)| (*name, value.to_owned(), *kept)).collect())
}
