//! `verify`: the stored evidence judged again, and the running machine asked for its identity.

use std::process::ExitCode;

use cloud_machine_driver::drivers;
use cloud_machine_operation::{Operations, Verified, Verify as Asked};
use cloud_machine_store::Store;

use super::show::UNUSED;
use crate::{
    arguments::Verify,
    batch::{self, Line},
    failure::Failure,
    screen::Screen,
    ui::Ui,
};

impl Line for Verified {
    fn cells(&self) -> Vec<String> {
        let used = if self.used_since { "used since" } else { UNUSED };
        let identity = if self.identity_checked { "identity answers" } else { "identity not asked" };
        let checks = format!("{} checks", self.checked.len());
        let level = format!("{} (does not cover: {})", self.assurance, self.does_not_cover);
        vec!["verified".to_owned(), level, checks, identity.to_owned(), used.to_owned()]
    }
}

pub(crate) fn run(ui: &Ui, store: &Store, verify: &Verify) -> Result<ExitCode, Failure> {
    let (screen, drivers) = (Screen::new(ui), drivers());
    let operations = Operations { store, drivers: &drivers, observer: &screen };
    let asked = Asked { required: verify.require_assurance, stored_only: verify.stored_only };
    batch::each(ui, &verify.machines.names, |name| Ok(operations.verify(name, asked)?))
}
