//! What the driver makes of each value, for `create` and `config audit` alike. Must not change a value.

use std::{
    fmt,
    path::Path,
    time::{Duration, Instant},
};

use cloud_machine_config::{Config, Leaf, OVERRULED, is_key_cut_off};
use cloud_machine_driver::{
    DriverError, DriverErrorKind,
    description::{Description, Support},
    machine::{Delivery, Driver, Drivers, GivenSizes, Sizes},
};
use cloud_machine_protocol::{ByteSize, causes};
use cloud_machine_store::Store;
use serde::Serialize;

use crate::{
    configured_driver,
    described::Described,
    disks,
    error::{ErrorKind, OperationError},
    event::Notice,
    hint::Hint,
    installed, rounding,
    teller::Teller,
};

/// Prefix of the keys that a driver is asked about.
const OURS: &str = "cloud-machine.";

/// The key that lists who may log in as root.
const AUTHORIZED_KEYS: &str = "ssh_authorized_keys";

/// Prefix of what docker is told.
const DOCKER: &str = "docker.";

/// Prefix of what k3s and rke2 are told.
const RANCHER: &str = "rancher.";

/// What becomes of one value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum Verdict {
    /// It holds as it is written.
    Exact,
    /// The nearest value that is possible holds, never less than what is written.
    Rounded {
        /// The value that holds, or how it is found.
        to: String,
    },
    /// It has no effect, and the machine works without it.
    Ignored {
        /// Why.
        why: String,
    },
    /// The driver does not know the key.
    Unsupported,
    /// The driver's provider has nothing like it.
    Unavailable {
        /// Why.
        why: String,
    },
    /// No driver's business: it is handed to cloud-init in the machine.
    CloudInit,
    /// No driver's business: docker in the machine reads it.
    Docker,
    /// No driver's business: k3s or rke2 in the machine reads it.
    Rancher,
    /// An empty value states nothing.
    Empty,
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact => formatter.write_str("exact"),
            Self::Rounded { to } => write!(formatter, "rounded to {to}"),
            Self::Ignored { why } => write!(formatter, "ignored: {why}"),
            Self::Unsupported => formatter.write_str("unsupported"),
            Self::Unavailable { why } => write!(formatter, "unavailable: {why}"),
            Self::CloudInit => formatter.write_str("for cloud-init"),
            Self::Docker => formatter.write_str("for docker"),
            Self::Rancher => formatter.write_str("for rancher"),
            Self::Empty => formatter.write_str("states nothing"),
        }
    }
}

impl Verdict {
    /// Whether a key that the configuration requires may be treated so.
    pub const fn satisfies(&self) -> bool {
        !matches!(self, Self::Ignored { .. } | Self::Unsupported | Self::Unavailable { .. })
    }
}

/// A required key that the driver does not honour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnmetRequirement {
    /// As it stands in `require`.
    pub key: String,
    /// What becomes of it.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// A driver's answers about one configuration.
pub struct Verdicts<'a> {
    description: Description,
    config: &'a Config,
    sizes: SizesOf,
}

/// Who decides which sizes a machine gets.
enum SizesOf {
    /// This host.
    Host,
    /// A provider, and what it gives; `None` when it was not asked.
    Provider(Option<Result<GivenSizes, DriverError>>),
}

/// How long a provider may take to send its list.
const LIST_TIME: Duration = Duration::from_secs(10);

impl<'a> Verdicts<'a> {
    /// Of the driver that the configuration names. It need not be installed for that.
    ///
    /// # Errors
    /// Of [`ErrorKind::Refused`] when there is no such driver.
    pub fn of(drivers: &Drivers, described: &'a Described) -> Result<Self, OperationError> {
        let driver = configured_driver(drivers, described)?;
        let sizes = match driver.delivery() {
            Delivery::Devices => SizesOf::Host,
            Delivery::Connection => SizesOf::Provider(None),
        };
        Ok(Self { description: driver.describe(), config: &described.config, sizes })
    }

    /// As [`Verdicts::of`], with the sizes that a provider gives, by its list, which is kept in `state`, the folder of the store, if
    /// that is there.
    ///
    /// # Errors
    /// As there; that a provider cannot be asked is part of the verdicts.
    pub fn with_sizes(drivers: &Drivers, described: &'a Described, state: &Path) -> Result<Self, OperationError> {
        let verdicts = Self::of(drivers, described)?;
        let given = sizes(configured_driver(drivers, described)?, described, state, Instant::now() + LIST_TIME);
        let sizes = if given.is_some() { SizesOf::Provider(given) } else { verdicts.sizes };
        Ok(Self { sizes, ..verdicts })
    }

