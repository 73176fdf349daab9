//! What is known besides a failure, or would help: values, so that each front end says it in its own words and names its own
//! commands. Must not hold a sentence that names one front end.

use std::path::PathBuf;

use cloud_machine_driver::machine::Trouble;
use cloud_machine_fetch::FetchError;
use cloud_machine_protocol::{Assurance, MachineName};
use cloud_machine_store::ImageName;

/// One thing that is known besides a failure, or that would help.
#[derive(Clone, Debug, PartialEq)]
pub enum Hint {
    // What is known besides.
    /// Something else went wrong while the failure was dealt with.
    Also(String),
    /// Units that the machine's system says have failed.
    FailedUnits(Vec<String>),
    /// The last lines of the console, safe to show.
    ConsoleEnd(String),
    /// The console holds nothing.
    ConsoleEmpty,
    /// The console cannot be read, and why.
    ConsoleUnreadable(String),
    /// The machine stands still.
    Paused(Trouble),
    /// Where the refused report is.
    RefusedReport(PathBuf),
    /// The refused report could not be kept, and why.
    RefusedReportLost(String),
    /// What runs in the machine may have made its SSH its own.
    HeldByJob,
    /// What the assurance that was found does not cover.
    NotCovered(Assurance),
    /// An older record may have been put back.
    OlderRecord,
    /// Machines whose system disk is backed by the golden disk in this folder.
    GoldenDiskUsers {
        /// Their names.
        machines: Vec<String>,
        /// The golden disk's folder; without it the disk is made again.
        folder: PathBuf,
    },

