//! A report against what the host expects, one check after the other, each with its own rejection. Must not believe
//! anything that the host did not state itself: what is not checked here is in [`crate::INFORMATIONAL`].

use cloud_machine_image::{boot_head, sampled_bytes};
use cloud_machine_protocol::{
    Action, Assurance, Disk, DiskEvidence, FORMAT_VERSION, ImageEvidence, ImageSource, Outcome, Report, ReportResult,
    RescueHostKey, Role, StepRecord, Tier, WipeMethod,
};
use uuid::Uuid;

use crate::{
    attached::{Attached, Devices, devices, treated},
    configured::configured,
    costs::costs,
    coverage::{self, disks_not_covered},
    decision, encrypted,
    expected::{Disposition, Expected, ExpectedDisk},
    identity::identity,
    partition_steps,
    planned::planned,
    rejection::Rejection,
    root_pool::RootPool,
    root_proof,
    step::PlannedStep,
    tampering::{changes, not_recorded},
    trust::{gaps, highest_assurance, incomplete, started_with},
    wiped,
};

/// What was checked of a root in a pool, for people.
const ROOT_FILES: &str =
    "root: every file read back, as in the image; the image read from the host's golden disk, every byte of it";

/// What an accepted report proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// How far it can be trusted.
    pub assurance: Assurance,
    /// What the host knew of the rescue system's host key; `None` when no provider started one.
    pub rescue_host_key: Option<RescueHostKey>,
    /// How the system disk was made equal to the image; `None` for a boot.
    pub tier: Option<Tier>,
    /// What was checked, for people.
    pub checked: Vec<String>,
    /// What may be left on disks besides the system disk, for people ([`disks_not_covered`]), and what a kept host key leaves open.
    pub not_covered: Vec<String>,
    /// What had changed on the system disk before, when nobody can tell.
    pub not_recorded: Option<&'static str>,
}

impl Verdict {
    /// What the assurance does not cover, what of the system disk was not read, what may be left on other disks, and who may
    /// know the host key.
    #[must_use]
    pub fn does_not_cover(&self) -> String {
        let gaps = gaps(self.assurance, self.tier, self.rescue_host_key);
        [gaps].into_iter().chain(self.not_covered.iter().cloned()).collect::<Vec<_>>().join("; ")
    }
}

/// Checks `report` against `expected`.
///
/// The devices are checked before what was read from them, since a reading names a disk by the kernel's name and
/// only the list of devices says which disk that is.
///
/// A reimage is [`Assurance::HostRooted`] when the host made the attempt: it started a new process with its own kernel,
/// initramfs and volume, and read the report over its own socket to that process, so no code of a job had a part in the
/// report. It is [`Assurance::ProviderRooted`] when the provider started a system for it that no job could write, with the
/// host's agent. Otherwise, for a boot, which does not read the whole disk, and for a root that was cloned in a pool that
/// jobs could write, it is [`Assurance::Unproven`].
///
/// # Errors
/// The first check that fails.
pub fn verify(expected: &Expected, report: &Report) -> Result<Verdict, Rejection> {
    complete(expected)?;
    let mut checked = Vec::new();
    let mut passed = |what: &str| checked.push(what.to_owned());
    answers(expected, report)?;
    passed("format version, result, request, nonce, machine and action");
    generation(expected, report)?;
    passed("generation of the image: not below the minimum of the request");
    let more = configured(expected, report)?;
    passed(
        "digests of the volume, of its document and of every other document that the machine read; origins of all values",
    );
    passed(started_with(expected, report)?);
    let devices = devices(expected, report, more)?;
    ignored_volumes(report, &devices)?;
    passed(
        "devices: exactly those that the host attached, as it attached them, each with its role and what was done with it",
    );
    let reimaged = expected.request.action == Action::Reimage;
    let mut tier = None;
    if reimaged {
        let (found, what) = system(expected, report, &devices)?;
        tier = found;
        passed(what);
    }
    readings(expected, report, &devices)?;
    changes(report, rewritten(&devices, tier))?;
    wiped::checked(&wiped(expected, report, &devices)?).into_iter().for_each(&mut passed);
    steps(expected, report, &devices)?;
    costs(expected, report)?;
    passed(
        "steps: those of the plan, in order, none failed; their byte counts agree with what was read and what had differed",
    );
    if devices.iter().any(|attached| attached.mapped.is_some()) {
        passed(encrypted::CHECKED);
    }
    if devices.iter().any(|attached| attached.table.is_some()) {
        passed(
            "partition tables of data disks: written and read back, or used where the machine found the described one",
        );
    }
    if devices.iter().any(Attached::holds_filesystem) {
        passed("filesystems of data disks: made, or used where the machine found the described one; not read back");
        passed(decision::CHECKED);
    }
    if image_address(expected, report)? {
        passed("image: read from the requested address, and only there");
    }
    let given = identity(expected, report, more)?;
    if let Some(given) = &given {
        passed(&given.checked);
    }
    let recovery = coverage::told(expected.root_of_trust, report).ok_or(Rejection::NotCovered)?.map(str::to_owned);
    // The kernel that a clone comes from has read what a job could write.
    let rooted = reimaged && tier != Some(Tier::Clone);
    let assurance = if rooted { highest_assurance(expected.root_of_trust) } else { Assurance::Unproven };
    let open = given.and_then(|given| given.not_covered).map(str::to_owned);
    let not_covered = disks_not_covered(&report.devices).into_iter().chain(recovery).chain(open).collect();
    let rescue_host_key = expected.rescue_host_key;
    Ok(Verdict { assurance, rescue_host_key, tier, checked, not_covered, not_recorded: tier.and_then(not_recorded) })
}

