//! `verify`: the stored evidence judged again, and the running machine asked for its identity.

use std::{process::ExitCode, time::Duration};

use cloud_machine_driver::{
    escape,
    store::{MachineRecord, MachineState, Store},
};
use cloud_machine_plan::{Verdict, verify};
use cloud_machine_protocol::{Assurance, MachineName, Tier};
use serde::Serialize;

use crate::{
    arguments::Verify,
    evidence::{self, Evidence},
    expectation::AttemptFacts,
    failure::{Failure, Kind},
    launch, login,
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
    /// What had changed on the system disk before, when nobody can tell.
    not_recorded: Option<&'static str>,
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
    let (evidence, verdict) = judge(store, &record)?;
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
        not_recorded: verdict.not_recorded,
        report: Some(report.display().to_string()),
    })
}

/// Judges the stored report again, against an expectation that is made anew from the record.
fn judge(store: &Store, record: &MachineRecord) -> Result<(Evidence, Verdict), Failure> {
    let evidence = evidence::load(store, record)?;
    let facts = AttemptFacts::of_last(record)?;
    if let Ok((image, manifest)) = launch::image(store, record) {
        facts.check_image(record, &image, &manifest)?;
    }
    let expected = facts.expected(record)?;
    let refuse = |what: &str| {
        let text = format!("{what} of machine {} is not what its record and configuration make of it", record.name);
        Err(Failure::new(Kind::Verification, text))
    };
    if evidence.expected != expected {
        return refuse("the expectation in the evidence");
    }
    let verdict = verify(&expected, &evidence.report).map_err(|rejection| evidence::rejected(&rejection))?;
    if record.assurance != Some(verdict.assurance) || record.not_covered != verdict.not_covered {
        return refuse("the assurance in the record");
    }
    if record.host_key != Some(evidence::host_key(&evidence.report)?) {
        return refuse("the host key in the record");
    }
    Ok((evidence, verdict))
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
