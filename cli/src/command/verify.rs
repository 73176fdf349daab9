//! `verify`: the stored evidence judged again, and the running machine asked for its identity.

use std::{process::ExitCode, time::Duration};

use cloud_machine_driver::{
    escape,
    store::{MachineRecord, MachineState, Store},
};
use cloud_machine_plan::verify;
use cloud_machine_protocol::{Assurance, MachineName, Tier};
use serde::Serialize;

use crate::{
    arguments::Verify,
    evidence,
    failure::{Failure, Kind},
    login,
    several::{self, Line},
    ui::Ui,
};

/// How long a machine may take to say who it is; a login is slow in software emulation.
const ASK_LIMIT: Duration = Duration::from_secs(90);

#[derive(Serialize)]
struct Verified {
    assurance: Assurance,
    does_not_cover: String,
    tier: Option<Tier>,
    used_since: bool,
    identity_checked: bool,
    checked: Vec<String>,
    not_covered: Vec<String>,
    report: Option<String>,
}

impl Line for Verified {
    fn cells(&self) -> Vec<String> {
        let used = if self.used_since { "used since" } else { "no login since by ssh or exec" };
        let identity = if self.identity_checked { "identity answers" } else { "identity not asked" };
        let checks = format!("{} checks", self.checked.len());
        let level = format!("{} (does not cover: {})", self.assurance, self.does_not_cover);
        vec!["verified".to_owned(), level, checks, identity.to_owned(), used.to_owned()]
    }
}

pub(crate) fn run(ui: &Ui, store: &Store, arguments: &Verify) -> Result<ExitCode, Failure> {
    several::each(ui, &arguments.machines.names, |name| one(store, name, arguments))
}

fn one(store: &Store, name: &MachineName, arguments: &Verify) -> Result<Verified, Failure> {
    let record = store.read(name)?;
    let evidence = evidence::load(store, &record)?;
    let verdict = verify(&evidence.expected, &evidence.report).map_err(|rejection| evidence::rejected(&rejection))?;
    evidence::require(verdict.assurance, arguments.require_assurance)?;
    let ask = !arguments.stored_only && record.state == MachineState::Running;
    let mut checked = verdict.checked.clone();
    if ask {
        checked.extend(ask_identity(store, &record)?);
    }
    let report = store.machine(name).path().join(record.last_report.clone().unwrap_or_default());
    Ok(Verified {
        assurance: verdict.assurance,
        does_not_cover: verdict.does_not_cover(),
        tier: verdict.tier,
        used_since: record.dirty,
        identity_checked: ask,
        checked,
        not_covered: evidence.report.not_covered,
        report: Some(report.display().to_string()),
    })
}

/// Asks the machine over SSH, which succeeds only with the host key of the report.
fn ask_identity(store: &Store, record: &MachineRecord) -> Result<Vec<String>, Failure> {
    let output = login::ask(store, record, &["cat", "/etc/hostname", "/etc/machine-id"], ASK_LIMIT)?;
    if !output.status.success() {
        let said = escape::tail(&output.stderr, 5);
        return Err(Failure::new(Kind::Verification, format!("the machine does not answer as expected\n{said}")));
    }
    let found = escape::line(&output.stdout, 200);
    let expected = escape::line(format!("{}\n{}\n", record.name, record.identity.machine_id).as_bytes(), 200);
    if found != expected {
        let text = format!("the machine says it is {found}, its record says {expected}");
        return Err(Failure::new(Kind::Verification, text));
    }
    Ok(vec![
        "the machine answers with the pinned host key".to_owned(),
        "host name and machine-id are the record's".to_owned(),
    ])
}