/// Without a system disk to look at, every check of it would pass.
fn complete(expected: &Expected) -> Result<(), Rejection> {
    let count = |is: fn(&ExpectedDisk) -> bool| expected.disks.iter().filter(|disk| is(disk)).count();
    let sources = usize::from(matches!(expected.request.image.source, ImageSource::Device(_)));
    let volumes = usize::from(expected.volume_attached);
    let undeclared =
        |disk: &ExpectedDisk| disk.disposition != Disposition::Keep && !matches!(disk.role, Role::Declared { .. });
    let reason = if count(|disk| disk.disposition == Disposition::System) != 1 {
        "there must be one system disk"
    } else if count(|disk| disk.role == Role::Volume) != volumes {
        "there must be one volume, unless it came over the connection"
    } else if expected.request.action == Action::Reimage && count(|disk| disk.role == Role::ImageSource) != sources {
        "a reimage must have one image source"
    } else if count(undeclared) != 0 {
        "a disk is written that is not declared"
    } else if let Some(reason) = incomplete(expected) {
        reason
    } else {
        return Ok(());
    };
    Err(Rejection::Expectation { reason })
}

fn answers(expected: &Expected, report: &Report) -> Result<(), Rejection> {
    let request = &expected.request;
    if report.version != FORMAT_VERSION {
        return Err(Rejection::Version { expected: FORMAT_VERSION, found: report.version });
    }
    if let ReportResult::Failed { step, causes } = &report.result {
        let step = step.as_ref().map(ToString::to_string);
        return Err(Rejection::Failed { step, causes: causes.clone() });
    }
    if report.request_id.as_ref() != Some(&request.id) {
        return Err(Rejection::RequestId { expected: request.id.clone(), found: report.request_id.clone() });
    }
    if report.nonce != Some(request.nonce) {
        return Err(Rejection::Nonce { expected: request.nonce, found: report.nonce });
    }
    if report.machine_uuid.as_ref() != Some(&request.machine_uuid) {
        let (expected, found) = (request.machine_uuid.clone(), report.machine_uuid.clone());
        return Err(Rejection::MachineUuid { expected, found });
    }
    if report.action != Some(request.action) {
        return Err(Rejection::Action { expected: request.action, found: report.action });
    }
    // As the kernel writes it: 36 lower-case characters (random(4)).
    match Uuid::try_parse(&report.boot_id) {
        Ok(id) if id.hyphenated().to_string() == report.boot_id => Ok(()),
        _ => Err(Rejection::BootId { found: report.boot_id.clone() }),
    }
}

/// The manifest that the agent saw is the host's own, and not older than the host allows.
fn generation(expected: &Expected, report: &Report) -> Result<(), Rejection> {
    let image = &expected.request.image;
    let given = ImageEvidence {
        generation: expected.generation,
        minimum_generation: image.minimum_generation,
        exceptions: image.exceptions.clone(),
    };
    let found = report.image.as_ref().ok_or(Rejection::GenerationAbsent)?;
    if *found != given {
        return Err(Rejection::Generation { expected: given, found: found.clone() });
    }
    if found.generation < image.minimum_generation {
        return Err(Rejection::GenerationLow { minimum: image.minimum_generation, found: found.generation });
    }
    Ok(())
}

/// Volumes that did not count, or not all of which did, are disks of the machine; nothing is said twice of one.
fn ignored_volumes(report: &Report, devices: &Devices<'_>) -> Result<(), Rejection> {
    for (index, ignored) in report.ignored_volumes.iter().enumerate() {
        let earlier = report.ignored_volumes.iter().take(index);
        let known = devices.iter().any(|one| one.disk.name == ignored.device && one.expected.role != Role::Volume);
        if !known || earlier.clone().any(|other| other == ignored) {
            return Err(Rejection::IgnoredVolume { device: ignored.device.clone() });
        }
    }
    Ok(())
}

