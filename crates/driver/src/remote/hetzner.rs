//! The account at Hetzner Cloud: which servers are made and found there. Must not decide what a server is for.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use cloud_machine_hetzner::{
    Choice, Client, ENDPOINT, Known, Listed, NewServer, OrphanKind, Ownership, Pace, Server, ServerType, TokenSource,
    Wanted, choose_type,
};
use cloud_machine_protocol::ByteSize;
use cloud_machine_store::DriverState;
use jiff::Timestamp;
use serde::Deserialize;

use super::{
    Controls, Source, control,
    fault::failed,
    hetzner_server::{Kept, KeptDisk, OneServer, RESCUE_LIMIT, SSH, answered, refused, rescue_key},
};
use crate::{
    description::{
        Description,
        Support::{Exact, Ignored, Rounded},
    },
    error::{DriverError, DriverErrorKind},
    machine::{GivenSizes, KnownMachine, MachineRef, Orphan, Provisioned, Sizes, WantedMachine},
};

/// The file of settings, below each folder of configuration.
const FILE: &str = "drivers/hetzner.yaml";
/// How long one look may take.
const LOOK_LIMIT: Duration = Duration::from_secs(30);
/// What a server is made with before its first reimage.
const BASE_IMAGE: &str = "debian-12";
/// Where a server is made when the settings do not say.
const LOCATION: &str = "fsn1";

/// What an operator says of the account.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    token: TokenSource,
    #[serde(default = "endpoint")]
    endpoint: String,
    #[serde(default = "location")]
    location: String,
    #[serde(default = "base_image")]
    base_image: String,
}

fn endpoint() -> String {
    ENDPOINT.to_owned()
}

fn location() -> String {
    LOCATION.to_owned()
}

fn base_image() -> String {
    BASE_IMAGE.to_owned()
}

/// The account that the operator's settings name.
#[derive(Clone, Debug)]
pub struct Hetzner {
    files: Vec<PathBuf>,
}

impl Default for Hetzner {
    /// With the settings in the user's folder of configuration, or in the host's.
    fn default() -> Self {
        Self { files: control::folders().into_iter().map(|folder| folder.join(FILE)).collect() }
    }
}

impl Hetzner {
    /// With the settings in this file.
    #[must_use]
    pub fn of(settings: PathBuf) -> Self {
        Self { files: vec![settings] }
    }

    /// Whether there is an account at all.
    fn has_settings(&self) -> bool {
        self.files.iter().any(|file| file.symlink_metadata().is_ok())
    }

    fn client(&self) -> Result<(Client, Settings), DriverError> {
        let settings: Settings = control::first(&self.files, "settings of driver hetzner")?;
        let client = Client::new(&settings.endpoint, settings.token.clone(), Pace::default()).map_err(refused)?;
        Ok((client, settings))
    }
}

impl Source for Hetzner {
    fn name(&self) -> &'static str {
        "hetzner"
    }

    fn describe(&self) -> Description {
        let to = "what the cheapest server type has that has enough of all";
        let why = "a server has one disk, and the provider says how it is attached";
        let mut keys = vec![
            ("resources.ram", Rounded { to }),
            ("resources.cpus", Rounded { to }),
            ("resources.disks.*.allocation", Rounded { to }),
            ("resources.disks.*.bus", Ignored { why }),
        ];
        // The provider chooses it.
        let own = super::KEYS.iter().filter(|key| **key != "resources.nic.mac");
        keys.extend(own.map(|key| (*key, Exact)));
        Description::new(self.name(), &keys)
    }

    fn makes(&self) -> bool {
        true
    }

    fn preflight(&self) -> Result<(), DriverError> {
        self.client().map(drop)
    }

    fn settings(&self) -> Result<(), DriverError> {
        let (_, settings) = self.client()?;
        settings.token.check(Instant::now() + LOOK_LIMIT).map_err(refused)
    }

    fn controls(&self, machine: &MachineRef, control: &DriverState) -> Result<Box<dyn Controls>, DriverError> {
        let kept = Kept::of(machine, control)?;
        let (client, _) = self.client()?;
        let address = machine.remote.as_ref().map(|remote| remote.address.clone()).unwrap_or_default();
        Ok(Box::new(OneServer { client: Arc::new(client), name: machine.name.to_string(), address, kept }))
    }

    fn control(&self, named: &str) -> Result<DriverState, DriverError> {
        let (client, _) = self.client()?;
        let until = Instant::now() + LOOK_LIMIT;
        let server = match named.parse::<u64>() {
            Ok(id) => client.server(id, until).map_err(answered)?,
            Err(_) => client.server_named(named, until).map_err(answered)?.ok_or_else(|| {
                let text = format!("there is no server {named} in the project of the token");
                let way_out = "name the server by its number or name with --control".to_owned();
                DriverError::new(DriverErrorKind::Refused, text).with_way_out(Some(way_out))
            })?,
        };
        Kept { server: server.id, owner: None }.state()
    }

    fn sizes(&self, wanted: Sizes, cache: &Path, until: Instant) -> Option<Result<GivenSizes, DriverError>> {
        self.has_settings().then(|| {
            // Only that no type has enough is a refusal: what cannot be asked is not known.
            let unknown = |error: DriverError| DriverError { kind: DriverErrorKind::Failed, ..error };
            self.client().map_err(unknown).and_then(|(client, settings)| {
                let listed = client.catalog(cache, Timestamp::now(), until).map_err(answered).map_err(unknown)?;
                let choice = chosen(&listed, &settings, wanted)?;
                let ServerType { name, ram, cpus, disk, .. } = choice.server_type;
                let hours = listed.age.as_hours();
                let age = if hours == 0 { "less than an hour".to_owned() } else { format!("{hours} h") };
                let told = format!("server type {name} in {}, by the provider's list of {age} ago", settings.location);
                Ok(GivenSizes { sizes: Sizes { ram: ram.bytes(), cpus, disk: disk.bytes() }, told })
            })
        })
    }

    fn provision(&self, wanted: &WantedMachine<'_>, until: Instant) -> Option<Result<Provisioned, DriverError>> {
        Some(self.made(wanted, until))
    }

    fn keeps_snapshots(&self) -> bool {
        true
    }

    fn orphans(&self, owner: &str, known: &[KnownMachine]) -> Option<Result<Vec<Orphan>, DriverError>> {
        self.has_settings().then(|| self.unknown(owner, known))
    }

    fn remove_orphan(&self, owner: &str, orphan: &Orphan) -> Result<(), DriverError> {
        let (client, _) = self.client()?;
        let until = Instant::now() + RESCUE_LIMIT;
        let found = client.orphans(owner, Known::default(), until).map_err(answered)?;
        let found = found.iter().find(|one| one.kind.to_string() == orphan.kind && one.id.to_string() == orphan.id);
        match found {
            Some(found) => client.remove_orphan(owner, found, until).map(drop).map_err(answered),
            None => Ok(()),
        }
    }
}

