//! What is known besides a failure, or would help, in the words of this program: its commands and flags. Must not decide
//! anything.

use cloud_machine_operation::Hint;

/// One hint as a line, or as lines where it quotes. A table of words: every hint has some, or this does not compile.
pub(crate) fn text(hint: &Hint) -> String {
    match hint {
        Hint::Also(causes) => format!("also: {causes}"),
        Hint::FailedUnits(units) => format!("the console says: {}", units.join("; ")),
        Hint::ConsoleEnd(tail) => format!("the console ends with\n{tail}"),
        Hint::ConsoleEmpty => "the console is empty".to_owned(),
        Hint::ConsoleUnreadable(why) => format!("the console cannot be read: {why}"),
        Hint::Paused(trouble) => format!("the machine is paused: {trouble}"),
        Hint::RefusedReport(path) => format!("the refused report is kept as {}", path.display()),
        Hint::RefusedReportLost(why) => format!("the refused report could not be kept: {why}"),
        Hint::HeldByJob => "what runs there may have made its SSH its own: a reimage ends that".to_owned(),
        Hint::NotCovered(level) => format!(
            "{level} does not cover {}; who accepts that asks for it with `--require-assurance {level}`",
            level.does_not_cover()
        ),
        Hint::OlderRecord => "an older record may have been put back".to_owned(),
        Hint::GoldenDiskUsers { machines, folder } => {
            let machines = if machines.is_empty() { "none".to_owned() } else { machines.join(", ") };
            let folder = folder.display();
            format!(
                "machines backed by it: {machines}; without {folder} it is made again, and `--strategy rewrite` needs none"
            )
        }
        Hint::KeptDisk { machine, disk, file } => format!(
            "the disk `{disk}` is {} on this host: repair it there, then `cloud-machine reimage {machine}`; or delete the machine \
             and create it again with `overwrite: true` for that disk, which gives its content up",
            file.display()
        ),
        Hint::KeptHostKey(machine) => format!(
            "put it back from a backup of the state folder; or delete {machine} and create it again, which gives it another key"
        ),
        Hint::Quarantined { machine, failures: Some(failures) } => format!(
            "{failures} attempts failed: {machine} is quarantined until `cloud-machine reimage {machine} --release`"
        ),
        Hint::Quarantined { machine, failures: None } => format!(
            "`cloud-machine console {machine}` shows why; `cloud-machine reimage {machine} --release` tries again"
        ),
        Hint::Reimage(machine) => format!("`cloud-machine reimage {machine}` makes it new"),
        Hint::MayBeLeft => "`cloud-machine gc` lists what the provider may have made of it".to_owned(),
        Hint::Snapshot(machine) => {
            format!("`cloud-machine reimage {machine} --snapshot --require-assurance provider-rooted` has it keep the disk of that reimage")
        }
        Hint::ReimageForReport(machine) => format!("`cloud-machine reimage {machine}` makes a new report"),
        Hint::NewChain(machine) => {
            format!(
                "somebody changed it or it was lost; `cloud-machine reimage {machine}` begins a new chain, and says so"
            )
        }
        Hint::ReimageWith { machine, image } => {
            format!("`cloud-machine reimage {machine} --image {image}` takes the new one")
        }
        Hint::StartOrReimage(machine) => format!(
            "once the host can serve it, `cloud-machine start {machine}` lets it go on; `cloud-machine reimage {machine}` \
             makes it new"
        ),
        Hint::StopAndStart(machine) => format!(
            "`cloud-machine stop {machine}`, which its system hears in any case, and then `cloud-machine start {machine}`"
        ),
        Hint::Start(machine) => format!("`cloud-machine start {machine}` starts it"),
        Hint::OtherDescription(machine) => {
            format!("`cloud-machine show {machine}` shows how; delete it first, or choose another name")
        }
        Hint::DriverOfRecord(driver) => format!(
            "a cloud-machine that has driver {driver} made the machine: use that one, also to stop or delete it; \
             `cloud-machine --version` shows which one this is"
        ),
        Hint::AdoptingDriver => "give --driver ssh, or `driver: ssh` below `cloud-machine:`".to_owned(),
        Hint::RestoreSettings(driver) => {
            format!("put back drivers/{driver}.yaml below ~/.config/cloud-machine or /etc/cloud-machine, then delete again")
        }
        Hint::OtherControl => "give the control of this machine with --control".to_owned(),
        Hint::AdoptInstead => "`cloud-machine adopt NAME --ssh HOST` takes a machine over that is there".to_owned(),
        Hint::Create(machine) => {
            format!("`cloud-machine create {machine}` as before goes on with it; `cloud-machine delete {machine}` gives it up")
        }
        Hint::Adopt(machine) => {
            format!("`cloud-machine adopt {machine}` as before goes on with it; `cloud-machine delete {machine}` forgets it")
        }
        Hint::NameDisk => "write `devicepath: serial:SERIAL` for each disk of it below `resources.disks`; `disks-undeclared: ignore` \
             leaves the others alone"
            .to_owned(),
        Hint::GiveSerial => {
            "give the disk one where the machine is defined: QEMU `-device virtio-blk-pci,drive=ID,serial=NAME`, libvirt `<serial>`"
                .to_owned()
        }
        Hint::NameMac => "write its hardware address as `resources.nic.mac`".to_owned(),
        Hint::OtherHostKey => {
            "somebody else may answer there; if its owner gave it a new key, give that one's fingerprint as --host-key".to_owned()
        }
        Hint::PinHostKey(print) => {
            format!("compare it with what the machine's owner or console says, then give --host-key {print}")
        }
        Hint::WaitForOther => "wait for it to end, then try again".to_owned(),
        Hint::NameLease => {
            "if the lease is yours, name it with `--lease NUMBER`; `cloud-machine lease list` shows all".to_owned()
        }
        Hint::TakeLease => "take a new one with `cloud-machine lease take`, if nobody else has".to_owned(),
        Hint::ListMachines => "see `cloud-machine list`; `cloud-machine create` makes one".to_owned(),
        Hint::LookAtProcess(pid) => {
            format!("look at it with `ps -fp {pid}`; once it has ended, try again as the user who started the machine")
        }
        Hint::SeeAllProcesses => {
            "try again as the user who started the machine, where all processes of this host are shown".to_owned()
        }
        Hint::ConnectMachine => {
            "create it with `resources.nic.network`: user, {bridge: NAME} or {tap: NAME}".to_owned()
        }
        Hint::OpenHost => {
            "create it with `resources.nic.host-access: true`, or serve it at another address of this host".to_owned()
        }
        Hint::ServeElsewhere => {
            "serve it at an address of this host that the machine reaches; a document can be a file: address of this host, too".to_owned()
        }
        Hint::VlanOfHost => {
            "leave `resources.nic.address.vlan` out, and connect the machine to a bridge in that VLAN".to_owned()
        }
        Hint::WaitForSsh => {
            "`wait-for: [ssh]` below `cloud-machine:` takes the machine as it is once its SSH answers".to_owned()
        }
        Hint::MakeRoom(folder) => {
            format!("make room below {}, or take another folder with --state", folder.display())
        }
        Hint::FullFileSystem(path) => format!("make room on the file system of {}", path.display()),
        Hint::ListImages => "see `cloud-machine image list`; `cloud-machine image pack` makes one".to_owned(),
        Hint::NameImage => "give --image NAME".to_owned(),
        Hint::PackUnderItsName => "pack it again under the name that it is to have".to_owned(),
        Hint::RemoveLease(path) => {
            format!("remove {} if nobody has a lease on the machine; numbers begin again with 1", path.display())
        }
        Hint::PackWithThisAgent => "`cloud-machine image pack` puts the agent of this program into an image".to_owned(),
        Hint::HigherGeneration => {
            "give a --generation that grows from build to build; --allow-downgrade takes the older image".to_owned()
        }
        Hint::HigherGenerationOrReplace => {
            "give this build a higher --generation; --replace puts it in the place of the other one".to_owned()
        }
        Hint::AllowDowngrade => {
            "--allow-downgrade takes it; better pack what should come back with a higher --generation".to_owned()
        }
        Hint::AllowDowngradeOf { machine, image } => format!(
            "pack the image with a higher --generation, then `cloud-machine reimage {machine} --image {image}`; or \
             `cloud-machine reimage {machine} --allow-downgrade`"
        ),
        Hint::AllowUnsigned => "--allow-unsigned takes the image as it is, which is recorded and reported".to_owned(),
        Hint::Sign(image) => {
            format!("`cloud-machine image sign {image} --sign-key FILE` signs it with a key of yours")
        }
        Hint::ServeRanges => {
            "put the image on a server that serves ranges, as nginx, Apache and object stores do; or copy it here"
                .to_owned()
        }
        Hint::OwnAddress => "give every build of an image an address of its own".to_owned(),
        Hint::NameAuthority => "--ca FILE names an authority of your own".to_owned(),
        Hint::NoImageAddress => "leave --image-url out: the packed image is on this host".to_owned(),
        Hint::FindBySerial(disk) => format!("write devicepath: serial:{disk}, or leave it out"),
        Hint::OtherMac(machine) => {
            format!("write another resources.nic.mac, or auto; or `cloud-machine delete {machine}` first")
        }
        Hint::Allocate => "write, for example, allocation: 10GiB".to_owned(),
        Hint::AllocateMore => "a larger allocation, or none: then it is as large as the image".to_owned(),
        Hint::NameSource => "write source: and the path of a file on this host".to_owned(),
        Hint::RootOnZfs => {
            "`filesystem: zfs` of the system disk puts it there; see docs/guides/strategies.md".to_owned()
        }
        Hint::Audit => "see `cloud-machine config audit` for where each is set".to_owned(),
        Hint::BuildVolume => "`cloud-machine volume build` makes one with this label".to_owned(),
        Hint::OfDriver(words) => words.clone(),
        Hint::Install { package, programs } => {
            format!("`apt-get install {package}` brings {programs}; see `cloud-machine doctor`")
        }
    }
}