/// The system disk, with how it was rewritten; `None` when its root is in a pool, and for a boot.
fn rewritten<'a>(devices: &Devices<'a>, tier: Option<Tier>) -> Option<(&'a str, u64, Tier)> {
    let system = devices.iter().find(|attached| attached.disposition == Disposition::System)?;
    let tier = tier.filter(|_| system.expected.root_pool.is_none())?;
    Some((system.disk.name.as_str(), system.disk.size, tier))
}

/// Only of disks that were compared or wiped whole is there a reading.
fn readings(expected: &Expected, report: &Report, devices: &Devices<'_>) -> Result<(), Rejection> {
    let reimaged = expected.request.action == Action::Reimage;
    let pooled = root_pool(devices).is_some();
    let is_read = |one: &Attached<'_>| match one.expected.role {
        Role::ImageSource => reimaged && pooled,
        _ => {
            one.wipe.is_some()
                || reimaged && one.disposition == Disposition::System && (!pooled || root_wipe(expected, one).is_some())
        }
    };
    let unexpected =
        report.disks.iter().find(|reading| !devices.iter().any(|one| one.disk.name == reading.device && is_read(one)));
    if let Some(reading) = unexpected {
        return Err(Rejection::EvidenceUnexpected { device: reading.device.clone() });
    }
    if report.root.is_some() && !(reimaged && pooled) {
        return Err(Rejection::RootUnexpected);
    }
    Ok(())
}

/// How the system disk is wiped for a new pool.
fn root_wipe(expected: &Expected, attached: &Attached<'_>) -> Option<WipeMethod> {
    attached.expected.root_pool.as_ref()?.wipe(&expected.request, attached.disk)
}

fn evidence<'report>(report: &'report Report, device: &str) -> Result<&'report DiskEvidence, Rejection> {
    let mut found = report.disks.iter().filter(|evidence| evidence.device == device);
    match (found.next(), found.next()) {
        (Some(evidence), None) => Ok(evidence),
        (None, _) => Err(Rejection::EvidenceAbsent { device: device.to_owned() }),
        _ => Err(Rejection::EvidenceTwice { device: device.to_owned() }),
    }
}

/// Gives how it was done, and what was checked, for people.
fn system(
    expected: &Expected,
    report: &Report,
    devices: &Devices<'_>,
) -> Result<(Option<Tier>, &'static str), Rejection> {
    let image = &expected.request.image;
    let (mut whole, mut done) = (true, None);
    if let Some((pool, disk)) = root_pool(devices) {
        return root_files(expected, report, devices, pool, disk);
    }
    for disk in treated(devices, Disposition::System) {
        let evidence = evidence(report, &disk.name)?;
        let device = || disk.name.clone();
        let tier = evidence.tier.filter(|tier| may_be(expected.request.tier, *tier));
        let Some(tier) = tier else {
            return Err(Rejection::Tier { device: device(), asked: expected.request.tier, found: evidence.tier });
        };
        // The host vouches for what its own map or overlay calls unchanged; anything else must have been read.
        let partly = matches!(tier, Tier::Overlay | Tier::Hinted) && evidence.image_root.is_none();
        if evidence.image_root != Some(image.digest) && !partly {
            return Err(Rejection::Image { expected: image.digest, found: evidence.image_root });
        }
        let differed = report.changed.iter().filter(|changed| changed.device == disk.name).map(|changed| changed.bytes);
        let bytes = differed.max().unwrap_or(0);
        if tier == Tier::Overlay && bytes > 0 {
            return Err(Rejection::OverlayDiffered { device: device(), bytes });
        }
        if evidence.table != expected.table {
            return Err(Rejection::Table { device: device(), expected: expected.table, found: evidence.table });
        }
        let covered = evidence.image_size.saturating_add(evidence.zero_bytes);
        let whole_disk = covered == disk.size && evidence.read_bytes == disk.size;
        let unread = if partly { !sampled(expected, tier, evidence, disk) } else { !whole_disk };
        if unread || evidence.disk_size != disk.size || evidence.image_size != image.size {
            let covered = covered.min(evidence.read_bytes);
            return Err(Rejection::Coverage { device: device(), covered, size: disk.size });
        }
        let within = evidence.read_bytes <= disk.size && evidence.zero_bytes <= disk.size.saturating_sub(image.size);
        if !evidence.ranges.is_empty() || !within {
            return Err(Rejection::EvidenceInvalid { device: device() });
        }
        whole &= !partly;
        done = Some(tier);
    }
    let what = match done {
        _ if whole => "system disk: every byte read back, as the image or as zero",
        Some(Tier::Overlay) => {
            "system disk: a fresh overlay; boot head and a sample read, as the image; the host vouches for the rest"
        }
        _ => "system disk: what the host's own map names and a sample read back; the host vouches for the rest",
    };
    Ok((done, what))
}

