//! `doctor`: what this host has and lacks, and how to get it.

mod network;

use std::{
    collections::BTreeSet,
    io::ErrorKind,
    path::Path,
    process::{Command, ExitCode},
    time::Duration,
};

use cloud_machine_child::{self as child, Bounds};
use cloud_machine_config::DEFAULT_DRIVER;
use cloud_machine_driver::{drivers, machine::Driver, qemu};
use cloud_machine_operation::{
    OperationError, Operations, causes, evidence, life::ProcessState, readable, room, space,
};
use cloud_machine_store::{MachineRow, Store, StoreError};
use comfy_table::{Table, presets::NOTHING};
use serde::Serialize;

use crate::{
    arguments::Global,
    failure::{Failure, Kind},
    ui::{Show, Ui},
};

/// Programs that the host needs: name, what it is for, the Debian package.
const PROGRAMS: [(&str, &str, &str); 5] = [
    ("qemu-system-x86_64", "runs machines", "qemu-system-x86"),
    ("qemu-img", "makes overlays and dirty maps, packs qcow2 images", "qemu-utils"),
    ("qemu-nbd", "reads dirty maps", "qemu-utils"),
    ("ssh", "logs in to machines", "openssh-client"),
    ("mmdebstrap", "builds golden images (only for that)", "mmdebstrap"),
];

/// What a program may take to say its version.
const VERSION: Bounds = Bounds { limit: Duration::from_secs(20), output: 64 << 10 };

#[derive(Serialize)]
struct Findings {
    findings: Vec<Finding>,
}

#[derive(Serialize)]
struct Finding {
    what: String,
    verdict: Verdict,
    detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Verdict {
    Good,
    Slow,
    /// It works now and may not later.
    Tight,
    /// It does not work, and what is not used of it is not missed.
    Optional,
    Missing,
}

impl Show for Findings {
    const KIND: &'static str = "doctor";

    fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(NOTHING);
        for finding in &self.findings {
            let verdict = match finding.verdict {
                Verdict::Good => "good",
                Verdict::Slow => "slow",
                Verdict::Tight => "tight",
                Verdict::Optional => "optional",
                Verdict::Missing => "missing",
            };
            table.add_row([verdict, &finding.what, &finding.detail]);
        }
        table.to_string()
    }
}

pub(crate) fn run(ui: &Ui, global: &Global) -> Result<ExitCode, Failure> {
    let mut findings: Vec<Finding> =
        PROGRAMS.iter().map(|(name, purpose, package)| program(name, purpose, package)).collect();
    findings.push(scp());
    findings.push(kvm());
    findings.extend(network::findings());
    findings.extend(drivers().all().filter(|driver| driver.name() != DEFAULT_DRIVER).map(optional));
    findings.extend(state(global));
    let missing = findings.iter().any(|finding| finding.verdict == Verdict::Missing);
    ui.result(&Findings { findings })?;
    Ok(if missing { ExitCode::from(Kind::Failed as u8) } else { ExitCode::SUCCESS })
}

fn program(name: &str, purpose: &str, package: &str) -> Finding {
    let version = if name == "ssh" { "-V" } else { "--version" };
    let found = child::run(Command::new(name).arg(version), VERSION);
    let (verdict, detail) = match found {
        Ok(output) => {
            let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
            let first = String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned();
            (Verdict::Good, first)
        }
        Err(error) => {
            (Verdict::Missing, format!("{purpose}: {}; `apt-get install {package}` brings it", causes(&error)))
        }
    };
    Finding { what: name.to_owned(), verdict, detail }
}

/// scp(1), which has no word for its version: its usage tells whether it can be told to speak SFTP.
fn scp() -> Finding {
    let what = "scp".to_owned();
    let way_out = "copies files (only for that)";
    match child::run(&mut Command::new("scp"), VERSION) {
        Ok(output) if speaks_sftp(&String::from_utf8_lossy(&output.stderr)) => {
            Finding { what, verdict: Verdict::Good, detail: "speaks SFTP".to_owned() }
        }
        Ok(_) => {
            let detail = format!("{way_out}: it has no option -s for SFTP; OpenSSH 8.7 and later have it");
            Finding { what, verdict: Verdict::Missing, detail }
        }
        Err(error) => {
            let detail = format!("{way_out}: {}; `apt-get install openssh-client` brings it", causes(&error));
            Finding { what, verdict: Verdict::Missing, detail }
        }
    }
}

