//! `gc`: what providers have that was made for this host and that no record knows.

use cloud_machine_driver::drivers;
use cloud_machine_operation::{Forgotten, Operations};
use cloud_machine_store::Store;
use comfy_table::{Table, presets::NOTHING};
use serde::Serialize;

use crate::{
    arguments::Gc,
    failure::Failure,
    ui::{EventSubject, Show, Ui},
};

#[derive(Serialize)]
struct Found {
    forgotten: Vec<Forgotten>,
}

impl Show for Found {
    const KIND: &'static str = "forgotten";

    fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(NOTHING);
        for Forgotten { driver, orphan, deleted } in &self.forgotten {
            let machine =
                if orphan.machine.is_empty() { String::new() } else { format!("of machine {}", orphan.machine) };
            let done = if *deleted { "deleted" } else { "" };
            table.add_row([*driver, &format!("{} {}", orphan.kind, orphan.id), &orphan.name, &machine, done]);
        }
        table.to_string()
    }
}

pub(crate) fn run(ui: &Ui, store: &Store, gc: &Gc) -> Result<(), Failure> {
    let drivers = drivers();
    let operations = Operations { store, drivers: &drivers, observer: &() };
    let has_owner = operations.has_owner()?;
    let asking = ui.progress_of(EventSubject::default(), "ask the providers");
    let forgotten = operations.forgotten(gc.driver.as_deref(), gc.yes)?;
    drop(asking);
    if !has_owner {
        ui.note(
            "this state folder never made anything at a provider, so nobody was asked; what another one made is not looked for",
        );
    } else if forgotten.is_empty() {
        ui.note("nothing without a record was found; drivers without settings here were not asked");
    } else if !gc.yes {
        ui.note("nothing was deleted; --yes deletes all of these");
    }
    ui.result(&Found { forgotten })
}
