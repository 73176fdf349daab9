//! Where a program that runs containers keeps them: whether that place can hold them, and does so for no longer than the system
//! that made them. Must not look at a real disk.

use std::path::Path;

use cloud_machine_protocol::DiskName;

use crate::{
    config::{DiskConfig, Disks, FilesystemType, OnReimage},
    docker::{self, DockerEngine},
    error::ConfigError,
    grammar::ROOT,
    mountpoint::{Mountpoint, is_reserved},
    rancher::{self, Distribution, Rancher},
    tree::{Node, child_path},
};

const ALLOWED: &str = "an absolute path without `.`, `..` and empty parts, in no folder of the system";

/// Where containerd keeps what docker's containers are made of: since Docker 29 the files of images, too.
const CONTAINERD: &str = "/var/lib/containerd";

/// A folder for the data of a program.
struct DataFolder<'config> {
    /// Whose.
    program: &'static str,
    /// Absolute path.
    place: &'config str,
    /// Where in the document it is written, or else what makes the program run.
    written: &'config Node,
    /// Key path of that.
    path: String,
}

/// A filesystem that is mounted below the root.
struct Mounted<'config> {
    at: &'config str,
    kind: Option<FilesystemType>,
    name: &'config DiskName,
    disk: &'config DiskConfig,
}

/// Reports why docker cannot keep images and containers where `engine` says. `root` tells where it does.
pub(crate) fn check_docker(engine: &DockerEngine, root: &Node, disks: &Disks, errors: &mut Vec<ConfigError>) {
    let engine_node = docker::node(root).map(|settings| written(settings, docker::PATH, docker::DATA_ROOT));
    let swarm = || docker::swarm::node(root).map(|settings| (settings, docker::swarm::PATH.to_owned()));
    let Some((written, path)) = engine_node.or_else(swarm) else { return };
    installed("docker", CONTAINERD, root, disks, errors);
    let place = engine.data_root().unwrap_or(docker::DEFAULT_DATA_ROOT);
    DataFolder { program: "docker", place, written, path }.check(disks, errors);
}

/// Reports why k3s or rke2 cannot keep its data where `rancher` says. `root` tells where it does.
pub(crate) fn check_rancher(rancher: &Rancher, root: &Node, disks: &Disks, errors: &mut Vec<ConfigError>) {
    let Some(settings) = rancher::node(root, rancher.distribution) else { return };
    let (written, path) = written(settings, &rancher::path(rancher.distribution), rancher::DATA_DIR);
    let (program, place) = (rancher.distribution.name(), rancher.data_dir());
    DataFolder { program, place, written, path }.check(disks, errors);
}

/// As [`check_docker`], where nothing in the document says that docker runs: a system that has it may start it by itself.
pub(crate) fn check_installed_docker(root: &Node, disks: &Disks, errors: &mut Vec<ConfigError>) {
    if docker::node(root).is_none() && docker::swarm::node(root).is_none() {
        installed("docker", docker::DEFAULT_DATA_ROOT, root, disks, errors);
        installed("docker", CONTAINERD, root, disks, errors);
    }
}

/// As [`check_rancher`], where nothing in the document says that `distribution` runs.
pub(crate) fn check_installed_rancher(
    distribution: Distribution,
    root: &Node,
    disks: &Disks,
    errors: &mut Vec<ConfigError>,
) {
    if rancher::node(root, distribution).is_none() {
        installed(distribution.name(), distribution.data_dir(), root, disks, errors);
    }
}

