//! What would become of each disk, for a person who asks before anything is done: a decision with its reason for every
//! one, also where a plan of the whole would be refused. Must not be looser than a plan.

use cloud_machine_config::{Config, DiskConfig, OnReimage, Undeclared};
use cloud_machine_protocol::{Action, Disk, DiskName, History, Inventory};
use serde::Serialize;

use crate::{
    assign::{allocated, only},
    decided::{decide_disk, writable},
    decision::Decision,
    error::{PlanError, Wanted},
    filesystem::described,
    known::Known,
    root_pool::RootPool,
};

/// One disk, declared or found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DiskPreview {
    /// Name in the configuration; `None` for a disk that nobody declared.
    pub disk: Option<String>,
    /// Kernel name; `None` when no device, or more than one, is meant.
    pub device: Option<String>,
    /// What would become of it.
    pub verdict: PreviewVerdict,
    /// How, in the words of a report; empty when it is refused.
    pub method: String,
    /// Why.
    pub reason: String,
}

/// What would become of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PreviewVerdict {
    /// The image goes there.
    Reimage,
    /// What is there is started.
    Boot,
    /// What is there is used as it is.
    Reuse,
    /// A filesystem is made where there are only zeros.
    Create,
    /// Other content is wiped and a filesystem is made.
    Replace,
    /// It is wiped, and a filesystem is made where one is described.
    Wipe,
    /// Nothing is done with it.
    Keep,
    /// The machine does not come up.
    Refuse,
}

/// Each declared disk in the order of their names, then the devices that none of them means.
#[must_use]
pub fn preview(config: &Config, inventory: &Inventory, action: Action) -> Vec<DiskPreview> {
    let disks = &config.resources.disks;
    let mut rows: Vec<DiskPreview> = disks.iter().map(|(name, disk)| declared(name, disk, inventory, action)).collect();
    let twice = |row: &DiskPreview| {
        let same =
            |other: &&DiskPreview| other.device.is_some() && other.device == row.device && other.disk != row.disk;
        rows.iter().find(same).and_then(|other| other.disk.clone())
    };
    let shared: Vec<Option<String>> = rows.iter().map(twice).collect();
    for (row, other) in rows.iter_mut().zip(shared) {
        if let Some(other) = other {
            *row = refused(row.disk.take(), row.device.take(), format!("the disk `{other}` means the same device"));
        }
    }
    let meant = |disk: &&Disk| rows.iter().any(|row| row.device.as_ref() == Some(&disk.name));
    let others: Vec<DiskPreview> = inventory
        .disks
        .iter()
        .filter(|disk| !meant(disk))
        .map(|disk| undeclared(disk, config.disks_undeclared))
        .collect();
    rows.extend(others);
    rows
}

fn refused(disk: Option<String>, device: Option<String>, reason: String) -> DiskPreview {
    DiskPreview { disk, device, verdict: PreviewVerdict::Refuse, method: String::new(), reason }
}

fn declared(name: &DiskName, disk: &DiskConfig, inventory: &Inventory, action: Action) -> DiskPreview {
    let device = match only(inventory, &disk.devicepath, &Wanted::Disk(name.to_string())) {
        Ok(device) => device,
        Err(error) => return refused(Some(name.to_string()), None, error.to_string()),
    };
    let outcome =
        |()| if disk.boot_partition { system(name, disk, device, action) } else { other(name, disk, device, action) };
    match allocated(&Wanted::Disk(name.to_string()), disk, device).and_then(outcome) {
        Ok((verdict, method, reason)) => {
            DiskPreview { disk: Some(name.to_string()), device: Some(device.name.clone()), verdict, method, reason }
        }
        Err(error) => refused(Some(name.to_string()), Some(device.name.clone()), error.to_string()),
    }
}

type Outcome = Result<(PreviewVerdict, String, String), PlanError>;

fn system(name: &DiskName, disk: &DiskConfig, device: &Disk, action: Action) -> Outcome {
    writable(name.as_str(), device)?;
    if let (Some(pool), Action::Boot) = (RootPool::of(name, disk), action) {
        pool.holds(device)?;
    }
    Ok(match action {
        Action::Reimage => (PreviewVerdict::Reimage, "reimage".to_owned(), "it is the system disk".to_owned()),
        Action::Boot => (PreviewVerdict::Boot, "booted".to_owned(), "it is the system disk".to_owned()),
    })
}

fn other(name: &DiskName, disk: &DiskConfig, device: &Disk, action: Action) -> Outcome {
    // The machine only decides on identifiers, which nobody is shown; and whoever asks here has no record.
    let decided =
        decide_disk(name, disk, device, action, Known { machine: "", history: History::Unknown, kept: true })?;
    let holds = described(&device.probe);
    let (verdict, reason) = match decided.decision() {
        Some(Decision::Reuse) if disk.filesystem.is_none() => {
            (PreviewVerdict::Reuse, "it has the described partitions".to_owned())
        }
        Some(Decision::Reuse) => (PreviewVerdict::Reuse, format!("it holds {holds}, as described")),
        Some(Decision::Replace) => (PreviewVerdict::Replace, format!("it holds {holds}, and `overwrite` is true")),
        _ if decided.wipe.is_some() => (PreviewVerdict::Wipe, says_so(disk, action)),
        Some(Decision::Create) => (PreviewVerdict::Create, "it holds nothing: zeros wherever it was looked".to_owned()),
        _ if disk.readonly => (PreviewVerdict::Keep, "it is read-only".to_owned()),
        _ => (PreviewVerdict::Keep, "nothing says that it is wiped".to_owned()),
    };
    Ok((verdict, decided.plan().method().to_string(), reason))
}

/// The key by which a disk is wiped.
fn says_so(disk: &DiskConfig, action: Action) -> String {
    match (action, disk.on_reimage) {
        (Action::Reimage, OnReimage::Wipe) => "`on-reimage` is wipe".to_owned(),
        (Action::Reimage, OnReimage::Recreate) => "`on-reimage` is recreate".to_owned(),
        _ => "`wipe-on-boot` says so".to_owned(),
    }
}

fn undeclared(disk: &Disk, undeclared: Undeclared) -> DiskPreview {
    let device = Some(disk.name.clone());
    let holds = described(&disk.probe);
    match undeclared {
        Undeclared::Refuse => refused(None, device, format!("nobody declared it; it holds {holds}")),
        Undeclared::Ignore => DiskPreview {
            disk: None,
            device,
            verdict: PreviewVerdict::Keep,
            method: "ignored".to_owned(),
            reason: format!("nobody declared it, and `disks-undeclared` is ignore; it holds {holds}"),
        },
    }
}
