//! `create`: a machine from its configuration.

use std::{process::ExitCode, time::Duration};

use cloud_machine_driver::drivers;
use cloud_machine_operation::{Creation, Operations, drives::Drive};
use cloud_machine_store::Store;

use crate::{
    arguments::Create,
    batch,
    configuration::{KeyOption, synthesize},
    failure::Failure,
    interrupted,
    screen::Screen,
    source,
    ui::Ui,
};

pub(crate) fn run(ui: &Ui, store: &Store, create: &Create) -> Result<ExitCode, Failure> {
    let options = create.short_cut.options()?;
    let given = [KeyOption::image(create.image.as_ref()), KeyOption::driver(create.driver.as_ref())];
    let more: Vec<KeyOption<'_>> = given.into_iter().flatten().collect();
    let creation = Creation {
        described: synthesize(&create.configuration, &more)?,
        drives: create.drive.iter().map(|path| Drive::read(path)).collect::<Result<_, _>>()?,
        exceptions: create.exceptions.into(),
        image_url: source::address(&create.address)?,
        options,
        timeout: Duration::from_secs(create.time.timeout),
    };
    let (screen, drivers) = (Screen::new(ui), drivers());
    let operations = Operations { store, drivers: &drivers, observer: &screen };
    operations.check_creation(&creation)?;
    batch::each(ui, &create.machines.names, |name| {
        let _told = interrupted::tell(ui, store, name, "create")?;
        Ok(operations.create(name, &creation)?)
    })
}