/// Whether the options without a value, of which the usage has the first, have `-s`.
fn speaks_sftp(usage: &str) -> bool {
    usage.split_whitespace().find_map(|word| word.strip_prefix("[-")).is_some_and(|options| options.contains('s'))
}

/// Whether a driver that nobody needs can work here. A machine that it has is a finding of its own.
fn optional(driver: &dyn Driver) -> Finding {
    let what = format!("driver {}", driver.name());
    match driver.preflight().and_then(|()| driver.settings()) {
        Ok(()) => Finding { what, verdict: Verdict::Good, detail: "can be used".to_owned() },
        Err(error) => {
            let failure = Failure::from(OperationError::from(error));
            let told = failure.causes().into_iter().chain(failure.hints.iter().cloned());
            Finding { what, verdict: Verdict::Optional, detail: told.collect::<Vec<_>>().join("; ") }
        }
    }
}

/// Whether KVM may work; whether it runs a given kernel is proved when a machine is started.
fn kvm() -> Finding {
    let path = Path::new("/dev/kvm");
    let opened = std::fs::OpenOptions::new().read(true).write(true).open(path);
    let (verdict, detail) = match opened {
        Ok(_) => (Verdict::Good, "opens; it is proved with the image's kernel before it is used".to_owned()),
        Err(error) => (Verdict::Slow, format!("{error}; machines run in software emulation, many times slower")),
    };
    Finding { what: path.display().to_string(), verdict, detail }
}

/// What was proved of KVM here. A host on which nothing was proved yet lacks nothing.
fn proofs(store: &Store) -> Option<Finding> {
    let path = store.kvm_verdicts();
    let (verdict, detail) = match qemu::remembered(store) {
        Ok(Ok(verdicts)) if verdicts.is_empty() => return None,
        Ok(Ok(verdicts)) => proved(&verdicts),
        Ok(Err(reason)) => {
            let path = path.display();
            let detail =
                format!("{path} is damaged: {reason}; KVM is proved again by the next start, which replaces it");
            (Verdict::Slow, detail)
        }
        Err(error) => {
            let detail = format!("{}; remove it: what it says of KVM is proved again", causes(&error));
            (Verdict::Missing, detail)
        }
    };
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Some(Finding { what: name, verdict, detail })
}

/// What was proved, each reason once: most kernels have the same.
fn proved(verdicts: &[qemu::Verdict]) -> (Verdict, String) {
    let slow = verdicts.iter().any(|one| one.accelerator == qemu::Accelerator::Tcg);
    let reasons: BTreeSet<String> =
        verdicts.iter().map(|one| format!("accelerator {}: {}", one.accelerator, one.reason)).collect();
    let kernels = if verdicts.len() == 1 { "one kernel".to_owned() } else { format!("{} kernels", verdicts.len()) };
    let reasons: Vec<String> = reasons.into_iter().collect();
    (if slow { Verdict::Slow } else { Verdict::Good }, format!("KVM with {kernels}: {}", reasons.join("; ")))
}

/// Whether every accepted report of every machine is there and is the one that was stored.
fn evidence(store: &Store, rows: &[MachineRow]) -> Finding {
    let what = "evidence".to_owned();
    let (mut reports, mut wrong) = (0, Vec::new());
    for row in rows {
        let record = match &row.record {
            Ok(record) => record,
            Err(error) => {
                wrong.push(format!("machine {}: {}", row.name, causes(error)));
                continue;
            }
        };
        match evidence::count(store, record) {
            Ok(count) => reports += count,
            Err(failure) => wrong.push(format!("machine {}: {}", record.name, failure.causes().join(": "))),
        }
    }
    if wrong.is_empty() {
        let detail = format!("{reports} accepted reports, each the one that was stored");
        return Finding { what, verdict: Verdict::Good, detail };
    }
    Finding { what, verdict: Verdict::Missing, detail: wrong.join("; ") }
}