    // What would help, about a machine.
    /// A kept disk cannot be used as it is: it can be repaired on this host while the machine is off, or given up with the machine,
    /// whose description does not change.
    KeptDisk {
        /// Which machine.
        machine: MachineName,
        /// Which disk.
        disk: String,
        /// Its file.
        file: PathBuf,
    },
    /// The host key that this machine keeps is lost: it can be put back, or the machine made again with another one.
    KeptHostKey(MachineName),
    /// Attempts failed too often: an operator must release the machine.
    Quarantined {
        /// Which.
        machine: MachineName,
        /// How many attempts failed now; `None` when that was earlier.
        failures: Option<u32>,
    },
    /// A reimage makes the machine new.
    Reimage(MachineName),
    /// A provider may have made something that is not recorded.
    MayBeLeft,
    /// A reimage has the provider keep the clean disk.
    Snapshot(MachineName),
    /// A reimage makes a new report.
    ReimageForReport(MachineName),
    /// The next reimage begins a new chain of reports and says so; what was lost stays lost.
    NewChain(MachineName),
    /// A reimage with this image takes the one that is installed now.
    ReimageWith {
        /// Which machine.
        machine: MachineName,
        /// Which image.
        image: ImageName,
    },
    /// Once the host can serve it, a start lets the machine go on; a reimage makes it new.
    StartOrReimage(MachineName),
    /// A stop, which the machine's system hears without a network, and then a start make it whole again.
    StopAndStart(MachineName),
    /// A machine that is connected to a network can do it.
    ConnectMachine,
    /// A machine to which the host's loopback interface is open can do it.
    OpenHost,
    /// Whatever a machine fetches is to be at an address that leads it elsewhere, or a document in a file of this host.
    ServeElsewhere,
    /// The host's bridge can be in the VLAN in place of the machine.
    VlanOfHost,
    /// A start starts it.
    Start(MachineName),
    /// The machine exists with another description.
    OtherDescription(MachineName),
    /// The machine was made by a program that has this driver; only such a one can work on it.
    DriverOfRecord(String),
    /// A driver of machines that are there already can adopt one.
    AdoptingDriver,
    /// The settings of this driver have to be where they were.
    RestoreSettings(&'static str),
    /// The control has to be that of this machine.
    OtherControl,
    /// A machine that is there already is adopted.
    AdoptInstead,
    /// The machine is made by another call of the same.
    Create(MachineName),
    /// The machine is adopted by another call of the same.
    Adopt(MachineName),
    /// The configuration can name each disk by what the machine calls it.
    NameDisk,
    /// The disk of the machine can be given a serial.
    GiveSerial,
    /// The configuration can name the interface by its hardware address.
    NameMac,
    /// Somebody else may answer, or the machine has a new host key, which its owner can tell.
    OtherHostKey,
    /// The owner of the machine can say that this fingerprint is its host key's.
    PinHostKey(String),
    /// Another operation has to end first.
    WaitForOther,
    /// Somebody has a lease on the machine.
    NameLease,
    /// The lease that was named holds no longer.
    TakeLease,
    /// The machines that there are.
    ListMachines,
    /// Whether this process has ended; then try again as who started the machine.
    LookAtProcess(i32),
    /// Try again as who started the machine, where all processes of the host are shown.
    SeeAllProcesses,
    /// A configuration may say that an answer over SSH is all that is waited for.
    WaitForSsh,
    /// Make room here, or use another state folder.
    MakeRoom(PathBuf),
    /// The file system of this file is full, or the user's share of it.
    FullFileSystem(PathBuf),

    // What would help, about an image.
    /// The images that there are.
    ListImages,
    /// The configuration or the caller names the image.
    NameImage,
    /// The image has to be packed again under the name that it is to have.
    PackUnderItsName,
    /// A file of leases that cannot be read may be removed when nobody has one.
    RemoveLease(PathBuf),
    /// Packing an image takes the agent of this program.
    PackWithThisAgent,
    /// A newer build has to have a higher generation, or an operator allows the older one.
    HigherGeneration,
    /// A newer build has to have a higher generation, or it replaces the other one.
    HigherGenerationOrReplace,
    /// An operator may allow an older image; what comes back is better packed with a higher generation.
    AllowDowngrade,
    /// The image has to be packed with a higher generation, or an operator allows the downgrade for this machine.
    AllowDowngradeOf {
        /// Which machine.
        machine: MachineName,
        /// Which image.
        image: ImageName,
    },
    /// An operator may allow the image as it is.
    AllowUnsigned,
    /// The image can be signed with a key of the operator.
    Sign(String),

    // What would help, about the configuration or the host.
    /// This disk can be found by its serial.
    FindBySerial(String),
    /// Another hardware address is needed, or none given, unless this machine goes.
    OtherMac(MachineName),
    /// A disk needs a size.
    Allocate,
    /// A larger disk, or none given: then it is as large as the image.
    AllocateMore,
    /// A read-only disk needs a source.
    NameSource,
    /// A root on ZFS is asked for at the system disk.
    RootOnZfs,
    /// A root on ZFS needs the packed image on this host.
    NoImageAddress,
    /// Where each value was set.
    Audit,
    /// A volume with the right label can be built.
    BuildVolume,
    /// What the machine's driver says would help, in its own words.
    OfDriver(String),
    /// A Debian package brings the programs that are missing.
    Install {
        /// The package.
        package: &'static str,
        /// What it brings.
        programs: &'static str,
    },

    // What would help, about an address.
    /// The image has to be on a server that serves ranges, or on this host.
    ServeRanges,
    /// Every build of an image needs an address of its own.
    OwnAddress,
    /// An authority of the operator's own can be named.
    NameAuthority,
}

impl Hint {
    /// What would help against an error of the network.
    #[must_use]
    pub fn of_fetch(error: &FetchError) -> Option<Self> {
        match error {
            FetchError::GaveUp { source, .. } => Self::of_fetch(source),
            FetchError::NoRanges { .. } => Some(Self::ServeRanges),
            FetchError::FileChanged { .. } => Some(Self::OwnAddress),
            FetchError::Certificate { .. } => Some(Self::NameAuthority),
            _ => None,
        }
    }
}
