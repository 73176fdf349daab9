//! `verify`: the stored evidence judged again, and the running machine asked for its identity.

use std::time::Duration;

use cloud_machine_driver::machine::Driver;
use cloud_machine_plan::{Verdict, verify};
use cloud_machine_protocol::{Assurance, MachineName, RescueHostKey, SecretPolicy, Tier, escape};
use cloud_machine_store::{MachineRecord, MachineState, Store};
use serde::Serialize;

use crate::{
    Operations, access,
    described::Described,
    error::{ErrorKind, OperationError},
    evidence::{self, Evidence, Kept},
    expectation::AttemptFacts,
    hint::Hint,
    installed,
    rebuilt::{NOT_RECORDED, REACHES, Rebuilt},
    request::is_made,
};

/// How long a machine may take to say who it is; a login is slow in software emulation.
const ASK_LIMIT: Duration = Duration::from_secs(90);

/// How a machine is verified.
#[derive(Clone, Copy, Debug)]
pub struct Verify {
    /// Less than this is a failure.
    pub required: Assurance,
    /// Do not ask the running machine.
    pub stored_only: bool,
}

/// A machine whose last report still stands.
#[derive(Debug, Serialize)]
pub struct Verified {
    /// How far it can be trusted.
    pub assurance: Assurance,
    /// What that does not cover.
    pub does_not_cover: String,
    /// What was known of the host key of the rescue system that it was made on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rescue_host_key: Option<RescueHostKey>,
    /// What the machine read before it wrote.
    pub tier: Option<Tier>,
    /// Whether a job may have run since.
    pub used_since: bool,
    /// Whether the running machine was asked.
    pub identity_checked: bool,
    /// What was checked, one sentence each.
    pub checked: Vec<String>,
    /// What the agent left alone, and what was found left when the machine was started since.
    pub not_covered: Vec<String>,
    /// What had changed on the system disk before, when nobody can tell.
    pub not_recorded: Option<&'static str>,
    /// Path of the evidence.
    pub report: Option<String>,
}

impl Operations<'_> {
    /// Judges the evidence of the machine `name` again.
    ///
    /// # Errors
    /// Of [`ErrorKind::Verification`] when it does not stand.
    pub fn verify(&self, name: &MachineName, arguments: Verify) -> Result<Verified, OperationError> {
        let store = self.store;
        let record = self.read_settled(name)?;
        is_made(&record)?;
        let described = Described::of(&record)?;
        let evidence = match evidence::load(store, &record)? {
            Kept::Report(evidence) => *evidence,
            Kept::Rebuild(evidence) => return self.verify_rebuilt(&record, &described, &evidence.rebuilt, arguments),
        };
        let verdict = judge(self.driver_of(&record)?, store, &record, &described, &evidence)?;
        evidence::require(verdict.assurance, arguments.required)?;
        let origins = evidence.report.config.as_ref().map(|config| &config.origins);
        let named = origins.is_some_and(|origins| HOST_NAMES.iter().any(|key| origins.contains_key(*key)));
        let kept = evidence::host_key_policy(&evidence.report) == Some(SecretPolicy::Keep);
        let answer = self.answer(&record, arguments, Expected { named, kept })?;
        let identity_checked = answer.is_some();
        let checked = verdict.checked.iter().cloned().chain(answer.into_iter().flatten()).collect();
        let report = store.machine(name).path().join(record.last_report.clone().unwrap_or_default());
        let since = record.not_covered_since.iter().cloned();
        Ok(Verified {
            assurance: verdict.assurance,
            does_not_cover: [verdict.does_not_cover()].into_iter().chain(since.clone()).collect::<Vec<_>>().join("; "),
            rescue_host_key: verdict.rescue_host_key,
            tier: verdict.tier,
            // The record of an older program counts less.
            used_since: record.dirty || access::may_others_log_in(store, &record, &described, &evidence.report)?,
            identity_checked,
            checked,
            not_covered: evidence.report.not_covered.into_iter().chain(since).collect(),
            not_recorded: verdict.not_recorded,
            report: Some(report.display().to_string()),
        })
    }
}

/// What a machine may answer.
#[derive(Clone, Copy)]
struct Expected {
    /// Whether its configuration gives it another host name, which only cloud-init in the machine knows for sure.
    named: bool,
    /// Whether earlier jobs could copy its host key.
    kept: bool,
}