    /// Name of the driver.
    pub fn driver(&self) -> &'static str {
        self.description.driver()
    }

    /// What becomes of a merged value.
    pub fn on(&self, leaf: &Leaf) -> Verdict {
        if leaf.value.is_null() {
            return Verdict::Empty;
        }
        if leaf.is_late() {
            return Verdict::Ignored { why: "the machine is made before it reads this document".to_owned() };
        }
        if let Some(why) = lost_keys(leaf) {
            return Verdict::Ignored { why };
        }
        match leaf.path.strip_prefix(OURS) {
            Some(key) => self.on_key(key, Some(&leaf.value)),
            None if leaf.path.starts_with(DOCKER) => Verdict::Docker,
            None if leaf.path.starts_with(RANCHER) => Verdict::Rancher,
            // Some keys of cloud-init are also the driver's business.
            None => match self.description.support(&leaf.path) {
                Support::Unsupported => for_cloud_init(&leaf.path),
                support => stated(support),
            },
        }
    }

    fn on_key(&self, key: &str, value: Option<&serde_yaml::Value>) -> Verdict {
        let support = self.description.support(key);
        if value.is_some() && unpromised(self.config, key) {
            return Verdict::Unsupported;
        }
        if !matches!(support, Support::Rounded { .. }) {
            return stated(support);
        }
        match &self.sizes {
            SizesOf::Host => match value.and_then(|value| given(self.config, key, value)) {
                Some((true, _)) => Verdict::Exact,
                Some((false, size)) => Verdict::Rounded { to: size.to_string() },
                None => stated(support),
            },
            SizesOf::Provider(None) => stated(support),
            SizesOf::Provider(Some(Ok(given))) => by_list(self.config, key, given).unwrap_or_else(|| stated(support)),
            SizesOf::Provider(Some(Err(error))) if error.kind == DriverErrorKind::Refused => {
                Verdict::Unavailable { why: causes(error) }
            }
            SizesOf::Provider(Some(Err(error))) => {
                let Verdict::Rounded { to } = stated(support) else { return stated(support) };
                Verdict::Rounded { to: format!("{to}; its list is not known here: {}", causes(error)) }
            }
        }
    }

    /// The required keys that are not honoured. A map stands for every key that is set below it.
    pub fn missed(&self, leaves: &[Leaf]) -> Vec<UnmetRequirement> {
        let mut missed = Vec::new();
        for required in &self.config.require {
            let path = format!("{OURS}{required}");
            let below = format!("{path}.");
            let mut verdicts: Vec<(String, Verdict)> = leaves
                .iter()
                .filter(|leaf| leaf.path == path || leaf.path.starts_with(&below))
                .map(|leaf| (leaf.path[OURS.len()..].to_owned(), self.on(leaf)))
                .collect();
            if verdicts.is_empty() && cloud_machine_config::describe::is_value(required) {
                // Nobody sets it: its default is what must be honoured.
                verdicts.push((required.clone(), self.on_key(required, None)));
            }
            missed.extend(
                verdicts
                    .into_iter()
                    .filter(|(_, verdict)| !verdict.satisfies())
                    .map(|(key, verdict)| UnmetRequirement { key, verdict }),
            );
        }
        missed
    }
}

/// Keys that a driver does not honour, for a machine that will read more documents.
pub(crate) fn unsupported(driver: &dyn Driver) -> Vec<String> {
    let description = driver.describe();
    let keys = cloud_machine_config::describe::values();
    keys.into_iter().filter(|key| !description.support(key).satisfies()).collect()
}

/// What becomes of a value that cloud-init is handed.
fn for_cloud_init(path: &str) -> Verdict {
    let top = path.split(['.', '[']).next().unwrap_or_default();
    let overruled = OVERRULED.iter().find(|(key, _)| *key == top);
    overruled.map_or(Verdict::CloudInit, |(_, why)| Verdict::Ignored { why: (*why).to_owned() })
}

/// Which keys of `ssh_authorized_keys` let nobody in, though they are handed on.
fn lost_keys(leaf: &Leaf) -> Option<String> {
    let keys = leaf.value.as_sequence().filter(|_| leaf.path == AUTHORIZED_KEYS)?;
    let cut = |(index, key): (usize, &serde_yaml::Value)| {
        key.as_str().is_some_and(is_key_cut_off).then(|| (index + 1).to_string())
    };
    let cut: Vec<String> = keys.iter().enumerate().filter_map(cut).collect();
    let others = if cut.len() < keys.len() { "; the others count" } else { "" };
    let text = format!("key {} of the list is cut off and lets nobody in{others}", cut.join(", "));
    (!cut.is_empty()).then_some(text)
}

