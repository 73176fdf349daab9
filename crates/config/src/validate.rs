//! Merged values to a checked configuration, with every error that can be found in one go. Must not read anything
//! but the merged values.

use std::sync::Arc;

use serde_path_to_error::Segment;

use crate::{
    authorized_key::{self, ALLOWED},
    check::{self, invalid},
    cloud_init::CloudInit,
    config::{Config, Disks, IdentityConfig, Resources},
    data_folder, disks,
    docker::{self, DockerEngine},
    error::{ConfigError, ConfigErrors},
    grammar::{Key, MACHINE, PROGRAMS, RESOURCES, ROOT, Shape, is_ours, shape_of},
    key_location::locate,
    merged::Merged,
    network_config, nic, nics, rancher,
    schema::{self, Machine},
    set::{DEFAULT_CPUS, DEFAULT_DRIVER, DEFAULT_RAM},
    source::shortened,
    tree::{Entry, Node, Value, child_path, item_path},
    url::configured,
};

use cloud_machine_protocol::ByteSize;

/// The one key of cloud-init that is ours, too.
pub(crate) const AUTHORIZED_KEYS: &str = "ssh_authorized_keys";

/// Checks merged values and gives them their types.
///
/// When no disk is the system disk, there is one more, named `system`.
///
/// # Errors
/// All that can be found, each with its place: unknown keys, values of another type or range, no or several system disks, two disks with one `devicepath`, what contradicts itself.
pub fn validate(merged: &Merged) -> Result<Config, ConfigErrors> {
    let root = merged.root();
    let mut errors = top_level(root);
    let machine_node = root.get(ROOT);
    let mut machine = machine_node.map_or_else(Machine::default, |node| typed(node, &mut errors));
    let node = machine_node.unwrap_or(root);
    required(&machine, node, &mut errors);
    let urls = [machine.cloud_init_url.take(), machine.resources.cloud_init_url.take()];
    let url = configured(urls, node, &mut errors);
    let ssh_authorized_keys = authorized_keys(root, &mut errors);
    let docker = docker::engine(root, &mut errors);
    let swarm = docker::swarm::swarm(root, &mut errors);
    let rancher = rancher::rancher(root, &mut errors);
    let declared = disks::configs(&machine.resources.disks);
    if errors.is_empty() {
        disks::check(&declared, node, &mut errors);
        data_folder::check_docker(&docker, root, &declared, &mut errors);
        if let Some(rancher) = &rancher {
            data_folder::check_rancher(rancher, root, &declared, &mut errors);
        }
        nic::check(&machine.resources.nic, node, &mut errors);
        nics::check(&machine.resources, node, &mut errors);
    }
    ConfigErrors::check(errors)?;
    let config =
        Config { cloud_init_url: url, ssh_authorized_keys, docker, swarm, rancher, ..config(machine, declared, root) };
    let mut errors = Vec::new();
    nic::check_with(&config, node, &mut errors);
    network_config::check(&config, root, &mut errors);
    ConfigErrors::check(errors)?;
    Ok(config)
}

fn config(machine: Machine, disks: Disks, root: &Arc<Node>) -> Config {
    let schema::Resources { ram, cpus, nic, nics, .. } = machine.resources;
    Config {
        driver: machine.driver.map_or_else(|| DEFAULT_DRIVER.to_owned(), |driver| driver.0),
        image: machine.image,
        image_keys: machine.image_keys.into_iter().map(|key| key.0).collect(),
        require: machine.require,
        resources: Resources {
            ram: ram.map_or(ByteSize(DEFAULT_RAM * ByteSize::GIB), |ram| ram.0),
            cpus: cpus.map_or(DEFAULT_CPUS, |cpus| cpus.0),
            disks,
            nic: nic::config(&nic),
            nics: nics::config(&nics),
        },
        disks_undeclared: machine.disks_undeclared,
        identity: IdentityConfig { ssh_host_keys: machine.identity.ssh_host_keys },
        cloud_init_url: None,
        drives: machine.drives,
        wait_for: machine.wait_for,
        ssh_authorized_keys: Vec::new(),
        docker: DockerEngine::default(),
        swarm: None,
        rancher: None,
        cloud_init: CloudInit::new(root),
    }
}

