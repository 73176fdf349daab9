//! `start`: what is on the disks, unless a reimage was cut off; that is finished first.

use std::{process::ExitCode, time::Duration};

use cloud_machine_driver::drivers;
use cloud_machine_operation::Operations;
use cloud_machine_store::Store;

use crate::{arguments::Timed, batch, failure::Failure, screen::Screen, ui::Ui};

pub(crate) fn run(ui: &Ui, store: &Store, start: &Timed) -> Result<ExitCode, Failure> {
    let (screen, drivers) = (Screen::new(ui), drivers());
    let operations = Operations { store, drivers: &drivers, observer: &screen };
    let timeout = Duration::from_secs(start.time.timeout);
    batch::each(ui, &start.machines.names, |name| Ok(operations.start(name, timeout)?))
}