/// Whether the boot head and the sample that the nonce chose were read, and what a map named besides them.
fn sampled(expected: &Expected, tier: Tier, evidence: &DiskEvidence, disk: &Disk) -> bool {
    let head: u64 = boot_head(disk.size).iter().map(|range| range.length).sum();
    let least = head.saturating_add(sampled_bytes(disk.size, expected.request.nonce.seed()));
    if tier == Tier::Overlay { evidence.read_bytes == least } else { evidence.read_bytes >= least }
}

/// The pool with the root, and its disk.
fn root_pool<'a>(devices: &'a Devices<'_>) -> Option<(&'a RootPool, &'a Disk)> {
    devices.iter().find_map(|attached| Some((attached.expected.root_pool.as_ref()?, attached.disk)))
}

fn root_files(
    expected: &Expected,
    report: &Report,
    devices: &Devices<'_>,
    pool: &RootPool,
    disk: &Disk,
) -> Result<(Option<Tier>, &'static str), Rejection> {
    let source = devices.iter().find(|attached| attached.expected.role == Role::ImageSource);
    let source = source.ok_or(Rejection::Expectation { reason: "a root on zfs needs a disk with the image" })?;
    let tier = root_proof::check(pool, expected, report, disk, evidence(report, &source.disk.name)?)?;
    Ok((Some(tier), ROOT_FILES))
}

/// Whether a machine that was asked for `asked` may have done `found`: never less.
fn may_be(asked: Option<Tier>, found: Tier) -> bool {
    match asked {
        None => matches!(found, Tier::Scan | Tier::Stream),
        // Those are of a root in a pool.
        Some(Tier::Clone | Tier::Receive) => false,
        Some(asked) => found == asked || (asked < found && found == Tier::Scan),
    }
}

/// Gives the methods by which disks were wiped, each proved.
fn wiped(expected: &Expected, report: &Report, devices: &Devices<'_>) -> Result<Vec<WipeMethod>, Rejection> {
    let mut methods = Vec::new();
    for attached in devices {
        let Some(method) = attached.wipe.or_else(|| root_wipe(expected, attached)) else { continue };
        wiped::check(evidence(report, &attached.disk.name)?, attached.disk, method)?;
        methods.push(method);
    }
    partition_steps::wiped(report, devices.iter().filter_map(|one| Some((one.disk, one.table.as_ref()?))))?;
    Ok(methods)
}

/// Whether the image was read from an address. It does not matter for what the disk holds, which has its digests; it
/// matters for what the network saw.
fn image_address(expected: &Expected, report: &Report) -> Result<bool, Rejection> {
    let request = &expected.request;
    let wanted = match (&request.image.source, request.action) {
        (ImageSource::Url(url), Action::Reimage) => Some(url.redacted()),
        _ => None,
    };
    let found = report.image_source.as_ref().map(|source| source.url.clone());
    if wanted != found {
        return Err(Rejection::ImageAddress { expected: wanted, found });
    }
    match &report.image_source {
        Some(source) if source.packed_bytes != expected.packed_size => {
            Err(Rejection::PackedSize { expected: expected.packed_size, found: source.packed_bytes })
        }
        source => Ok(source.is_some()),
    }
}

fn steps(expected: &Expected, report: &Report, devices: &Devices<'_>) -> Result<(), Rejection> {
    let planned = planned(expected, devices)?;
    for (index, step) in planned.iter().enumerate() {
        let id = step.id.to_string();
        match report.steps.get(index) {
            Some(record) if record.id == step.id => done(record, step)?,
            // What stands in its place tells more than that it is missing, when it is somewhere at all.
            Some(record) if report.steps.iter().any(|other| other.id == step.id) => {
                return Err(Rejection::StepUnexpected { id: record.id.to_string() });
            }
            _ => return Err(Rejection::StepAbsent { id }),
        }
    }
    match report.steps.get(planned.len()) {
        Some(extra) => Err(Rejection::StepUnexpected { id: extra.id.to_string() }),
        None => Ok(()),
    }
}

fn done(record: &StepRecord, planned: &PlannedStep) -> Result<(), Rejection> {
    let id = planned.id.to_string();
    if record.step != planned.step {
        return Err(Rejection::StepDiffers { id });
    }
    match &record.outcome {
        Outcome::Changed | Outcome::Unchanged => Ok(()),
        Outcome::Failed { reason } => Err(Rejection::StepFailed { id, reason: reason.clone() }),
    }
}