impl Operations<'_> {
    /// Judges what a provider said of a rebuild.
    fn verify_rebuilt(
        &self,
        record: &MachineRecord,
        described: &Described,
        rebuilt: &Rebuilt,
        arguments: Verify,
    ) -> Result<Verified, OperationError> {
        let told = rebuilt.judge(record)?;
        evidence::of_snapshot(self.store, record, rebuilt.snapshot())?;
        evidence::require(REACHES, arguments.required)?;
        let leaves = described.merged.leaves();
        // A document that the machine fetches may name it, too.
        let named = described.config.cloud_init_url.is_some()
            || leaves.iter().any(|leaf| HOST_NAMES.contains(&leaf.path.as_str()));
        let answer = self.answer(record, arguments, Expected { named, kept: true })?;
        let not_covered = record.not_covered.iter().chain(&record.not_covered_since).cloned().collect();
        Ok(Verified {
            assurance: REACHES,
            does_not_cover: evidence::gaps_of(record, REACHES),
            rescue_host_key: None,
            tier: None,
            // A record that was edited counts less.
            used_since: record.dirty || rebuilt.snapshot().others,
            identity_checked: answer.is_some(),
            checked: [told].into_iter().chain(answer.into_iter().flatten()).collect(),
            not_covered,
            not_recorded: Some(NOT_RECORDED),
            report: record
                .last_report
                .as_ref()
                .map(|report| self.store.machine(&record.name).path().join(report).display().to_string()),
        })
    }

    /// What the running machine says of itself; `None` when it was not asked, does not run, or went down while it was asked.
    fn answer(
        &self,
        record: &MachineRecord,
        arguments: Verify,
        expected: Expected,
    ) -> Result<Option<Vec<String>>, OperationError> {
        // One whose system has shut down by itself is none that answers, as one that was stopped.
        if arguments.stored_only || record.state != MachineState::Running || !self.is_on(record)? {
            return Ok(None);
        }
        match ask_identity(self.store, record, expected) {
            Ok(checked) => Ok(Some(checked)),
            Err(failure) if self.is_on(record)? => Err(failure),
            Err(failure) => {
                tracing::debug!(%failure, "the machine does not run any more");
                Ok(None)
            }
        }
    }
}

/// Judges the stored report again, against an expectation that is made anew from the record.
fn judge(
    driver: &dyn Driver,
    store: &Store,
    record: &MachineRecord,
    described: &Described,
    evidence: &Evidence,
) -> Result<Verdict, OperationError> {
    let facts = AttemptFacts::of_last(record, described)?;
    if let Ok((image, manifest)) = installed::image(store, record) {
        facts.check_image(record, &image, &manifest)?;
    }
    let expected = facts.expected(driver, record, described);
    let refuse = |what: &str| {
        let text = format!("{what} of machine {} is not what its record and configuration make of it", record.name);
        Err(OperationError::new(ErrorKind::Verification, text))
    };
    if evidence.expected != expected {
        return refuse("the expectation in the evidence");
    }
    let verdict = verify(&expected, &evidence.report).map_err(|rejection| evidence::rejected(&rejection))?;
    if record.assurance != Some(verdict.assurance) || record.not_covered != verdict.not_covered {
        return refuse("the assurance in the record");
    }
    if record.system.last.and_then(|last| last.rescue_host_key) != verdict.rescue_host_key {
        return refuse("what was known of the rescue system's host key in the record");
    }
    if record.host_key != Some(evidence::host_key(&evidence.report)?) {
        return refuse("the host key in the record");
    }
    Ok(verdict)
}

/// Keys with which a configuration names the host for cloud-init.
const HOST_NAMES: [&str; 2] = ["hostname", "fqdn"];

/// Asks the machine over SSH, which succeeds only with the host key of the report.
fn ask_identity(store: &Store, record: &MachineRecord, expected: Expected) -> Result<Vec<String>, OperationError> {
    let output = access::ask(store, record, &["cat", "/etc/hostname", "/etc/machine-id"], ASK_LIMIT)?;
    if !output.status.success() {
        let stderr = escape::tail(&output.stderr, 5);
        return Err(OperationError::new(
            ErrorKind::Verification,
            format!("the machine does not answer as expected\n{stderr}"),
        )
        .hint(Hint::HeldByJob));
    }
    let Expected { named, kept } = expected;
    let same = said_identity(&output.stdout, record.name.as_str(), &record.identity.machine_id.to_string(), named)?;
    Ok(vec![answered(kept).to_owned(), same.to_owned()])
}

/// What an answer says of whoever gave it.
const fn answered(kept: bool) -> &'static str {
    if kept {
        "something answers with the kept host key, which earlier jobs could copy: that it is this machine is not proved by it"
    } else {
        "the machine answers with the pinned host key"
    }
}

/// Holds what the machine said against its record. `named`: whether its configuration gives it another host name, which only
/// cloud-init in the machine knows for sure.
fn said_identity(said: &[u8], name: &str, machine_id: &str, named: bool) -> Result<&'static str, OperationError> {
    let found = escape::line(said, 200);
    let expected = escape::line(format!("{name}\n{machine_id}\n").as_bytes(), 200);
    if found == expected {
        return Ok("host name and machine-id are the record's");
    }
    let id = said.strip_suffix(b"\n").and_then(|said| said.rsplit(|byte| *byte == b'\n').next());
    if named && id == Some(machine_id.as_bytes()) {
        return Ok("machine-id is the record's; the host name is what the configuration makes of it");
    }
    let text = format!("the machine says it is {found}, its record says {expected}");
    Err(OperationError::new(ErrorKind::Verification, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_host_name_is_right_only_where_the_configuration_names_the_host() {
        let id = "1".repeat(32);
        let said = |text: String, named| said_identity(text.as_bytes(), "demo", &id, named);
        for named in [true, false] {
            assert!(said(format!("demo\n{id}\n"), named).unwrap().starts_with("host name and machine-id"));
            assert!(said(format!("demo\n{}\n", "2".repeat(32)), named).is_err());
            assert!(said(format!("web\n{id}\nx\n"), named).is_err());
        }
        assert!(said(format!("web\n{id}\n"), true).unwrap().starts_with("machine-id is the record's;"));
        let refused = said(format!("web\n{id}\n"), false).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Verification);
    }
}
