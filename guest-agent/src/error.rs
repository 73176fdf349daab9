//! Why the agent stops. Each variant is one doubt that it will not boot over.

use cloud_machine_config::ConfigErrors;
use cloud_machine_disk::DiskError;
use cloud_machine_fetch::FetchError;
use cloud_machine_image::ImageError;
use cloud_machine_plan::PlanError;
use cloud_machine_protocol::{DeviceSelector, Digest, ParseError};
use cloud_machine_recovery::RecoveryError;
use cloud_machine_system::{SystemError, network::NetworkError};

/// A reason to stop.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AgentError {
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    #[error("there is no cloudmachine.token on the kernel command line")]
    TokenAbsent,
    #[error(
        "no disk has a recovery partition with the request of the token on the kernel command line{}",
        if *unreadable { ", and one cannot be read" } else { "" }
    )]
    StagedAbsent { unreadable: bool },
    #[error(
        "the recovery partition of {device} has the request of the token on the kernel command line, which is for another machine, another disk \
         or another place"
    )]
    StagedElsewhere { device: String },
    #[error("{first} and {second} have recovery partitions with the same request")]
    StagedTwice { first: String, second: String },
    #[error("the system disk of the request is not {device}, which has the recovery partition")]
    OtherDisk { device: String },
    #[error(
        "the image has {image} bytes, and the recovery partition begins at byte {room}; it may have {most} partitions besides that one"
    )]
    ImageTooLarge { image: u64, room: u64, most: usize },
    #[error("the token of the request is used")]
    TokenUsed,
    #[error(
        "the recovery partition was started {attempts} times for this request, which failed {failures} times, and the disk is not \
         right yet"
    )]
    TooManyAttempts { attempts: u32, failures: u32 },
    #[error("the staged volume has digest {found} instead of {expected}")]
    StagedVolume { found: Digest, expected: Digest },
    #[error(
        "a reimage has written a part of {device}, or nothing says that it has not, and the firmware did not start the recovery partition that goes on with it"
    )]
    HalfRewritten { device: String },
    #[error("which disk the root lies on cannot be told")]
    RootDiskUnclear,
    #[error("the machine is to be reset, and the kernel refuses")]
    NoReset,
    #[error("there is no cloudmachine.pin: not on {places}")]
    PinAbsent { places: String },
    #[error("the pins of {first} and {second} differ")]
    PinsDiffer { first: &'static str, second: &'static str },
    #[error("the pin on the kernel command line is invalid")]
    PinInvalid(#[source] ParseError),
    #[error("the pin must be a sha256 digest")]
    PinAlgorithm,
    #[error("the pin in {place} is invalid")]
    FirmwarePin {
        place: &'static str,
        #[source]
        source: ParseError,
    },
    #[error("no device has a volume labelled CLOUD-INIT; devices found: {found}")]
    VolumeAbsent { found: String },
    #[error("no volume labelled CLOUD-INIT matches the pin {pin}; {candidates}")]
    VolumeNotPinned { pin: Digest, candidates: String },
    #[error("two volumes match the pin: {first} and {second}")]
    VolumeTwice { first: String, second: String },
    #[error("{file} on the volume has format version {found}, this agent reads version {known}")]
    UnknownVersion { file: &'static str, found: u32, known: u32 },
    #[error("{file} on the volume is invalid")]
    InvalidFile {
        file: &'static str,
        #[source]
        source: serde_json::Error,
    },
    #[error("the manifest on the volume is invalid")]
    Manifest(#[source] ImageError),
    #[error("cannot write the partition table of /dev/{device}")]
    Table {
        device: String,
        #[source]
        source: ImageError,
    },
    #[error("the configuration is refused:\n{0}")]
    Config(ConfigErrors),
    #[error("user-data and cloud-machine/layers.json on the volume say different things")]
    LayersDiffer,
    #[error("the document from {url} has digest {found} instead of {expected}")]
    UrlDocument { url: String, expected: Digest, found: Digest },
    #[error("the image at {url} cannot be opened")]
    ImageAddress {
        url: String,
        #[source]
        source: FetchError,
    },
    #[error("there is no network to fetch anything over")]
    Network(#[source] NetworkError),
    #[error("the document of cloud-init-url was not fetched")]
    Fetch(#[source] FetchError),
    #[error("no disk matches {device} for a drive; devices found: {found}")]
    DriveAbsent { device: DeviceSelector, found: String },
    #[error("two volumes could be the drive: {first} and {second}")]
    DriveTwice { first: String, second: String },
    #[error("{device} cannot be used as a drive: {reason}")]
    DriveUnfit { device: String, reason: String },
    #[error("cannot read the drive {device}")]
    Drive {
        device: String,
        #[source]
        source: SystemError,
    },
    #[error("`require` names `{key}`: {why}")]
    Required { key: String, why: String },
    #[error("the identity is for machine {identity}, the request for {request}")]
    OtherMachine { identity: String, request: String },
    #[error("the plan is refused")]
    Plan(#[source] PlanError),
    #[error("/dev/{device} is not the image")]
    ImageDisk {
        device: String,
        #[source]
        source: ImageError,
    },
    #[error("{count} files of the pool are not those of the image: {names}; `--strategy rewrite` makes the pool anew")]
    RootDiffers { count: usize, names: String },
    #[error("cannot reimage /dev/{device}")]
    Reimage {
        device: String,
        #[source]
        source: ImageError,
    },
    #[error("cannot use the system disk")]
    Disk(#[from] DiskError),
    #[error("the host's overlay on {device} does not hold the image: {bytes} bytes differ")]
    OverlayDiffers { device: String, bytes: u64 },
    #[error("the system disk was not verified in this attempt")]
    NotVerified,
    #[error("cannot keep the SSH host key: the host sent none")]
    HostKeyAbsent,
    #[error("cannot make an SSH host key")]
    HostKey(#[source] ssh_key::Error),
    #[error(
        "the configuration has addresses for the network interface, and nobody in the image sets them: neither systemd-networkd nor NetworkManager is enabled"
    )]
    NetworkUnset,
    #[error("the identity of the machine has no hardware address for its network interface {name}")]
    NoMac {
        /// Its name in the configuration.
        name: String,
    },
    #[error(
        "the image has /.autorelabel, with which its system labels all files and reboots, and a reboot ends the machine: start that system once elsewhere, and pack it after that"
    )]
    Relabels,
    #[error("cannot fetch anything in a VLAN: the interface is put into it by the new system")]
    Vlan,
    #[error("the configuration has keys for cloud-init ({keys}), and the image has no cloud-init")]
    CloudInitAbsent { keys: String },
    #[error("the configuration has settings below docker.engine, and the image has no docker")]
    DockerAbsent,
    #[error(
        "the configuration has docker.engine.env, and the image has no docker.service of systemd that would read it"
    )]
    DockerUnitAbsent,
    #[error(
        "the configuration has docker.swarm, and the image has not all of dockerd, docker and docker.service of systemd"
    )]
    SwarmDockerAbsent,
    #[error(
        "the configuration has docker.swarm, and the image has neither perl nor curl, which hand the token to docker"
    )]
    SwarmSenderAbsent,
    #[error("the configuration has settings below rancher.{program}, and the image has no {program}")]
    RancherAbsent { program: &'static str },
    #[error("the configuration has settings below rancher.{program}, and the image has no {unit} of systemd")]
    RancherUnitAbsent { program: &'static str, unit: &'static str },
    #[error(
        "cannot hand over to the image's cloud-init: {file} {why}; take it out of the image, or mend it there, and pack the image again"
    )]
    ImageSettings { file: String, why: String },
    #[error("cannot encode a message to the host")]
    Encode(#[source] serde_json::Error),
    #[error("the host's answer is invalid")]
    Answer(#[source] serde_json::Error),
    #[error("the host's answer carries the nonce of another attempt")]
    ForeignNonce,
    #[error("the host said something else than {expected}")]
    OutOfTurn { expected: &'static str },
    #[error("the host names {found} over the port, and {stated} on its volume")]
    OtherAddress { stated: String, found: String },
    #[error("the host's volume has {bytes} bytes, and at most {limit} are read")]
    VolumeTooLarge { bytes: u64, limit: u64 },
    #[error("/dev/{device} is in use: {holders}")]
    InUse { device: String, holders: String },
    #[error(
        "the step {step} is of a machine whose system is started from the agent's own initramfs: it cannot be done on a rescue system"
    )]
    NotOnRescueSystem { step: String },
    #[error("a boot is no matter of a rescue system: the machine's own system starts from its disk")]
    BootOnRescueSystem,
    #[error("the rescue system has no {program}: install it there, or take a rescue system that has it")]
    RescueProgram { program: String },
    #[error("there is no host that could ask for anything")]
    NoHost,
    #[error("there is no policy {file}: name one that is there, or leave --policy out for that of the image")]
    PolicyAbsent { file: String },
    #[error("the policy of the image is refused:\n{0}")]
    Policy(ConfigErrors),
    #[error(
        "the initramfs has modules of the kernel {found} and none of {running}, which runs: disks and the volume may go unseen; make the initramfs of that kernel anew"
    )]
    OtherKernel { running: String, found: String },
    #[error("no volume labelled CLOUD-INIT counts, and the policy of the image requires one; {candidates}")]
    VolumeRequired { candidates: String },
    #[error("two volumes labelled CLOUD-INIT count: {first} and {second}; detach one of them")]
    VolumesCount { first: String, second: String },
    #[error("cannot read {file} of the volume")]
    VolumeFile {
        /// Device and name, as a path.
        file: String,
        #[source]
        source: SystemError,
    },
    #[error(
        "there is neither a volume that counts nor an address, and the policy of the image says `without-configuration: stop`"
    )]
    Unconfigured,
    #[error("{url} is a file of a host, and there is none: put the document on the volume, or behind an https address")]
    FileOfHost { url: String },
    #[error("the policy of the image does not allow to read {url}: its address does not begin with one of {allowed}")]
    AddressForbidden { url: String, allowed: String },
    #[error(
        "{found} network interfaces could be used to fetch {url}: name the right one's hardware address in `resources.nic.mac`"
    )]
    Interfaces { found: usize, url: String },
    #[error("the policy of the image does not let {device} be wiped: its `wipe` is {wipe}")]
    WipeForbidden { device: String, wipe: String },
    #[error(
        "the policy of the image does not let {filesystem} be made: add it to `filesystems` and make the initramfs anew"
    )]
    FilesystemForbidden { filesystem: String },
    #[error("/etc/hostid has {bytes} bytes instead of 4")]
    Hostid { bytes: usize },
    #[error(
        "the configuration has keys for cloud-init ({keys}), and the system has no cloud-init: install it, or leave them out"
    )]
    OwnCloudInitAbsent { keys: String },
    #[error(
        "the machine has no UUID in its firmware, and its initramfs no /etc/hostid: a pool needs one of them, to know its machine again"
    )]
    NoHostid,
    #[error("the process that started this one has ended")]
    NoParent,
    #[error(
        "another agent, process {process}, or a program that it started still works on this machine and does not end: reset the rescue system"
    )]
    OtherAgent { process: String },
    #[error("the host refused the report: {reason}")]
    Refused { reason: String },
    #[error(transparent)]
    System(#[from] SystemError),
}
