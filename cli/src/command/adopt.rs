//! `adopt`: a machine that is there already is taken over.

use std::{process::ExitCode, slice, time::Duration};

use cloud_machine_config::DEFAULT_DRIVER;
use cloud_machine_driver::drivers;
use cloud_machine_operation::{Adopted, Adoption, Described, Login, Operations, Surveyed, default_disk};
use cloud_machine_protocol::{DeviceSelector, DiskName, ImageName};
use cloud_machine_store::Store;

use crate::{
    arguments::Adopt,
    batch::{self, Line},
    configuration::{KeyOption, synthesize},
    failure::{Failure, Kind},
    interrupted,
    screen::Screen,
    ui::Ui,
};

/// The driver of machines that are there, where nothing names one.
const DRIVER: &str = "ssh";
/// What states a key that follows from the machine.
const OPTION: &str = "adopt";

impl Line for Adopted {
    fn cells(&self) -> Vec<String> {
        let what = if self.unchanged { "adopted before, unchanged" } else { "adopted" };
        let disks: Vec<String> = self.facts.disks.iter().map(|disk| disk.name.clone()).collect();
        vec![
            format!("{what}; unproven: only the machine says what it is"),
            format!("{} {}", self.place, self.host_key),
            format!("disks {}", disks.join(" ")),
            self.changes.join("; "),
        ]
    }
}

pub(crate) fn run(ui: &Ui, store: &Store, adopt: &Adopt) -> Result<ExitCode, Failure> {
    let (screen, drivers) = (Screen::new(ui), drivers());
    let operations = Operations { store, drivers: &drivers, observer: &screen };
    batch::each(ui, slice::from_ref(&adopt.name), |name| {
        let _told = interrupted::tell(ui, store, name, OPTION)?;
        let (image, login) = (image(adopt)?, login(adopt)?);
        let surveyed = operations.survey(&login, &image, Duration::from_secs(adopt.timeout))?;
        let described = described(adopt, &surveyed)?;
        let (control, exceptions) = (adopt.control.clone(), adopt.exceptions.into());
        Ok(operations.adopt(name, &Adoption { described, login, surveyed, control, exceptions })?)
    })
}

/// The image whose agent asks the machine what it is.
fn image(adopt: &Adopt) -> Result<ImageName, Failure> {
    let described = synthesize(&adopt.configuration, &given(adopt))?;
    described
        .config
        .image
        .ok_or_else(|| Failure::new(Kind::Refused, "the configuration names no image").hint("give --image NAME"))
}

fn given(adopt: &Adopt) -> Vec<KeyOption<'_>> {
    let given = [KeyOption::image(adopt.image.as_ref()), KeyOption::driver(adopt.driver.as_ref())];
    given.into_iter().flatten().collect()
}

/// The configuration, with what it leaves open as the machine has it: the driver, and the disk that the image belongs on.
fn described(adopt: &Adopt, surveyed: &Surveyed) -> Result<Described, Failure> {
    let mut more = given(adopt);
    let mut described = synthesize(&adopt.configuration, &more)?;
    if described.config.driver == DEFAULT_DRIVER && adopt.driver.is_none() {
        more.push(KeyOption::text(OPTION, "driver", DRIVER));
        described = synthesize(&adopt.configuration, &more)?;
    }
    let Some(name) = open_disk(&described, surveyed) else { return Ok(described) };
    let (disk, device) = (format!("resources.disks.{name}"), default_disk(&surveyed.facts)?.to_string());
    let (devicepath, boot) = (format!("{disk}.devicepath"), format!("{disk}.boot-partition"));
    more.push(KeyOption::text(OPTION, &devicepath, &device));
    more.push(KeyOption::value(OPTION, &boot, "true"));
    synthesize(&adopt.configuration, &more)
}

/// The system disk, when nothing says which device of the machine it is.
fn open_disk(described: &Described, surveyed: &Surveyed) -> Option<DiskName> {
    let (name, disk) = described.config.resources.disks.iter().find(|(_, disk)| disk.boot_partition)?;
    let is_there = surveyed.facts.disks.iter().any(|found| found.serial.as_deref() == Some(name.as_str()));
    let is_open = disk.devicepath == DeviceSelector::Serial(name.to_string()) && !is_there;
    is_open.then(|| name.clone())
}

fn login(adopt: &Adopt) -> Result<Login, Failure> {
    let home = std::env::var_os("HOME").map(std::path::PathBuf::from).filter(|home| home.is_absolute());
    let identity = adopt.identity.as_ref().map(std::path::absolute).transpose();
    Ok(Login {
        user: adopt.ssh.user.clone(),
        address: adopt.ssh.host.clone(),
        port: adopt.ssh.port,
        host_key: adopt.host_key.clone(),
        identity: identity.map_err(Failure::during(Kind::Failed, "find the private key"))?,
        known_hosts: home.map(|home| home.join(".ssh/known_hosts")),
    })
}