fn state(global: &Global) -> Vec<Finding> {
    let what = "state folder".to_owned();
    if let Some(folder) = crate::state::state_folder(global).ok().filter(|folder| !folder.exists()) {
        let makeable = crate::state::check_above(global, &folder);
        let (verdict, detail) = match makeable {
            Ok(()) => {
                (Verdict::Good, format!("{} is not there yet: the first image or machine makes it", folder.display()))
            }
            Err(failure) => (Verdict::Missing, failure.error.to_string()),
        };
        return vec![Finding { what, verdict, detail }];
    }
    let opened = crate::state::open_store(global).and_then(|store| match store.check_writable() {
        // On a full file system it can be written: that is another finding.
        Err(StoreError::Io { source, .. }) if source.kind() == ErrorKind::StorageFull => Ok(store),
        checked => checked.map(|()| store).map_err(Into::into),
    });
    let detail = |store: &Store| store.root().display().to_string();
    let good = |store: &Store| Finding { what: what.clone(), verdict: Verdict::Good, detail: detail(store) };
    match opened {
        Ok(store) => match store.list() {
            Ok(rows) => {
                let troubled = machines(&store, &rows);
                let found = [good(&store), room(&store), evidence(&store, &rows)].into_iter().chain(proofs(&store));
                found.chain(troubled).collect()
            }
            Err(error) => vec![good(&store), Finding { what, verdict: Verdict::Missing, detail: causes(&error) }],
        },
        Err(failure) => vec![Finding { what, verdict: Verdict::Missing, detail: failure.causes().join(": ") }],
    }
}

/// Free room against what is promised to sparse disks.
fn room(store: &Store) -> Finding {
    let what = "room".to_owned();
    let room = match store.room() {
        Ok(room) => room,
        Err(error) => {
            return Finding { what, verdict: Verdict::Missing, detail: Failure::from(error).causes().join(": ") };
        }
    };
    if room.free < room::LEAST {
        let detail = format!("{} are free: no machine can be reimaged", readable::bytes(room.free));
        return Finding { what, verdict: Verdict::Missing, detail };
    }
    match space::overcommitted(room) {
        Some(detail) => Finding { what, verdict: Verdict::Tight, detail },
        None => Finding { what, verdict: Verdict::Good, detail: format!("{} are free", readable::bytes(room.free)) },
    }
}

/// Machines that stand still, and those of which it is not known whether they run.
fn machines(store: &Store, rows: &[MachineRow]) -> Vec<Finding> {
    let drivers = drivers();
    let operations = Operations { store, drivers: &drivers, observer: &() };
    let records = rows.iter().filter_map(|row| row.record.as_ref().ok());
    let troubled = records.filter_map(|record| {
        let told = operations.status(record);
        let verdict = match told.process {
            ProcessState::Paused => Verdict::Tight,
            ProcessState::Unknown => Verdict::Missing,
            ProcessState::None | ProcessState::Runs => return None,
        };
        let detail = format!("process {}: {}", told.process, told.process_reason.unwrap_or_default());
        Some(Finding { what: format!("machine {}", record.name), verdict, detail })
    });
    troubled.collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_was_proved_of_kvm_is_told_with_each_reason_once() {
        let verdict = |accelerator, reason: &str| qemu::Verdict {
            accelerator,
            cpu_model: "host".to_owned(),
            reason: reason.to_owned(),
        };
        let slow = verdict(qemu::Accelerator::Tcg, "KVM does not work: no answer");
        let (level, told) = proved(&[slow.clone(), slow]);
        assert_eq!(
            (level, told.as_str()),
            (Verdict::Slow, "KVM with 2 kernels: accelerator tcg: KVM does not work: no answer")
        );
        let (level, told) = proved(&[verdict(qemu::Accelerator::Kvm, "proved")]);
        assert_eq!((level, told.as_str()), (Verdict::Good, "KVM with one kernel: accelerator kvm: proved"));
    }

    #[test]
    fn an_scp_that_knows_no_sftp_is_told_by_its_usage() {
        assert!(speaks_sftp("usage: scp [-346ABCOpqRrsTv] [-c cipher] [-D sftp_server_path] [-F ssh_config]\n"));
        assert!(!speaks_sftp("usage: scp [-346ABCpqrTv] [-c cipher] [-F ssh_config] [-i identity_file]\n"));
        assert!(!speaks_sftp(""));
    }

    #[test]
    fn a_damaged_verdict_on_kvm_is_told_and_so_is_one_that_cannot_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("state")).unwrap();
        assert!(proofs(&store).is_none(), "nothing was proved yet");
        for broken in ["", "{", "{\"version\": 1, \"verdicts\": []}"] {
            fs::write(store.kvm_verdicts(), broken).unwrap();
            let finding = proofs(&store).unwrap();
            assert!(finding.verdict == Verdict::Slow && finding.detail.contains("is damaged: "), "{}", finding.detail);
        }
        fs::remove_file(store.kvm_verdicts()).unwrap();
        fs::create_dir(store.kvm_verdicts()).unwrap();
        let finding = proofs(&store).unwrap();
        assert_eq!(finding.what, "kvm.json");
        assert!(finding.verdict == Verdict::Missing && finding.detail.contains("kvm.json"), "{}", finding.detail);
    }
}
