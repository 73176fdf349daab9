//! `create`: a machine from its configuration. An existing, equal machine is left alone; a half-made one is
//! continued.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use cloud_machine_config::supported;
use cloud_machine_driver::{
    identity, ssh,
    store::{
        DriveRecord, ImageName, ImageRecord, MachineRecord, MachineState, RECORD_VERSION, Store, StoreError, SystemDisk,
    },
};
use cloud_machine_protocol::{Action, Assurance, ImageUrl, MachineName};
use jiff::Timestamp;

use crate::{
    admission::{self, Admitted},
    arguments::{Create, Exceptions},
    attempt::Attempt,
    command::reimage::{Reimaged, quarantined},
    configuration::{
        Given, Synthesized,
        guest::{self, Drive},
        refused, synthesize,
    },
    disks,
    failure::{Failure, Kind},
    launch, several, source, space,
    strategy::{self, Wish},
    ui::Ui,
    verdict,
};

pub(crate) fn run(ui: &Ui, store: &Store, create: &Create) -> Result<ExitCode, Failure> {
    let wish = create.short_cut.wish()?;
    let given = [Given::image(create.image.as_ref()), Given::driver(create.driver.as_ref())];
    let more: Vec<Given<'_>> = given.into_iter().flatten().collect();
    let synthesized = synthesize(&create.configuration, &more)?;
    // Whether the driver is there at all comes before what it honours.
    launch::qemu(&synthesized.config.driver)?;
    verdict::honoured(ui, &synthesized)?;
    // A machine without what nothing does yet would not be the one that was described.
    supported(&synthesized.merged).map_err(refused)?;
    let drives: Vec<Drive> = create.drive.iter().map(|path| Drive::read(path)).collect::<Result<_, _>>()?;
    drives.iter().flat_map(|drive| &drive.unread).for_each(|remark| ui.note(remark));
    guest::check(&synthesized.merged, synthesized.config.cloud_init_url.as_ref(), &drives)?;
    let described =
        Described { synthesized, drives, exceptions: create.exceptions, url: source::address(&create.address)? };
    strategy::check(&described.synthesized.config, described.url.is_some(), wish)?;
    several::each(ui, &create.machines.names, |name| {
        one(ui, store, name, &described, wish, Duration::from_secs(create.time.timeout))
    })
}

/// A machine as it was asked for.
struct Described {
    synthesized: Synthesized,
    drives: Vec<Drive>,
    exceptions: Exceptions,
    url: Option<ImageUrl>,
}

fn one(
    ui: &Ui,
    store: &Store,
    name: &MachineName,
    described: &Described,
    wish: Wish,
    timeout: Duration,
) -> Result<Reimaged, Failure> {
    let lock = store.lock(name)?;
    let mut record = match store.read(name) {
        Ok(record) => {
            same_description(&record, described)?;
            if record.state == MachineState::Quarantined {
                return Err(quarantined(&record));
            }
            if !matches!(record.state, MachineState::Creating) && record.last_report.is_some() {
                ui.note(&format!("machine {name} exists and is described like this; nothing to do"));
                return Ok(Reimaged::unchanged(store, &record));
            }
            record
        }
        Err(StoreError::NoMachine { .. }) => {
            let record = new_record(ui, store, name, described)?;
            space::fits(store, &record, wish)?;
            store.create(&lock, &record)?;
            record
        }
        Err(error) => return Err(error.into()),
    };
    for drive in &described.drives {
        store.machine(name).store_drive(&lock, &drive.digest(), &drive.bytes)?;
    }
    for disk in &record.disks {
        store.machine(name).store_medium(&lock, disk)?;
    }
    prepare_login(store, &mut record)?;
    store.write(&lock, &record)?;
    let attempt =
        Attempt { store, lock: &lock, ui, deadline: Instant::now() + timeout, required: Assurance::HostRooted, wish };
    let completed = attempt.run(&mut record, Action::Reimage)?;
    Ok(Reimaged::new(store, &record, &completed))
}

/// Whether values, drives and the image's address are those of the record; where they come from does not matter.
fn same_description(record: &MachineRecord, described: &Described) -> Result<(), Failure> {
    let values = guest::recorded(record)?.to_yaml() == described.synthesized.merged.to_yaml();
    let drives = record.drives.iter().map(|drive| drive.digest).eq(described.drives.iter().map(Drive::digest));
    if values && drives && record.image.url == described.url {
        return Ok(());
    }
    let name = &record.name;
    Err(Failure::new(Kind::Refused, format!("machine {name} exists and is described otherwise"))
        .hint(format!("`cloud-machine show {name}` shows how; delete it first, or choose another name")))
}

fn new_record(ui: &Ui, store: &Store, name: &MachineName, described: &Described) -> Result<MachineRecord, Failure> {
    let synthesized = &described.synthesized;
    let config = &synthesized.config;
    launch::qemu(&config.driver)?;
    let image: ImageName = config
        .image
        .as_ref()
        .ok_or_else(|| Failure::new(Kind::Refused, "the configuration names no image").hint("give --image NAME"))?
        .parse()
        .map_err(Failure::failed)?;
    let Admitted { record: image, manifest } =
        admission::admit(ui, store, &image, &config.image_keys, described.exceptions)?;
    let identity = identity::new(
        name.clone(),
        config.resources.nic.mac,
        config.ssh_authorized_keys.clone(),
        config.identity.ssh_host_keys,
    )
    .map_err(Failure::failed)?;
    Ok(MachineRecord {
        version: RECORD_VERSION,
        name: name.clone(),
        uuid: identity.machine_uuid.clone(),
        driver: config.driver.clone(),
        image: ImageRecord { url: described.url.clone(), ..image },
        layers: serde_json::from_slice(&synthesized.merged.to_layers())
            .map_err(Failure::during(Kind::Failed, "encode the layers"))?,
        ram: verdict::memory(config.resources.ram).bytes(),
        cpus: config.resources.cpus,
        disks: disks::records(config, &manifest)?,
        system: SystemDisk::default(),
        drives: described.drives.iter().map(drive_record).collect(),
        identity,
        ssh_port: ssh::free_port().map_err(Failure::failed)?,
        state: MachineState::Creating,
        request: None,
        process: None,
        host_key: None,
        last_report: None,
        assurance: None,
        accepted: None,
        not_covered: Vec::new(),
        dirty: false,
        created: Timestamp::now(),
    })
}

fn drive_record(drive: &Drive) -> DriveRecord {
    let digest = drive.digest();
    DriveRecord {
        source: drive.source.clone(),
        file: format!("drives/{}.img", digest.hex()),
        digest,
        size: drive.bytes.len() as u64,
    }
}

/// A key pair of the host for this machine; its public half becomes one of root's authorized keys.
fn prepare_login(store: &Store, record: &mut MachineRecord) -> Result<(), Failure> {
    let public =
        ssh::generate_key(&store.machine(&record.name).ssh_key(), record.name.as_str()).map_err(Failure::failed)?;
    if !record.identity.authorized_keys.contains(&public) {
        record.identity.authorized_keys.push(public);
    }
    Ok(())
}
