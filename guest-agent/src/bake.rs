//! The part of the agent in baking an image: finds the root on the only disk, mounts it and becomes the host's script there. Must not
//! change a file of the image.

use std::{convert::Infallible, fs};

use cloud_machine_protocol::{Probe, bake, causes};
use cloud_machine_system::{SystemError, kernel, mounts, probe::probe, root};

use crate::{
    command_line::CommandLine,
    modules::{Modules, Stage},
};

/// The file by which a root is known (os-release(5)).
const MARK: &str = "etc/os-release";

/// What went wrong: a code of [`bake`], and a text.
type Failed = (&'static str, String);

/// Becomes the script, or says why not.
pub(crate) fn run(line: &CommandLine<'_>) {
    let Err((code, text)) = start(line.bake_root());
    kernel::log(&text);
    // The console has it in any case.
    let _ = fs::write(bake::PORT, format!("{} {code} {text}\n", bake::FAILED));
}

fn start(wanted: Option<&str>) -> Result<Infallible, Failed> {
    let failed = |error: SystemError| (bake::AGENT, causes(&error));
    Modules::Packed.load_stage(Stage::Boot).map_err(failed)?;
    let (name, kind) = find(wanted)?;
    mounts::mount_disk(&name, kind, false).map_err(failed)?;
    mounts::bind(bake::FOLDER, bake::PLACE).map_err(failed)?;
    let script = format!("{}/{}", bake::PLACE, bake::SCRIPT);
    root::switch_to(&["/bin/sh", &script, &name]).map_err(failed)
}

/// Name and filesystem of the partition with the root: the one with the number `wanted`, or else the only one with a system.
fn find(wanted: Option<&str>) -> Result<(String, &'static str), Failed> {
    let (mut seen, mut roots) = (Vec::new(), Vec::new());
    for name in devices()? {
        let found = match probe(&name) {
            Probe::Found(found) => found.filesystem.unwrap_or_else(|| "a partition table".to_owned()),
            Probe::Empty => "nothing".to_owned(),
            _ => "nothing that is known".to_owned(),
        };
        let Some(kind) = mountable(&found) else {
            seen.push(format!("{name} holds {found}"));
            continue;
        };
        // The kernel may have it built in; if not, the mount says so.
        match Modules::Packed.load(kind) {
            Ok(()) | Err(SystemError::ModuleAbsent { .. }) => {}
            Err(error) => return Err((bake::AGENT, causes(&error))),
        }
        match has_system(&name, kind) {
            Ok(true) if kind != "vfat" => roots.push((name, kind)),
            Ok(_) => seen.push(format!("{name} holds {found} without /{MARK}")),
            Err(error) => seen.push(format!("{name} holds {found}: {}", causes(&error))),
        }
    }
    if let Some(wanted) = wanted {
        let wanted = format!("{}{wanted}", bake::DISK);
        roots.retain(|(name, _)| *name == wanted);
    }
    match roots.len() {
        1 => Ok(roots.remove(0)),
        0 => Err((bake::NO_ROOT, seen.join(", "))),
        _ => Err((bake::SEVERAL_ROOTS, roots.into_iter().map(|(name, _)| name).collect::<Vec<_>>().join(", "))),
    }
}

/// The partitions of the disk, or the disk where it has none.
fn devices() -> Result<Vec<String>, Failed> {
    let entries = fs::read_dir("/sys/class/block").map_err(|error| (bake::AGENT, error.to_string()))?;
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| name.starts_with(bake::DISK)).collect();
    if names.len() > 1 {
        names.retain(|name| name != bake::DISK);
    }
    names.sort_by_key(|name| (name.len(), name.clone()));
    Ok(names)
}

/// The kernel's word for a filesystem that may be a root, or that the script may mount.
fn mountable(found: &str) -> Option<&'static str> {
    match found {
        // One driver for all three.
        "ext2" | "ext3" | "ext4" => Some("ext4"),
        "xfs" => Some("xfs"),
        "btrfs" => Some("btrfs"),
        "vfat" => Some("vfat"),
        _ => None,
    }
}

fn has_system(name: &str, kind: &str) -> Result<bool, SystemError> {
    mounts::mount_disk(name, kind, true)?;
    let has = fs::symlink_metadata(root::new_root().join(MARK)).is_ok();
    mounts::unmount(mounts::NEW_ROOT)?;
    Ok(has)
}
