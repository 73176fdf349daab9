//! `lease`: the right of one owner to a machine until a deadline. Must not decide who gets it: the store does.

use std::time::Duration;

use cloud_machine_store::{self as store, State};
use comfy_table::{Table, presets::NOTHING};
use serde::Serialize;

use crate::{
    arguments::{HeldLease, Lease},
    failure::Failure,
    ui::{Show, Ui},
};

#[derive(Serialize)]
#[serde(transparent)]
struct Taken(store::Lease);

#[derive(Serialize)]
struct GivenBack {
    machine: String,
    number: u64,
    given_back: bool,
}

#[derive(Serialize)]
struct Leases {
    leases: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    name: String,
    #[serde(flatten)]
    lease: Option<store::Lease>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Show for Taken {
    const KIND: &'static str = "lease";

    fn table(&self) -> String {
        let store::Lease { machine, number, owner, until, .. } = &self.0;
        format!("lease {number} of machine {machine} for {owner} until {until:.0}")
    }
}

impl Show for GivenBack {
    const KIND: &'static str = "lease-given-back";

    fn table(&self) -> String {
        format!("lease {} of machine {} is given back", self.number, self.machine)
    }
}

impl Show for Leases {
    const KIND: &'static str = "lease-list";

    fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(NOTHING).set_header(["NAME", "NUMBER", "UNTIL", "OWNER"]);
        for Row { name, lease, error } in &self.leases {
            match lease {
                Some(lease) => table.add_row([
                    name.clone(),
                    lease.number.to_string(),
                    format!("{:.0}", lease.until),
                    lease.owner.clone(),
                ]),
                None => table.add_row([name.clone(), format!("error: {}", error.clone().unwrap_or_default())]),
            };
        }
        table.to_string()
    }
}

pub(crate) fn run(ui: &Ui, store: &dyn State, lease: &Lease) -> Result<(), Failure> {
    let seconds = Duration::from_secs;
    match lease {
        Lease::Take { name, owner, time } => {
            ui.result(&Taken(store.take_lease(name, owner, seconds(time.seconds)).map_err(not_taken)?))
        }
        Lease::Renew { held: HeldLease { name, lease }, time } => {
            ui.result(&Taken(store.renew_lease(name, *lease, seconds(time.seconds))?))
        }
        Lease::GiveBack { held: HeldLease { name, lease } } => {
            store.give_back_lease(name, *lease)?;
            ui.result(&GivenBack { machine: name.to_string(), number: *lease, given_back: true })
        }
        Lease::List => {
            let rows = store.leases()?.into_iter().map(|row| match row.lease {
                Ok(lease) => Row { name: row.name, lease: Some(lease), error: None },
                Err(error) => {
                    Row { name: row.name, lease: None, error: Some(Failure::from(error).causes().join(": ")) }
                }
            });
            ui.result(&Leases { leases: rows.collect() })
        }
    }
}

/// Whoever wants a lease has none to name: the hint that others get would lead nowhere.
fn not_taken(error: store::StoreError) -> Failure {
    let is_leased = matches!(error, store::StoreError::Leased { .. });
    let failure = Failure::from(error);
    if !is_leased {
        return failure;
    }
    Failure { hints: Vec::new(), ..failure }.hint(
        "try again when it has ended or is given back; if it is yours, `cloud-machine lease renew` lets it last longer",
    )
}
