//! What of a configuration a program in the image has to do. Must not know which programs an image has.

use cloud_machine_protocol::MAKERS;

use crate::{
    config::{Disks, Filesystem},
    data_folder, docker,
    error::{ConfigError, ConfigErrors},
    grammar::{ROOT, is_ours},
    key_location::locate,
    merged::Merged,
    rancher::{self, Distribution},
    tree::{Node, Value, child_path},
    validate::AUTHORIZED_KEYS,
};

/// Whether an image has a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Presence {
    /// Nobody looked, or could.
    #[default]
    Unknown,
    /// It has not.
    Absent,
    /// It has.
    Present,
}

impl From<bool> for Presence {
    fn from(present: bool) -> Self {
        if present { Self::Present } else { Self::Absent }
    }
}

/// What is known of the programs in an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Programs {
    /// cloud-init.
    pub cloud_init: Presence,
    /// Docker's daemon.
    pub docker: Presence,
    /// k3s.
    pub k3s: Presence,
    /// rke2.
    pub rke2: Presence,
}

/// Refuses what nobody would do in a system that lacks programs, and what one that it has would do with a disk.
///
/// # Errors
/// Each such key, with its place.
pub fn can_be_done(merged: &Merged, disks: &Disks, programs: Programs) -> Result<(), ConfigErrors> {
    let mut errors = Vec::new();
    if programs.cloud_init == Presence::Absent {
        errors.extend(without_cloud_init(merged));
    }
    match programs.docker {
        Presence::Absent => {
            errors.extend(without_docker(merged, docker::node, docker::PATH));
            errors.extend(without_docker(merged, docker::swarm::node, docker::swarm::PATH));
        }
        Presence::Present => data_folder::check_installed_docker(merged.root(), disks, &mut errors),
        Presence::Unknown => {}
    }
    for (presence, distribution) in [(programs.k3s, Distribution::K3s), (programs.rke2, Distribution::Rke2)] {
        match presence {
            Presence::Absent => errors.extend(without(merged, distribution)),
            Presence::Present => {
                data_folder::check_installed_rancher(distribution, merged.root(), disks, &mut errors);
            }
            Presence::Unknown => {}
        }
    }
    ConfigErrors::check(errors)
}

/// Refuses a filesystem that no program makes; `makes` are the words of those that one does. What a kept disk shall hold may be
/// there: only the machine sees that.
///
/// # Errors
/// Each such filesystem, with its place.
pub fn can_be_made(merged: &Merged, disks: &Disks, makes: &[String]) -> Result<(), ConfigErrors> {
    let Some(machine) = merged.root().get(ROOT) else { return Ok(()) };
    let mut errors = Vec::new();
    let mut check = |keys: &[&str], filesystem: Option<&Filesystem>| {
        let Some(kind) = filesystem.map(|filesystem| filesystem.kind.word()) else { return };
        let Some((_, program)) = MAKERS.iter().find(|(known, _)| *known == kind) else { return };
        if makes.iter().any(|made| made == kind) {
            return;
        }
        let (node, path) = locate(machine, keys);
        let message = format!("no program of the image's initramfs makes {kind}");
        let way_out = format!("pack the image with {program} in the folder of --programs, or take another filesystem");
        errors.push(ConfigError::new(&node.source, node.mark, &path, message).suggestion(Some(way_out)));
    };
    for (name, disk) in disks.iter().filter(|(_, disk)| !disk.is_kept() && !disk.readonly) {
        let keys = ["resources", "disks", name.as_str()];
        check(&[&keys[..], &["filesystem"]].concat(), disk.filesystem.as_ref());
        for one in &disk.partitions {
            check(&[&keys[..], &["partitions", one.name.as_str(), "filesystem"]].concat(), one.filesystem.as_ref());
        }
    }
    ConfigErrors::check(errors)
}

/// Settings of k3s or rke2.
fn without(merged: &Merged, distribution: Distribution) -> Option<ConfigError> {
    let (settings, name) = (rancher::node(merged.root(), distribution)?, distribution.name());
    let (path, message) = (rancher::path(distribution), format!("the image is without {name}"));
    let error = ConfigError::new(&settings.source, settings.mark, &path, message);
    Some(error.suggestion(Some(format!("take an image with {name}, or leave this out"))))
}

/// Settings of docker, those that `node` finds.
fn without_docker(merged: &Merged, node: fn(&Node) -> Option<&Node>, path: &str) -> Option<ConfigError> {
    let settings = node(merged.root())?;
    let way_out = "take an image with docker, or leave this out";
    let error = ConfigError::new(&settings.source, settings.mark, path, "the image is without docker");
    Some(error.suggestion(Some(way_out.to_owned())))
}

/// The keys of cloud-init that ask for something, but for the one that is done without it, and to wait for it.
fn without_cloud_init(merged: &Merged) -> Vec<ConfigError> {
    const WAY_OUT: &str =
        "take an image with cloud-init, such as one of the recipe debian-12-cloud-init, or leave this out";
    let root = merged.root();
    let theirs = root.entries().iter().filter(|entry| {
        let name = entry.key.text();
        !is_ours(&name) && name != AUTHORIZED_KEYS && entry.value.states_something()
    });
    let error = |node: &Node, mark, path: &str, text: &str| {
        ConfigError::new(&node.source, mark, path, text.to_owned()).suggestion(Some(WAY_OUT.to_owned()))
    };
    let mut errors: Vec<ConfigError> = theirs
        .map(|entry| {
            let path = child_path("", &entry.key.text());
            error(&entry.value, entry.mark, &path, "only cloud-init has this key, and the image is without cloud-init")
        })
        .collect();
    if let Some(wait_for) = root.get(ROOT).and_then(|ours| ours.get("wait-for"))
        && names_cloud_init(wait_for)
    {
        let path = child_path(ROOT, "wait-for");
        errors.push(error(wait_for, wait_for.mark, &path, "the image is without cloud-init"));
    }
    errors
}

fn names_cloud_init(node: &Node) -> bool {
    let Value::List(items) = &node.value else { return false };
    items.iter().any(|item| matches!(&item.value, Value::Scalar(scalar) if scalar.text() == "cloud-init"))
}
