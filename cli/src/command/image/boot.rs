//! What machines are started with to be reimaged: the agent, the modules of the image's kernel and programs, as an initramfs.
//! Must not look at the disk image.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use cloud_machine_initramfs as standalone;
use cloud_machine_protocol::volume::PIN_ARGUMENT;
use cloud_machine_store::{StoreError, read_named};

use crate::failure::{Failure, Kind};

/// File name of the agent.
const AGENT: &str = "cloud-machine-agent";
/// Where `make build` leaves it, from the build folder on.
const AGENT_BUILD: &str = "x86_64-unknown-linux-gnu/agent";
/// Where the package `cloud-machine-agent` has it, from the folder above that of this program on.
const AGENT_PACKAGE: &str = "lib/cloud-machine";
/// Most bytes that one part of an initramfs may have.
pub(super) const MAX_PART: u64 = 256 << 20;

/// Filesystems of an image's partitions besides ext4, by the kernel's word for each, with the modules that they ask for by name.
const FILESYSTEMS: [(&str, &[&str]); 3] = [
    ("xfs", &["xfs"]),
    ("btrfs", &["xxhash_generic", "btrfs"]),
    ("vfat", &["nls_cp437", "nls_ascii", "nls_iso8859-1", "nls_utf8", "vfat"]),
];

/// The agent's bytes.
pub(super) fn agent(given: Option<&Path>) -> Result<Vec<u8>, Failure> {
    let path = agent_path(given)?;
    let bytes = read(&path, MAX_PART)?;
    check_agent(&path, &bytes)?;
    Ok(bytes)
}

/// The agent: `--agent`, or where it lies with this program.
fn agent_path(given: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(path) = given {
        return Ok(path.to_owned());
    }
    let own = std::env::current_exe().map_err(Failure::during(Kind::Failed, "find this program"))?;
    let places = places(&own);
    if let Some(found) = places.iter().find(|path| path.is_file()) {
        return Ok(found.clone());
    }
    let looked: Vec<String> = places.iter().map(|path| path.display().to_string()).collect();
    Err(Failure::new(Kind::NotFound, format!("there is no agent at {}", looked.join(" or "))).hint(
        "the package cloud-machine-agent brings it, and `make build` builds it; --agent FILE names another place",
    ))
}

/// Where the agent is without `--agent`: beside this program, where both were built, or where packages put it.
fn places(own: &Path) -> Vec<PathBuf> {
    let mut places = vec![own.with_file_name(AGENT)];
    let Some((folder, above)) = own.parent().and_then(|folder| Some((folder, folder.parent()?))) else { return places };
    if folder.ends_with("release") {
        places.push(above.join(AGENT_BUILD).join(AGENT));
    } else if folder.ends_with("bin") {
        places.push(above.join(AGENT_PACKAGE).join(AGENT));
    }
    places
}

/// The folder of a kernel's modules, on the host or in an image.
pub(super) trait ModuleFolder {
    /// Its name, or that of a file below it, for people.
    fn shown(&self, path: &str) -> String;

    /// A file below it, of at most `most` bytes.
    fn read(&self, path: &str, most: u64) -> Result<Vec<u8>, Failure>;
}

impl ModuleFolder for PathBuf {
    fn shown(&self, path: &str) -> String {
        if path.is_empty() { self.display().to_string() } else { self.join(path).display().to_string() }
    }

    fn read(&self, path: &str, most: u64) -> Result<Vec<u8>, Failure> {
        read(&self.join(path), most)
    }
}

/// The release of the modules that the agent needs, and the initramfs with them in load order and with the programs.
/// `more` are modules besides those that every machine may need.
pub(super) fn initramfs(
    folder: &dyn ModuleFolder,
    agent: &[u8],
    programs: &standalone::Programs,
    more: &[String],
) -> Result<(String, Vec<u8>), Failure> {
    let mut wanted: Vec<(String, Vec<&str>)> =
        standalone::stages().into_iter().map(|(name, wanted)| (name.to_owned(), wanted)).collect();
    wanted.extend(more.iter().map(|module| (standalone::stage_of(module), vec![module.as_str()])));
    with_stages(folder, &Lists::read(folder)?, agent, programs, wanted)
}

/// As [`initramfs`], with what disks of a virtual machine need and with the filesystems of an image's partitions, as far as the kernel
/// has modules for them.
pub(super) fn initramfs_for_filesystems(
    folder: &dyn ModuleFolder,
    agent: &[u8],
    programs: &standalone::Programs,
) -> Result<(String, Vec<u8>), Failure> {
    let lists = Lists::read(folder)?;
    let has = |module: &&str| standalone::load_order(&lists.dependencies, &lists.builtin, &[module]).is_ok();
    let boot = standalone::stages().into_iter().filter(|(name, _)| *name == standalone::BOOT);
    let mut wanted: Vec<(String, Vec<&str>)> = boot.map(|(name, wanted)| (name.to_owned(), wanted)).collect();
    for (kind, modules) in FILESYSTEMS {
        let modules: Vec<&str> = modules.iter().copied().filter(has).collect();
        if modules.contains(&kind) {
            wanted.push((standalone::stage_of(kind), modules));
        }
    }
    with_stages(folder, &lists, agent, programs, wanted)
}

/// What depmod(8) says of a folder's modules.
struct Lists {
    dependencies: String,
    builtin: String,
}

impl Lists {
    fn read(folder: &dyn ModuleFolder) -> Result<Self, Failure> {
        let text = |name: &str| folder.read(name, MAX_PART).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Ok(Self { dependencies: text("modules.dep")?, builtin: text("modules.builtin")? })
    }
}

