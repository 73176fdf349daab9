//! What an honest agent counts and says of what it did: fills in the parts of a report that follow from the others.

use cloud_machine_image::{boot_head, digest_of_extents};
use cloud_machine_plan::not_covered;
use cloud_machine_protocol::{ChangedExtents, Outcome, Report, RootOfTrust, Step, StepRecord, Tier};

/// `report` with byte counts of its steps, the list of changes and what it does not cover as they follow from the rest.
pub(crate) fn honest(report: Report) -> Report {
    honest_in(RootOfTrust::Host, report)
}

/// The same of an agent that `root_of_trust` chose.
pub(crate) fn honest_in(root_of_trust: RootOfTrust, mut report: Report) -> Report {
    for disk in report.disks.clone() {
        let compared = matches!(disk.tier, Some(Tier::Scan | Tier::Hinted | Tier::Overlay));
        if compared && report.changed.is_empty() {
            let none = digest_of_extents(&[]);
            let device = disk.device;
            report.changed.push(ChangedExtents { device, count: 0, bytes: 0, digest: none, extents: Vec::new() });
        }
    }
    let mut steps = std::mem::take(&mut report.steps);
    steps.iter_mut().for_each(|record| count(record, &report));
    report.steps = steps;
    report.not_covered = not_covered(root_of_trust, &report.devices);
    report
}

fn count(record: &mut StepRecord, report: &Report) {
    let reading = |device: &str| report.disks.iter().find(|disk| disk.device == device);
    let files = report.root.as_ref().map_or(0, |root| root.bytes);
    let (outcome, [compared, written, zeroed, read_back]) = match &record.step {
        Step::Reimage { device, .. } => {
            let Some(disk) = reading(device) else { return };
            let head: u64 = boot_head(disk.disk_size).iter().map(|range| range.length).sum();
            let differed = report.changed.iter().find(|changed| changed.device == *device).map(|changed| changed.bytes);
            match (disk.tier, differed) {
                (Some(Tier::Stream), _) => (Outcome::Changed, [head, head, disk.disk_size, disk.disk_size]),
                (_, Some(0) | None) => (Outcome::Unchanged, [disk.read_bytes, 0, 0, 0]),
                (_, Some(bytes)) => (Outcome::Changed, [disk.read_bytes, bytes + head, 0, bytes + head]),
            }
        }
        Step::Wipe { device, offset, length, .. } => {
            let read = reading(device).filter(|_| *offset == 0).map_or(*length, |disk| disk.read_bytes);
            (Outcome::Changed, [read, 0, read, read])
        }
        Step::CheckImage { image_size, .. } => (Outcome::Unchanged, [*image_size, 0, 0, 0]),
        Step::ReceiveRoot { .. } => (Outcome::Changed, [0, files, 0, 0]),
        Step::CloneRoot { .. } => (Outcome::Changed, [files, 0, 0, files]),
        Step::WriteTable { .. } => (Outcome::Changed, [0, 65_536, 4096, 69_632]),
        Step::SetReadOnly { device } => {
            let was = report.devices.iter().any(|one| one.disk.name == *device && one.disk.read_only);
            (if was { Outcome::Unchanged } else { Outcome::Changed }, [0; 4])
        }
        _ => (Outcome::Changed, [0; 4]),
    };
    record.outcome = outcome;
    (record.compared_bytes, record.written_bytes) = (compared, written);
    (record.zeroed_bytes, record.read_back_bytes) = (zeroed, read_back);
}