impl Hetzner {
    fn made(&self, wanted: &WantedMachine<'_>, until: Instant) -> Result<Provisioned, DriverError> {
        let (client, settings) = self.client()?;
        let own = Ownership::new(wanted.owner, wanted.name.as_str(), wanted.uuid).map_err(refused)?;
        let WantedMachine { ram, cpus, disk, cache, .. } = *wanted;
        let listed = client.catalog(cache, Timestamp::now(), until).map_err(answered)?;
        let choice = chosen(&listed, &settings, Sizes { ram, cpus, disk })?;
        let key = rescue_key(&client, wanted.name.as_str(), wanted.public_key, &own.labels(), until)?;
        let new = NewServer {
            name: wanted.name.to_string(),
            server_type: choice.server_type.name.clone(),
            image: settings.base_image,
            location: Some(settings.location),
            ssh_keys: vec![key],
            user_data: None,
            start: false,
        };
        let found = client.find_or_create(&own, &new, until).map_err(answered)?;
        let control = Kept { server: found.server.id, owner: Some(wanted.owner.to_owned()) }.state()?;
        let rounded = choice.rounded.iter().map(ToString::to_string).collect::<Vec<_>>();
        let told =
            format!("server {} of type {}: {}", found.server.id, found.server.server_type.name, rounded.join(", "));
        Ok(Provisioned { control, address: address(&found.server)?, port: SSH, told })
    }

    fn unknown(&self, owner: &str, known: &[KnownMachine]) -> Result<Vec<Orphan>, DriverError> {
        let (client, _) = self.client()?;
        let kept = known.iter().filter_map(|machine| machine.control.as_ref()?.read::<Kept>().ok());
        let servers: Vec<u64> = kept.map(|kept| kept.server).collect();
        let kept = known.iter().filter_map(|machine| machine.snapshot.as_ref()?.read::<KeptDisk>().ok());
        let snapshots: Vec<u64> = kept.map(|kept| kept.snapshot).collect();
        let ids = Known { servers: &servers, snapshots: &snapshots, ..Known::default() };
        let found = client.orphans(owner, ids, Instant::now() + RESCUE_LIMIT).map_err(answered)?;
        let orphan = |one: &cloud_machine_hetzner::Orphan| Orphan {
            kind: one.kind.to_string(),
            id: one.id.to_string(),
            name: one.name.clone(),
            machine: one.machine.clone().unwrap_or_default(),
        };
        // A machine's key goes with it, and what is being made for one has a number only when that is done.
        let is_used = |one: &cloud_machine_hetzner::Orphan| {
            let of = known.iter().find(|machine| Some(machine.name.as_str()) == one.machine.as_deref());
            of.is_some_and(|machine| match one.kind {
                OrphanKind::SshKey => true,
                OrphanKind::Snapshot => {
                    let is_unread = |kept: &DriverState| kept.read::<KeptDisk>().is_err();
                    let is_making = machine.making.is_some() && machine.making == one.attempt;
                    is_making || machine.snapshot.as_ref().is_some_and(is_unread)
                }
                // Which one it is that a newer program has written down is not known: none of this machine is forgotten.
                OrphanKind::Server => machine.control.as_ref().is_none_or(|kept| kept.read::<Kept>().is_err()),
            })
        };
        Ok(found.iter().filter(|one| !is_used(one)).map(orphan).collect())
    }
}

/// The server type for these sizes.
fn chosen(listed: &Listed, settings: &Settings, wanted: Sizes) -> Result<Choice, DriverError> {
    let size = Wanted { ram: ByteSize(wanted.ram), cpus: wanted.cpus, disk: ByteSize(wanted.disk) };
    choose_type(&listed.catalog.server_types, &settings.location, size).map_err(refused)
}

fn address(server: &Server) -> Result<String, DriverError> {
    let address = server.ipv4().map(|address| address.to_string());
    address.ok_or_else(|| failed(format!("server {} has no address of IPv4", server.id)))
}