fn top_level(root: &Node) -> Vec<ConfigError> {
    let judge = |entry: &Entry| {
        let name = entry.key.text();
        let path = child_path("", &name);
        if is_ours(&name) {
            return None;
        }
        // Every other key is cloud-init's. These mistakes would hand a whole configuration to it instead of us.
        let ours = strsim::damerau_levenshtein(&name, ROOT) <= 2;
        let is_in = |keys: &[Key]| keys.iter().any(|key| key.name == name);
        let below = is_in(MACHINE).then_some(ROOT);
        let suggestion = match (ours, below.or_else(|| program_of(&name))) {
            (true, _) => format!("did you mean `{ROOT}`?"),
            (_, Some(above)) => format!("indent it below `{above}:`"),
            (_, None) if is_in(RESOURCES) => format!("indent it below `resources:` of `{ROOT}:`"),
            _ => return None,
        };
        let error =
            ConfigError::new(&entry.value.source, entry.mark, &path, format!("unknown key `{}`", shortened(&name)));
        Some(error.suggestion(Some(suggestion)))
    };
    let mut errors: Vec<ConfigError> = root.entries().iter().filter_map(judge).collect();
    for key in PROGRAMS {
        if let Some(node) = root.get(key.name) {
            check::shape(node, &key.shape, key.name, &mut errors);
        }
    }
    errors
}

/// The key of [`PROGRAMS`] that has one called `name`.
fn program_of(name: &str) -> Option<&'static str> {
    let has = |shape: &Shape| matches!(shape, Shape::Map(keys) if keys.iter().any(|key| key.name == name));
    PROGRAMS.iter().find(|key| has(&key.shape)).map(|key| key.name)
}

/// The typed form of `node`. Each value that does not fit is reported and left out, and then the rest is read.
fn typed(node: &Node, errors: &mut Vec<ConfigError>) -> Machine {
    let Some(mut value) = check::shape(node, &Shape::Map(MACHINE), ROOT, errors) else {
        return Machine::default();
    };
    loop {
        let error = match serde_path_to_error::deserialize::<_, Machine>(value.clone()) {
            Ok(machine) => return machine,
            Err(error) => error,
        };
        let keys: Vec<&str> = error
            .path()
            .iter()
            .map_while(|segment| match segment {
                Segment::Map { key } => Some(key.as_str()),
                _ => None,
            })
            .collect();
        let allowed = match shape_of(keys.iter().copied()) {
            Some(shape) => shape.allowed(),
            None => "",
        };
        let (found, path) = locate(node, &keys);
        let items = nic::invalid_items(found, &path, &keys, allowed);
        if items.is_empty() {
            errors.push(invalid(found, &path, allowed));
        }
        errors.extend(items);
        if !remove(&mut value, &keys) {
            return Machine::default();
        }
    }
}

/// Takes the value at `keys` out of `value`; `false` when there is none.
fn remove(value: &mut serde_yaml::Value, keys: &[&str]) -> bool {
    let Some((last, parents)) = keys.split_last() else {
        return false;
    };
    let mut place = value;
    for key in parents {
        match place.get_mut(*key) {
            Some(below) => place = below,
            None => return false,
        }
    }
    place.as_mapping_mut().is_some_and(|map| map.remove(*last).is_some())
}

fn required(machine: &Machine, node: &Node, errors: &mut Vec<ConfigError>) {
    for path in &machine.require {
        if shape_of(path.split('.')).is_none() {
            let (found, place) = locate(node, &["require"]);
            let message = format!("`{}` is not a key below `{ROOT}`", shortened(path));
            errors.push(ConfigError::new(&found.source, found.mark, &place, message));
        }
    }
}

fn authorized_keys(root: &Node, errors: &mut Vec<ConfigError>) -> Vec<String> {
    let Some(node) = root.get(AUTHORIZED_KEYS) else {
        return Vec::new();
    };
    let Value::List(items) = &node.value else {
        errors.push(invalid(node, AUTHORIZED_KEYS, ALLOWED));
        return Vec::new();
    };
    let mut keys = Vec::new();
    for (index, item) in items.iter().enumerate() {
        match item.to_value() {
            serde_yaml::Value::String(key) if !key.contains(char::is_control) && authorized_key::is_key(&key) => {
                keys.push(key)
            }
            _ => errors.push(invalid(item, &item_path(AUTHORIZED_KEYS, index), ALLOWED)),
        }
    }
    keys
}