fn with_stages(
    folder: &dyn ModuleFolder,
    lists: &Lists,
    agent: &[u8],
    programs: &standalone::Programs,
    wanted: Vec<(String, Vec<&str>)>,
) -> Result<(String, Vec<u8>), Failure> {
    let order = |wanted: &[&str]| {
        standalone::load_order(&lists.dependencies, &lists.builtin, wanted)
            .map_err(Failure::during(Kind::Failed, format!("choose modules of {}", folder.shown(""))))
    };
    let mut stages: Vec<standalone::Stage> = Vec::new();
    let mut loaded = Vec::new();
    let mut modules = Modules { folder, read: BTreeMap::new(), room: standalone::MAX_MODULES };
    for (name, wanted) in wanted {
        let paths: Vec<String> = order(&wanted)?.into_iter().filter(|path| !loaded.contains(path)).collect();
        let modules = paths.iter().map(|path| modules.get(path)).collect::<Result<_, _>>()?;
        if name == standalone::BOOT {
            loaded = paths;
        }
        stages.push(standalone::Stage { name, modules });
    }
    let release = kernel_release(&stages)
        .ok_or_else(|| Failure::failed(format!("the modules of {} are not of one kernel", folder.shown(""))))?;
    let bytes =
        standalone::build(agent, &stages, programs).map_err(Failure::during(Kind::Failed, "build the initramfs"))?;
    Ok((release, bytes))
}

/// The modules of a kernel's folder, each read and decompressed once.
struct Modules<'a> {
    folder: &'a dyn ModuleFolder,
    read: BTreeMap<String, standalone::Module>,
    /// Bytes that all others may still have.
    room: u64,
}

impl Modules<'_> {
    fn get(&mut self, path: &str) -> Result<standalone::Module, Failure> {
        if let Some(module) = self.read.get(path) {
            return Ok(module.clone());
        }
        // A file that is larger than the room has no place, whether or not it is compressed.
        let bytes = self.folder.read(path, self.room)?;
        let name = path.rsplit('/').next().unwrap_or(path);
        let module = standalone::Module::from_file(name, bytes, self.room)
            .map_err(Failure::during(Kind::Failed, format!("take {}", self.folder.shown(path))))?;
        self.room -= module.bytes.len() as u64;
        self.read.insert(path.to_owned(), module.clone());
        Ok(module)
    }
}

/// The release for which all modules were built, from their `vermagic` (linux/vermagic.h).
fn kernel_release(stages: &[standalone::Stage]) -> Option<String> {
    const KEY: &[u8] = b"\0vermagic=";
    let release = |module: &standalone::Module| {
        let at = module.bytes.windows(KEY.len()).position(|window| window == KEY)? + KEY.len();
        let value = module.bytes.get(at..)?;
        let end = value.iter().position(|byte| matches!(byte, b' ' | 0))?;
        String::from_utf8(value.get(..end)?.to_vec()).ok()
    };
    let mut modules = stages.iter().flat_map(|stage| &stage.modules);
    let first = release(modules.next()?)?;
    modules.all(|module| release(module).as_ref() == Some(&first)).then_some(first)
}

/// Refuses a file that QEMU would not start as a kernel: one without the header of a bzImage
/// (Documentation/arch/x86/boot.rst, `header` at 0x202).
pub(super) fn check_kernel(path: &Path) -> Result<(), Failure> {
    let bytes = read(path, MAX_PART)?;
    if bytes.get(0x202..0x206) == Some(b"HdrS".as_slice()) {
        return Ok(());
    }
    Err(Failure::new(Kind::Refused, format!("{} is not a kernel: it has no header of a bzImage", path.display()))
        .hint("give the `vmlinuz` of the image's /boot with --kernel"))
}

/// Refuses a program that is not the agent: it would be started as the first process, and nothing would be heard of it.
fn check_agent(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    // The argument that it looks for on the kernel command line.
    if is_program(bytes, PIN_ARGUMENT) {
        return Ok(());
    }
    Err(Failure::new(Kind::Refused, format!("{} is not the agent of this project", path.display())).hint(
        "the package cloud-machine-agent brings it, and `make build` builds it; --agent FILE names another place",
    ))
}

/// Whether `bytes` are a program (elf(5)) that has `mark` in it.
fn is_program(bytes: &[u8], mark: &str) -> bool {
    let mark = mark.as_bytes();
    bytes.starts_with(b"\x7fELF") && bytes.windows(mark.len()).any(|window| window == mark)
}

/// A program of the booted system called `name`, by `option`, which says `mark` somewhere.
pub(super) fn of_the_system(path: &Path, name: &str, mark: &str, option: &str) -> Result<Vec<u8>, Failure> {
    let bytes = read(path, MAX_PART)?;
    if is_program(&bytes, mark) {
        return Ok(bytes);
    }
    Err(Failure::new(Kind::Refused, format!("{} is not {name} of this project", path.display())).hint(format!(
        "the package cloud-machine-agent brings it, and `make build` builds it; {option} FILE names another place"
    )))
}

/// A file of the host, of at most `most` bytes.
pub(super) fn read(path: &Path, most: u64) -> Result<Vec<u8>, Failure> {
    read_named(path, most).map_err(StoreError::into_io).map_err(|error| unreadable(path, error))
}

fn unreadable(path: &Path, error: std::io::Error) -> Failure {
    let kind = if error.kind() == std::io::ErrorKind::NotFound { Kind::NotFound } else { Kind::Failed };
    Failure::during(kind, format!("read {}", path.display()))(error)
}
