//! `stop`: the system is asked to shut down, then the machine is ended.

use std::{process::ExitCode, time::Duration};

use cloud_machine_driver::drivers;
use cloud_machine_operation::{Operations, Stop as Asked, Stopped};
use cloud_machine_store::Store;

use crate::{
    arguments::Stop,
    batch::{self, Line},
    failure::Failure,
    screen::Screen,
    ui::Ui,
};

impl Line for Stopped {
    fn cells(&self) -> Vec<String> {
        let how = match (self.ran, self.shut_down) {
            (false, _) => "nothing of it ran",
            (true, true) => "the system shut down",
            (true, false) => "the process was ended",
        };
        vec![self.state.to_string(), how.to_owned()]
    }
}

pub(crate) fn run(ui: &Ui, store: &Store, stop: &Stop) -> Result<ExitCode, Failure> {
    let (screen, drivers) = (Screen::new(ui), drivers());
    let operations = Operations { store, drivers: &drivers, observer: &screen };
    let asked = Asked { now: stop.now, grace: Duration::from_secs(stop.grace) };
    batch::each(ui, &stop.machines.names, |name| Ok(operations.stop(name, asked)?))
}
