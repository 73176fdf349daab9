//! What the byte counts of a report must add up to: step by step, against what was read of the same disk and what had
//! differed on it. Must not ask for more than an honest agent can say: how often a device had to be read again is its own
//! affair, within bounds.

use cloud_machine_image::boot_head;
use cloud_machine_protocol::{DiskEvidence, Outcome, Report, Step, StepRecord, Tier, WipeMethod};

use crate::{expected::Expected, rejection::Rejection};

/// A disk is read at most twice by a step: once to compare it, or twice where a map turned out to be wrong.
const READINGS: u64 = 2;

/// Checks the counts of every step of `report`.
///
/// # Errors
/// The first step whose counts cannot be.
pub(crate) fn costs(expected: &Expected, report: &Report) -> Result<(), Rejection> {
    report.steps.iter().try_for_each(|record| {
        cost(expected, report, record).map_err(|reason| Rejection::StepBytes { id: record.id.to_string(), reason })
    })
}

fn cost(expected: &Expected, report: &Report, record: &StepRecord) -> Result<(), &'static str> {
    let evidence = |device: &str| {
        let of = |one: &&DiskEvidence| one.device == device;
        report.disks.iter().find(of).ok_or("nothing says what was read of its disk")
    };
    let changed = record.outcome == Outcome::Changed;
    match &record.step {
        Step::Reimage { device, .. } => rewritten(expected, report, record, evidence(device)?),
        Step::Wipe { device, offset: 0, length, method } => {
            wiped(record, *length, evidence(device)?.read_bytes, *method)
        }
        // Of a partition, the step alone says what was read.
        Step::Wipe { length, method, .. } => wiped(record, *length, *length, *method),
        Step::CheckImage { image_size, .. } => all([
            (!changed, "it only reads"),
            (record.compared_bytes == *image_size, "it compares the whole image"),
            (only(record, &[Count::Compared]), "it only reads"),
        ]),
        Step::ReceiveRoot { .. } => {
            let bytes = report.root.as_ref().map_or(0, |root| root.bytes);
            all([
                (record.written_bytes == if changed { bytes } else { 0 }, "it writes the bytes of the root's files"),
                (only(record, &[Count::Written]), "it only writes files"),
            ])
        }
        Step::CloneRoot { .. } => {
            let bytes = report.root.as_ref().map_or(0, |root| root.bytes);
            let read = record.compared_bytes == bytes && record.read_back_bytes == bytes;
            all([
                (changed, "a clone is new"),
                (read, "it reads the bytes of the root's files"),
                (only(record, &[Count::Compared, Count::ReadBack]), "it only reads files"),
            ])
        }
        Step::WriteTable { table, .. } => {
            let most = record.written_bytes.max(record.zeroed_bytes) <= table.disk_size;
            let read = record.read_back_bytes > 0 && record.read_back_bytes / READINGS <= table.disk_size;
            all([
                (changed && record.written_bytes > 0, "a table is written"),
                (most && read, "there are not so many bytes on the disk"),
                (record.compared_bytes == 0, "it compares nothing"),
            ])
        }
        Step::SetReadOnly { device } => {
            let was = report.devices.iter().any(|one| one.disk.name == *device && one.disk.read_only);
            all([
                (changed != was, "it changes what could be written"),
                (only(record, &[]), "it moves no bytes of its own"),
            ])
        }
        Step::ImportPool { .. } | Step::MakeDatasets { .. } => {
            all([(only(record, &[]), "it moves no bytes of its own")])
        }
        Step::LoadModule { .. }
        | Step::MountRoot { .. }
        | Step::MountDataset { .. }
        | Step::CommitRoot { .. }
        | Step::Encrypt { .. }
        | Step::MakeFilesystem { .. }
        | Step::WriteMounts { .. }
        | Step::WriteIdentity { .. } => {
            all([(changed, "it always changes something"), (only(record, &[]), "it moves no bytes of its own")])
        }
    }
}

/// The system disk.
fn rewritten(
    expected: &Expected,
    report: &Report,
    record: &StepRecord,
    evidence: &DiskEvidence,
) -> Result<(), &'static str> {
    let size = evidence.disk_size;
    let head: u64 = boot_head(size).iter().map(|range| range.length).sum();
    let differed = report.changed.iter().find(|changed| changed.device == evidence.device);
    let differed = differed.map_or(size, |changed| changed.bytes);
    let moved = record.written_bytes.saturating_add(record.zeroed_bytes);
    // The interim boot head is written and taken away again, besides what differed.
    let most = differed.saturating_add(head.saturating_mul(4));
    // A map that was contradicted: what it named was compared before all of the disk was.
    let twice =
        matches!(expected.request.tier, Some(Tier::Overlay | Tier::Hinted)) && evidence.tier == Some(Tier::Scan);
    let compared = match evidence.tier {
        Some(Tier::Stream) => record.compared_bytes == head,
        _ if twice => record.compared_bytes > size && record.compared_bytes / READINGS <= size,
        _ => record.compared_bytes == evidence.read_bytes,
    };
    let changed = record.outcome == Outcome::Changed;
    all([
        (compared, "other bytes were compared than were read"),
        (changed == (differed > 0), "what had differed was written, and nothing else was"),
        (if changed { (differed..=most).contains(&moved) } else { moved == 0 }, "what had differed was written once"),
        (record.written_bytes <= most && record.zeroed_bytes <= most, "more was written than had differed"),
        (
            if changed { record.read_back_bytes >= differed } else { record.read_back_bytes == 0 },
            "what was written was read back",
        ),
        (record.read_back_bytes / READINGS <= size.saturating_add(head), "there are not so many bytes on the disk"),
    ])
}

/// A data disk, or a partition of one.
fn wiped(record: &StepRecord, length: u64, read: u64, method: WipeMethod) -> Result<(), &'static str> {
    let (zeroed, read_back) = (record.zeroed_bytes, record.read_back_bytes);
    let changed = record.outcome == Outcome::Changed;
    all([
        (record.written_bytes == 0, "a wipe writes no data"),
        (record.compared_bytes == read, "what was read is what was compared"),
        (zeroed <= length && record.compared_bytes <= length, "there are not so many bytes"),
        (changed == (zeroed > 0 || method == WipeMethod::Discard), "what was not zero was made zero"),
        (read_back >= zeroed && read_back / READINGS <= zeroed, "what was made zero was read back"),
    ])
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Count {
    Compared,
    Written,
    Zeroed,
    ReadBack,
}

/// Whether no other counts than `these` are above zero.
fn only(record: &StepRecord, these: &[Count]) -> bool {
    [
        (Count::Compared, record.compared_bytes),
        (Count::Written, record.written_bytes),
        (Count::Zeroed, record.zeroed_bytes),
        (Count::ReadBack, record.read_back_bytes),
    ]
    .iter()
    .all(|(count, bytes)| *bytes == 0 || these.contains(count))
}

/// The reason of the first rule that does not hold.
fn all<const RULES: usize>(rules: [(bool, &'static str); RULES]) -> Result<(), &'static str> {
    rules.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, rule)| Err(*rule))
}
