//! `handover`: what the system that the distribution has just mounted is given of the configuration that `disks` read: a seed for
//! its cloud-init, and the settings of its container engines. Must not decide anything about disks.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use cloud_machine_config::Document;
use cloud_machine_protocol::{causes, each_cause, escaped};
use cloud_machine_system::{kernel, mounts, product_uuid, root, sha256};

use super::{
    cloud_init,
    handed::{FOLDER, Handed, LAYERS},
    units,
};
use crate::{
    cloud_init::{PROGRAM, SETTINGS},
    error::AgentError,
    identity,
    inventory::tell,
    layers::Layers,
    print::print,
    rancher, swarm,
};

/// Argument that makes the agent's binary this.
pub(crate) const ARGUMENT: &str = "handover";

const USAGE: &str = "\
cloud-machine-agent handover gives the system whose root is mounted at ROOT what its volume labelled CLOUD-INIT says: to its
cloud-init, and to its container engines. The initramfs of an image runs it after `disks`, when the root is mounted.

usage: cloud-machine-agent handover ROOT

  --help  print this

example, as initramfs-tools runs it:
  cloud-machine-agent handover /root

exit codes: 0 the boot may go on, also when there is nothing to hand over; 1 it must not, and the kernel log says why; 2 wrong usage
";

/// Runs it, as `arguments` say.
pub(crate) fn run(mut arguments: impl Iterator<Item = String>) -> ExitCode {
    let root = match (arguments.next(), arguments.next()) {
        (Some(help), None) if help == "--help" || help == "-h" => return print(USAGE, 0),
        (Some(root), None) if root.starts_with('/') => PathBuf::from(root),
        _ => {
            tell(USAGE);
            return ExitCode::from(2);
        }
    };
    match hand_over(&root) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            each_cause(&error).for_each(|cause| kernel::log(&cause));
            tell(&format!("error: {}\n", escaped(&causes(&error))));
            ExitCode::FAILURE
        }
    }
}

fn hand_over(new_root: &Path) -> Result<(), AgentError> {
    let here = Path::new("/");
    // Without a configuration there is nothing to hand over.
    let Some(text) = root::read(here, LAYERS)? else { return Ok(()) };
    let document = Document::from_layers(&text).map_err(AgentError::Config)?;
    let layers = Layers::of_machine([document])?;
    let handed = Handed::kept()?;
    let config = layers.config();
    if root::exists(new_root, PROGRAM)? && root::exists(new_root, SETTINGS)? {
        // Another configuration is another instance to cloud-init, which does most of its work once for each.
        let digest = sha256(&text).hex();
        let uuid = product_uuid()?.map(|uuid| format!("{uuid}.")).unwrap_or_default();
        let instance = format!("{uuid}{}", digest.get(..16).unwrap_or_default());
        for file in cloud_init::files(&config.cloud_init, &handed, &instance) {
            root::write_run(&file)?;
        }
    } else if !config.cloud_init.is_empty() {
        let keys = config.cloud_init.keys().collect::<Vec<_>>().join(", ");
        return Err(AgentError::OwnCloudInitAbsent { keys });
    }
    hand_engines(new_root, &layers)?;
    units::hand(here)?;
    // Whatever is secret in it is where it is needed now.
    Ok(root::remove(here, FOLDER)?)
}

/// Settings of the engines, and away with the start of one that an earlier configuration had.
fn hand_engines(new_root: &Path, layers: &Layers) -> Result<(), AgentError> {
    let config = layers.config();
    let mut old = Vec::new();
    for path in swarm::OURS.into_iter().chain([rancher::START]) {
        if root::exists(new_root, path)? {
            old.push(path);
        }
    }
    if config.docker.is_empty() && config.swarm.is_none() && config.rancher.is_none() && old.is_empty() {
        return Ok(());
    }
    mounts::while_writable(new_root, || {
        for path in &old {
            root::remove(new_root, path)?;
        }
        for file in identity::engines(new_root, layers)? {
            root::write(new_root, &file)?;
        }
        Ok(())
    })
}
