//! Why a report was not accepted. Owns the wording; must not decide.

use cloud_machine_protocol::{Action, Digest, ImageEvidence, Method, Nonce, SecretPolicy, Tier, escaped};

/// Why a report was not accepted: one variant for each check. A rejected report proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The host's own expectation is not one of an attempt, so nothing could be concluded from any report.
    #[error("the expectation of the attempt is not complete: {reason}")]
    Expectation {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The report has a format of another version.
    #[error("the report has format version {found} instead of {expected}")]
    Version {
        /// Version that is understood.
        expected: u32,
        /// Version of the report.
        found: u32,
    },
    /// The machine read another address than the configured one, or none, or one that nobody configured.
    #[error("the machine read its document from {} instead of {}", address(found), address(expected))]
    Url {
        /// Address of the configuration.
        expected: Option<String>,
        /// Address of the report.
        found: Option<String>,
    },
    /// The machine read its image from another address than the requested one, or none, or one that nobody requested.
    #[error("the machine read its image from {} instead of {}", address(found), address(expected))]
    ImageAddress {
        /// Address of the request.
        expected: Option<String>,
        /// Address of the report.
        found: Option<String>,
    },
    /// The document behind the address is another one.
    #[error("the document from {url:?} has digest {found} instead of {expected}")]
    UrlDocument {
        /// The address.
        url: String,
        /// Digest of the configuration.
        expected: Digest,
        /// Digest of the report.
        found: Digest,
    },
    /// The machine read other drives than the attached ones.
    #[error("the machine read drives {} instead of {}", digests(found), digests(expected))]
    Drives {
        /// Digests of the request.
        expected: Vec<Digest>,
        /// Digests of the report.
        found: Vec<Digest>,
    },
    /// Nothing is said of the files of a root in a pool.
    #[error("the report says nothing about the files of the root")]
    RootAbsent,
    /// The root in a pool is not the files of the image.
    #[error("the root {dataset:?} has the files {files}, the image {image}")]
    RootDiffers {
        /// Dataset of the report.
        dataset: String,
        /// Digest of the image's files.
        image: Digest,
        /// Digest of the root's files.
        files: Digest,
    },
    /// The agent itself says that the attempt failed.
    #[error("the attempt failed{}: {}", step.as_ref().map(|step| format!(" in step {step:?}")).unwrap_or_default(), shown(causes))]
    Failed {
        /// The step, when one had begun.
        step: Option<String>,
        /// Outermost cause first.
        causes: Vec<String>,
    },
    /// The report answers another request.
    #[error("the report is about request {found:?} instead of {expected:?}")]
    RequestId {
        /// Id that was asked.
        expected: String,
        /// Id of the report.
        found: Option<String>,
    },
    /// The report answers another attempt.
    #[error("the report has the nonce of another attempt")]
    Nonce {
        /// Nonce of this attempt.
        expected: Nonce,
        /// Nonce of the report.
        found: Option<Nonce>,
    },
    /// The report is of another machine.
    #[error("the report is of machine {found:?} instead of {expected:?}")]
    MachineUuid {
        /// UUID that was asked.
        expected: String,
        /// UUID of the report.
        found: Option<String>,
    },
    /// Something else was done than asked.
    #[error("the report is about the action {found:?} instead of {expected:?}")]
    Action {
        /// Action that was asked.
        expected: Action,
        /// Action of the report.
        found: Option<Action>,
    },
    /// Nothing is said of the image that was asked for.
    #[error("the report says nothing about the generation of the image")]
    GenerationAbsent,
    /// The agent saw another generation of the image, or another rule about it, than the host gave it.
    #[error("the agent saw generation {} of the image and {}, instead of generation {} and {}",
        found.generation, rules(found), expected.generation, rules(expected))]
    Generation {
        /// What the host gave.
        expected: ImageEvidence,
        /// What the report says.
        found: ImageEvidence,
    },
    /// The image is older than the request allows.
    #[error("the image is of generation {found}, the request allows none below {minimum}")]
    GenerationLow {
        /// Lowest generation in the request.
        minimum: u64,
        /// Generation of the image.
        found: u64,
    },
    /// The report names no volume.
    #[error("the report says nothing about the configuration that was applied")]
    VolumeAbsent,
    /// The agent read another volume.
    #[error("the agent read {} instead of {expected}", found.map_or("no volume".to_owned(), |found| format!("the volume {found}")))]
    Volume {
        /// Digest of the host's volume.
        expected: Digest,
        /// Digest in the report, if there is one.
        found: Option<Digest>,
    },
    /// Another program than the host's agent reports.
    #[error("the report is made by the agent {found} instead of {expected}")]
    Agent {
        /// Digest of the host's agent.
        expected: Digest,
        /// Digest in the report.
        found: Digest,
    },
    /// Nothing says which program reports.
    #[error("the report does not say which agent made it, instead of {expected}")]
    AgentUnknown {
        /// Digest of the host's agent.
        expected: Digest,
    },
    /// The kernel was started with other arguments.
    #[error("the kernel command line has the digest {found} instead of {expected}")]
    CommandLine {
        /// Digest of the host's command line.
        expected: Digest,
        /// Digest in the report.
        found: Digest,
    },
    /// Another kernel reports.
    #[error("the kernel is {found:?} instead of {expected:?}")]
    KernelRelease {
        /// Release of the host's kernel.
        expected: String,
        /// Release in the report.
        found: String,
    },
    /// The boot has no name.
    #[error("the report has the boot id {found:?}, which is not one of a kernel")]
    BootId {
        /// Boot id in the report.
        found: String,
    },
    /// The agent read another document.
    #[error("the document on the volume has the digest {found} instead of {expected}")]
    Document {
        /// Digest of the host's document.
        expected: Digest,
        /// Digest in the report.
        found: Digest,
    },
    /// A value is said to come from elsewhere.
    #[error("the value of {key:?} is said to come from {found:?} instead of {expected:?}")]
    Origin {
        /// Path of the key.
        key: String,
        /// Where the host has it from.
        expected: Option<String>,
        /// Where the report has it from.
        found: Option<String>,
    },
    /// The host put the document on the volume, so nobody had to ask for it.
    #[error("the machine asked the network for the document {url:?}, which the host gave it")]
    UrlRequests {
        /// The address.
        url: String,
    },
    /// A document was read from a device that is not the drive.
    #[error("the drive was read from the device {device:?}, which is not the one")]
    DriveDevice {
        /// Kernel name.
        device: String,
    },
    /// The image at the address has another size.
    #[error("the packed image has {found} bytes instead of {expected}")]
    PackedSize {
        /// Bytes of the host's copy.
        expected: u64,
        /// Bytes in the report.
        found: u64,
    },
    /// A device is not attached as the host attached it.
    #[error("the device {device:?} is not as the host attached it: {what}")]
    DeviceDiffers {
        /// Kernel name.
        device: String,
        /// In what.
        what: &'static str,
    },
    /// Something else was done with a device.
    #[error("with the device {device:?} was done `{}` instead of `{expected}`", found.to_string().escape_debug())]
    Method {
        /// Kernel name.
        device: String,
        /// What had to be done.
        expected: Box<Method>,
        /// What the report says.
        found: Box<Method>,
    },
    /// A volume that did not count is no device of the machine.
    #[error("the report passes over a volume on {device:?}, which is not a device that it could be on, or twice")]
    IgnoredVolume {
        /// Kernel name.
        device: String,
    },
    /// A reading of a disk that nobody reads.
    #[error("the report has a reading of {device:?}, which was not to be read")]
    EvidenceUnexpected {
        /// Kernel name.
        device: String,
    },
    /// A reading that cannot be.
    #[error("the reading of the system disk {device:?} has more bytes than the disk, or ranges of its own")]
    EvidenceInvalid {
        /// Kernel name.
        device: String,
    },
    /// Files of a root where there is no pool.
    #[error("the report has files of a root in a pool, and there is none")]
    RootUnexpected,
    /// What had changed cannot be so.
    #[error("the changes that the report lists of the disk {device:?} cannot be: {reason}")]
    Changes {
        /// Kernel name.
        device: String,
        /// Why.
        reason: &'static str,
    },
    /// The bytes of a step do not agree with the rest of the report.
    #[error("the byte counts of the step {id:?} cannot be: {reason}")]
    StepBytes {
        /// Id of the step.
        id: String,
        /// The rule that does not hold.
        reason: &'static str,
    },
    /// What is not covered does not follow from the devices.
    #[error("what the report says it does not cover does not follow from its devices")]
    NotCovered,
    /// The system disk was made equal to the image in another way than was asked, with less proof.
    #[error("the system disk {device:?} was made in the way {} instead of {}", tier(found), tier(asked))]
    Tier {
        /// Kernel name.
        device: String,
        /// What was asked.
        asked: Option<Tier>,
        /// What was done.
        found: Option<Tier>,
    },
    /// A fresh overlay had to be like the image, and was not.
    #[error("the system disk {device:?} is a fresh overlay and {bytes} bytes of it had differed from the image")]
    OverlayDiffered {
        /// Kernel name.
        device: String,
        /// Bytes.
        bytes: u64,
    },
    /// The partition table of the system disk is not the one for a disk of its size.
    #[error(
        "the partition table of {device:?} has digest {} instead of {}",
        shown_digest(found),
        shown_digest(expected)
    )]
    Table {
        /// Kernel name.
        device: String,
        /// Digest of the host's own.
        expected: Option<Digest>,
        /// Digest in the report.
        found: Option<Digest>,
    },
    /// A device that nobody declared.
    #[error("the machine has the undeclared device {device:?}")]
    Undeclared {
        /// Kernel name.
        device: String,
    },
    /// A device that the host did not attach.
    #[error("the machine has the device {device:?} that the host did not attach")]
    Unattached {
        /// Kernel name.
        device: String,
    },
    /// Two devices that claim to be one.
    #[error("the report lists two devices with the name {device:?} or its serial")]
    DeviceTwice {
        /// Kernel name.
        device: String,
    },
    /// A device that the host attached was not found.
    #[error("the report lacks the attached device with serial {serial:?}")]
    DeviceAbsent {
        /// Serial.
        serial: String,
    },
    /// A device was taken for something else.
    #[error("the device {device:?} was not taken for what it is")]
    Role {
        /// Kernel name.
        device: String,
    },
    /// Nothing is said of what a disk holds.
    #[error("the report has no reading of the disk {device:?}")]
    EvidenceAbsent {
        /// Kernel name.
        device: String,
    },
    /// One disk, two readings.
    #[error("the report has two readings of the disk {device:?}")]
    EvidenceTwice {
        /// Kernel name.
        device: String,
    },
    /// The system disk does not hold the requested image.
    #[error("the system disk holds the image {found:?} instead of {expected}")]
    Image {
        /// Digest in the request.
        expected: Digest,
        /// Digest that was read.
        found: Option<Digest>,
    },
    /// Not every byte of the system disk was read.
    #[error("the reading of the system disk {device:?} covers {covered} of {size} bytes")]
    Coverage {
        /// Kernel name.
        device: String,
        /// Bytes that were read as image or as zero.
        covered: u64,
        /// Bytes of the disk.
        size: u64,
    },
    /// A disk that should be zero is not known to be.
    #[error("of the wiped disk {device:?} {zero} of {size} bytes were read as zero")]
    NotWiped {
        /// Kernel name.
        device: String,
        /// Bytes that were read as zero.
        zero: u64,
        /// Bytes of the disk.
        size: u64,
    },
    /// The ranges of a reading are not what they can be.
    #[error("the ranges that were read of {device:?} overlap, are not on it or are not as many bytes as were read")]
    RangesInvalid {
        /// Kernel name.
        device: String,
    },
    /// A place of signatures is not known to be zero.
    #[error("of {device:?} the place of signatures at byte {offset} is not among what was read as zero")]
    SignaturesLeft {
        /// Kernel name.
        device: String,
        /// First byte of the place.
        offset: u64,
    },
    /// A step did not begin.
    #[error("the step {id:?} is not in the report")]
    StepAbsent {
        /// Id of the step.
        id: String,
    },
    /// A step that nobody planned, or one that is out of order.
    #[error("the report has the step {id:?} where none or another was expected")]
    StepUnexpected {
        /// Id of the step.
        id: String,
    },
    /// A machine came up with a disk that had to be refused.
    #[error("the disk {device} holds something else than the filesystem that it must hold, and was not refused")]
    Content {
        /// Kernel name.
        device: String,
    },
    /// A step was not the planned one.
    #[error("the step {id:?} was not done as planned")]
    StepDiffers {
        /// Id of the step.
        id: String,
    },
    /// A step failed although the report says that all is well.
    #[error("the step {id:?} failed: {reason:?}")]
    StepFailed {
        /// Id of the step.
        id: String,
        /// Why.
        reason: String,
    },
    /// An item of identity is not reported.
    #[error("the report lacks the identity item {name:?}")]
    IdentityAbsent {
        /// Name of the item.
        name: String,
    },
    /// An item of identity is reported twice.
    #[error("the report has the identity item {name:?} twice")]
    IdentityTwice {
        /// Name of the item.
        name: String,
    },
    /// The machine was given another identity.
    #[error("the identity item {name:?} is {found:?} instead of {expected:?}")]
    IdentityDiffers {
        /// Name of the item.
        name: String,
        /// What was handed over.
        expected: String,
        /// What the report says.
        found: String,
    },
    /// An item was not treated as its policy says.
    #[error("the identity item {name:?} has the policy {found} instead of {expected}")]
    IdentityPolicy {
        /// Name of the item.
        name: String,
        /// Policy of the host.
        expected: SecretPolicy,
        /// Policy in the report.
        found: SecretPolicy,
    },
    /// An item that nobody handed over.
    #[error("the report has the identity item {name:?}, which was not handed over")]
    IdentityUnexpected {
        /// Name of the item.
        name: String,
    },
    /// The new host key cannot be a key of this machine.
    #[error(
        "the SSH host key is not one line of a usable ssh-ed25519 public key with the machine's name as its comment"
    )]
    HostKey,
    /// The host key is the one that an earlier job could read.
    #[error("the SSH host key was not rotated")]
    HostKeyKept,
}

/// Texts of the machine are shown escaped: they may end on a terminal.
fn address(address: &Option<String>) -> String {
    address.as_ref().map_or_else(|| "no address".to_owned(), |address| format!("{address:?}"))
}

fn rules(image: &ImageEvidence) -> String {
    let exceptions: Vec<String> = image.exceptions.iter().map(ToString::to_string).collect();
    let exceptions = if exceptions.is_empty() { "none".to_owned() } else { exceptions.join(", ") };
    format!("a minimum of {} (exceptions: {exceptions})", image.minimum_generation)
}

fn digests(digests: &[Digest]) -> String {
    let list: Vec<String> = digests.iter().take(8).map(ToString::to_string).collect();
    if list.is_empty() { "none".to_owned() } else { list.join(", ") }
}

fn shown(causes: &[String]) -> String {
    if causes.is_empty() {
        return "no cause given".to_owned();
    }
    causes.iter().map(|cause| escaped(cause)).collect::<Vec<_>>().join(": ")
}

fn tier(tier: &Option<Tier>) -> &'static str {
    tier.map_or("none", Tier::as_str)
}

fn shown_digest(digest: &Option<Digest>) -> String {
    digest.map_or_else(|| "of the image".to_owned(), |digest| digest.to_string())
}