/// Reports a disk that brings what a job left into the folder `place` of `program`, or into one below it.
fn installed(program: &'static str, place: &str, root: &Node, disks: &Disks, errors: &mut Vec<ConfigError>) {
    let mounted = mounted(disks);
    let is_kept = |one: &&Mounted<'_>| one.disk.is_kept();
    let holder = mounted.iter().filter(|one| is_within(place, one.at)).max_by_key(|one| one.at.len());
    let below = || mounted.iter().filter(|one| is_within(one.at, place)).find(is_kept);
    let kept = holder.filter(is_kept).or_else(below);
    let Some(kept) = kept else { return };
    let path =
        ["resources", "disks", kept.name.as_str()].iter().fold(ROOT.to_owned(), |path, key| child_path(&path, key));
    let node = [ROOT, "resources", "disks", kept.name.as_str()].iter().try_fold(root, |node, key| node.get(key));
    let Some(node) = node else { return };
    let message = format!(
        "{place} of the image's {program}, or a part of it, is on this disk, which a reimage keeps: {program} would start what a job left \
         there, as root"
    );
    let error = ConfigError::new(&node.source, node.mark, &path, message);
    errors.push(error.suggestion(Some("say `on-reimage: wipe` for the disk, or mount it elsewhere".to_owned())));
}

/// Where the folder is written below `settings`, or else what makes the program run.
fn written<'config>(settings: &'config Node, path: &str, key: &str) -> (&'config Node, String) {
    match settings.get(key) {
        Some(stated) if !stated.is_null() => (stated, child_path(path, key)),
        _ => (settings, path.to_owned()),
    }
}

impl DataFolder<'_> {
    /// Reports why the program cannot keep its data there.
    fn check(&self, disks: &Disks, errors: &mut Vec<ConfigError>) {
        let Self { program, place, written, path } = self;
        let error = |message: String| ConfigError::new(&written.source, written.mark, path, message);
        if Mountpoint::try_from((*place).to_owned()).is_err() || is_reserved(place) || is_within(place, "/boot") {
            errors.push(error(format!("{program} cannot keep its data there")).allowed(ALLOWED));
            return;
        }
        let mounted = mounted(disks);
        if let Some(below) = mounted.iter().find(|one| one.at != *place && is_within(one.at, place)) {
            let Mounted { name, at, .. } = below;
            let message = format!("disk `{name}` is mounted in {program}'s own folder {place}, at {at}");
            errors.push(error(message).suggestion(Some("mount it elsewhere, or name another folder".to_owned())));
        }
        let holder = mounted.iter().filter(|one| is_within(place, one.at)).max_by_key(|one| one.at.len());
        if let Some(holder) = holder
            && let Some((why, way_out)) = self.unfit(holder)
        {
            let message = format!("{program}'s folder {place} is on disk `{}`, {why}", holder.name);
            errors.push(error(message).suggestion(Some(way_out.to_owned())));
        }
    }

    /// Why it cannot be on this disk, and the way out.
    fn unfit(&self, Mounted { kind, disk, .. }: &Mounted<'_>) -> Option<(String, &'static str)> {
        use FilesystemType::{Erofs, Iso9660, Squashfs, Vfat};
        if disk.readonly || matches!(kind, Some(Erofs | Iso9660 | Squashfs)) {
            return Some(("which is read-only".to_owned(), "name another folder"));
        }
        if *kind == Some(Vfat) {
            return Some(("and vfat knows neither owners nor links".to_owned(), "take ext4, xfs or btrfs"));
        }
        if disk.on_reimage == OnReimage::Keep && disk.wipe_on_boot.is_none() {
            let why = format!(
                "which a reimage keeps: {} would start the containers that a job left there, as root",
                self.program
            );
            return Some((why, "say `on-reimage: wipe` for the disk, or name another folder"));
        }
        None
    }
}

fn mounted(disks: &Disks) -> Vec<Mounted<'_>> {
    let mut all = Vec::new();
    for (name, disk) in disks {
        let one = |at, kind| Mounted { at, kind, name, disk };
        let kind = disk.filesystem.as_ref().map(|filesystem| filesystem.kind);
        all.extend(disk.mountpoint.as_deref().map(|at| one(at, kind)));
        for partition in &disk.partitions {
            let kind = partition.filesystem.as_ref().map(|filesystem| filesystem.kind);
            all.extend(partition.mountpoint.as_deref().map(|at| one(at, kind)));
        }
    }
    all
}

/// Whether `path` is `folder` or below it.
fn is_within(path: &str, folder: &str) -> bool {
    Path::new(path).starts_with(folder)
}