/// Whether `key` is of a device that the driver cannot promise.
fn unpromised(config: &Config, key: &str) -> bool {
    let disk = key.strip_prefix("resources.disks.").and_then(|key| key.strip_suffix(".devicepath"));
    disk.is_some_and(|disk| !disks::is_promised(config, disk))
}

fn stated(support: Support) -> Verdict {
    match support {
        Support::Exact => Verdict::Exact,
        Support::Rounded { to } => Verdict::Rounded { to: to.to_owned() },
        Support::Ignored { why } => Verdict::Ignored { why: why.to_owned() },
        Support::Unsupported => Verdict::Unsupported,
    }
}

/// What a provider gives for a configuration, by its list, which is kept in `state`, the folder of the store, if that is there; `None`
/// where none decides.
pub(crate) fn sizes(
    driver: &dyn Driver,
    described: &Described,
    state: &Path,
    until: Instant,
) -> Option<Result<GivenSizes, DriverError>> {
    let resources = &described.config.resources;
    let disk = resources.disks.values().find(|disk| disk.boot_partition).and_then(|disk| disk.allocation);
    let wanted = Sizes {
        ram: rounding::memory(resources.ram).bytes(),
        cpus: resources.cpus,
        // The image is not known everywhere.
        disk: disk.map_or(0, |size| size.bytes()).max(image_size(described, state).unwrap_or(0)),
    };
    driver.sizes(wanted, state, until)
}

/// Bytes of the configuration's image, where that is installed.
fn image_size(described: &Described, state: &Path) -> Option<u64> {
    let store = Store::open_existing(state.to_owned()).ok()?;
    let folder = store.image(described.config.image.as_ref()?).ok()?;
    installed::manifest(&folder).ok().map(|manifest| manifest.size())
}

/// What the provider's list makes of `key`; `None` where nothing is asked for.
fn by_list(config: &Config, key: &str, GivenSizes { sizes, told }: &GivenSizes) -> Option<Verdict> {
    let (exact, to) = match key {
        "resources.ram" => (config.resources.ram.bytes() == sizes.ram, ByteSize(sizes.ram).to_string()),
        "resources.cpus" => (config.resources.cpus == sizes.cpus, sizes.cpus.to_string()),
        _ => {
            let disk = key.strip_prefix("resources.disks.")?.strip_suffix(".allocation")?;
            let (_, disk) = config.resources.disks.iter().find(|(name, _)| name.as_str() == disk)?;
            if !disk.boot_partition {
                return Some(Verdict::Unavailable { why: "the provider makes machines with one disk".to_owned() });
            }
            let asked = disk.allocation?;
            (asked.bytes() == sizes.disk, ByteSize(sizes.disk).to_string())
        }
    };
    Some(if exact { Verdict::Exact } else { Verdict::Rounded { to: format!("{to}: {told}") } })
}

/// Whether `value` is exactly what the machine gets for `key`, and what it gets.
fn given(config: &Config, key: &str, value: &serde_yaml::Value) -> Option<(bool, ByteSize)> {
    if key == "resources.ram" {
        let exact = match value.as_f64() {
            Some(gib) => (gib * 1024.0).fract() == 0.0,
            None => config.resources.ram.bytes().is_multiple_of(ByteSize::MIB),
        };
        return Some((exact, rounding::memory(config.resources.ram)));
    }
    let disk = key.strip_prefix("resources.disks.")?.strip_suffix(".allocation")?;
    let (_, disk) = config.resources.disks.iter().find(|(name, _)| name.as_str() == disk)?;
    let asked = disk.allocation?;
    let given = rounding::allocation(asked);
    Some((asked == given, given))
}

/// An error for required keys that are not honoured, otherwise one remark for each value without effect.
pub(crate) fn honoured(drivers: &Drivers, teller: Teller<'_>, described: &Described) -> Result<(), OperationError> {
    let verdicts = Verdicts::of(drivers, described)?;
    let leaves = described.merged.leaves();
    refuse(verdicts.driver(), &verdicts.missed(&leaves))?;
    for leaf in &leaves {
        if let Verdict::Ignored { why } = verdicts.on(leaf) {
            teller.notice(Notice::IgnoredKey {
                key: leaf.path.trim_start_matches(OURS).to_owned(),
                origin: leaf.origin.to_string(),
                why,
            });
        }
    }
    Ok(())
}

/// An error that lists what is missed, if anything is.
pub fn refuse(driver: &str, missed: &[UnmetRequirement]) -> Result<(), OperationError> {
    if missed.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = missed.iter().map(|missed| format!("{} ({})", missed.key, missed.verdict)).collect();
    let text = format!("driver {driver} does not honour the required {}", list.join(", "));
    Err(OperationError::new(ErrorKind::Refused, text).hint(Hint::Audit))
}
