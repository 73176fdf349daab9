//! `adopt`: a machine that is there already is taken over.

use std::{process::ExitCode, slice, time::Duration};

use cloud_machine_config::DEFAULT_DRIVER;
use cloud_machine_driver::drivers;
use cloud_machine_operation::{Adopted, Adoption, Described, Operations};
use cloud_machine_store::Store;

use crate::{
    arguments::Adopt,
    batch::{self, Line},
    configuration::{KeyOption, synthesize},
    failure::Failure,
    interrupted, login,
    screen::Screen,
    ui::Ui,
};

/// The driver of machines that are there, where nothing names one.
const DRIVER: &str = "ssh";

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
        let _told = interrupted::tell(ui, store, name, "adopt")?;
        let (described, login) = (described(adopt)?, login::of(&adopt.there)?);
        let surveyed = operations.survey(&login, &described, &adopt.control, Duration::from_secs(adopt.timeout))?;
        let (control, exceptions) = (adopt.control.clone(), adopt.exceptions.into());
        Ok(operations.adopt(name, &Adoption { described, login, surveyed, control, exceptions })?)
    })
}

fn given(adopt: &Adopt) -> Vec<KeyOption<'_>> {
    let given = [KeyOption::image(adopt.image.as_ref()), KeyOption::driver(adopt.driver.as_ref())];
    given.into_iter().flatten().collect()
}

/// The configuration, of another driver than that of machines that are made, where nothing names one.
fn described(adopt: &Adopt) -> Result<Described, Failure> {
    let mut more = given(adopt);
    let described = synthesize(&adopt.configuration, &more)?;
    if described.config.driver != DEFAULT_DRIVER || adopt.driver.is_some() {
        return Ok(described);
    }
    more.push(KeyOption { option: "adopt", key: "driver", name: DRIVER });
    synthesize(&adopt.configuration, &more)
}
