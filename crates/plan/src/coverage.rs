//! What an attempt says nothing about: the one place from which the agent's report, the host's verdict and every command
//! take it. Must not look at anything but what was done with each disk.

use cloud_machine_protocol::{
    Action, DataContent, DeviceRecord, Extent, Method, Provenance, Report, Role, RootOfTrust,
};

use crate::encrypted;

/// What no report of an agent can speak about, besides what it runs on.
const ALWAYS: [&str; 2] = [
    "firmware of the machine and its devices",
    "the root filesystem after it was mounted: identity files were read back through it",
];

/// All that a report on `devices` says nothing about, of an agent that `root_of_trust` chose.
#[must_use]
pub fn not_covered(root_of_trust: RootOfTrust, devices: &[DeviceRecord]) -> Vec<String> {
    let below = match root_of_trust {
        RootOfTrust::Host | RootOfTrust::MachineDisk => "the host and its hypervisor",
        RootOfTrust::Provider => "the provider, its hypervisor and the rescue system that it started",
    };
    [below].into_iter().chain(ALWAYS).map(str::to_owned).chain(disks_not_covered(devices)).collect()
}

/// What is said of nothing on a disk with a recovery partition at `place`.
#[must_use]
pub fn recovery_not_covered(device: &str, place: Extent) -> String {
    let Extent { offset, length } = place;
    format!(
        "{RECOVERY}{device}, {length} bytes at byte {offset}, which reads as zeros in what is said of the disk, and the boot head, which is \
         written after the report"
    )
}

/// How [`recovery_not_covered`] begins.
const RECOVERY: &str = "the recovery partition of ";

/// Whether `report` says what it says nothing about. Gives the line of the recovery partition, which only an agent that was started
/// from one has.
pub(crate) fn told(root_of_trust: RootOfTrust, report: &Report) -> Option<Option<&str>> {
    let rest = report.not_covered.strip_prefix(not_covered(root_of_trust, &report.devices).as_slice())?;
    match rest {
        // Whoever is started from the disk that it reimages is started from there.
        [] if root_of_trust == RootOfTrust::MachineDisk && report.action == Some(Action::Reimage) => None,
        [] => Some(None),
        [line] if root_of_trust == RootOfTrust::MachineDisk && is_of_system_disk(line, &report.devices) => {
            Some(Some(line))
        }
        _ => None,
    }
}

/// Whether `line` is the one of a recovery partition that lies on the disk which was reimaged.
fn is_of_system_disk(line: &str, devices: &[DeviceRecord]) -> bool {
    let system = devices.iter().filter(|device| device.method == Method::Reimage);
    system.map(|device| &device.disk).any(|disk| {
        let Some(rest) = line.strip_prefix(RECOVERY).and_then(|rest| rest.strip_prefix(&disk.name)) else {
            return false;
        };
        let numbers = rest.split(|letter: char| !letter.is_ascii_digit()).filter_map(|word| word.parse().ok());
        let [length, offset] = numbers.collect::<Vec<u64>>()[..] else { return false };
        let fits = offset.checked_add(length).is_some_and(|end| end <= disk.size);
        fits && line == recovery_not_covered(&disk.name, Extent { offset, length })
    })
}

/// What may be left of old content on each of `devices`, in their order.
#[must_use]
pub fn disks_not_covered(devices: &[DeviceRecord]) -> Vec<String> {
    devices.iter().filter_map(line).collect()
}

fn line(device: &DeviceRecord) -> Option<String> {
    let name = match &device.role {
        Role::Declared { name } => format!("the disk `{}`", name.escape_debug()),
        _ => format!("/dev/{}", device.disk.name.escape_debug()),
    };
    let left = match &device.method {
        Method::Ignored if device.role == Role::Undeclared => "not declared, and ignored".to_owned(),
        Method::Read | Method::Ignored | Method::Reimage | Method::Booted | Method::Medium { .. } => return None,
        Method::Data { wipe: Some(method), encrypted, .. } => {
            let left = method.does_not_cover()?;
            if *encrypted { encrypted::LEFT } else { left }.to_owned()
        }
        Method::Data { wipe: None, encrypted: true, .. } => encrypted::LEFT.to_owned(),
        Method::Data { wipe: None, encrypted: false, content } => kept(content),
    };
    Some(format!("{name}: {left}"))
}

/// What is left on a disk that was not wiped.
fn kept(content: &DataContent) -> String {
    match content {
        DataContent::Raw => "kept: whatever was written to it is still there".to_owned(),
        DataContent::Filesystem { filesystem, provenance: Provenance::Reused } => {
            format!("kept with its {filesystem}: whatever a job wrote there is still there")
        }
        DataContent::Filesystem { filesystem, provenance: Provenance::Created } => {
            format!("not wiped before its {filesystem} was made: what lay elsewhere on it was not erased")
        }
        DataContent::Table { provenance: Provenance::Reused, partitions } => {
            let new = partitions.iter().filter(|partition| partition.provenance == Provenance::Created);
            let names: Vec<&str> = new.map(|partition| partition.name.as_str()).collect();
            let but = if names.is_empty() {
                String::new()
            } else {
                format!(", but for what was made anew in {}", names.join(", "))
            };
            format!("kept with its partitions: whatever a job wrote there is still there{but}")
        }
        DataContent::Table { provenance: Provenance::Created, .. } => {
            "not wiped before its partitions were made: what lay elsewhere on it was not erased".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use cloud_machine_protocol::{Disk, PartitionMethod, Probe, WipeMethod};

    use super::*;

    fn device(role: Role, method: Method) -> DeviceRecord {
        let disk = Disk {
            name: "vdb".to_owned(),
            serial: None,
            wwn: None,
            size: 1 << 20,
            sector_size: 512,
            read_only: false,
            discard: false,
            probe: Probe::Empty,
            partitions: None,
        };
        DeviceRecord { disk, role, method }
    }

    fn declared(method: Method) -> DeviceRecord {
        device(Role::Declared { name: "cache".to_owned() }, method)
    }

    fn data(wipe: Option<WipeMethod>, encrypted: bool, content: DataContent) -> DeviceRecord {
        declared(Method::Data { wipe, encrypted, content })
    }

    fn partition(provenance: Provenance) -> PartitionMethod {
        PartitionMethod { name: "p".to_owned(), filesystem: "xfs".to_owned(), wiped: false, provenance }
    }

    /// Every way to treat a disk, and whether anything of a job may be left on it.
    #[test]
    fn every_disk_that_may_hold_something_old_is_named_and_no_other() {
        use Provenance::{Created, Reused};
        let ext4 = |provenance| DataContent::Filesystem { filesystem: "ext4".to_owned(), provenance };
        let table = |provenance, of| DataContent::Table { provenance, partitions: vec![partition(of)] };
        let contents = [
            DataContent::Raw,
            ext4(Reused),
            ext4(Created),
            table(Reused, Reused),
            table(Reused, Created),
            table(Created, Created),
        ];
        for content in contents {
            for encrypted in [false, true] {
                for wipe in [None, Some(WipeMethod::Zero), Some(WipeMethod::Discard), Some(WipeMethod::Recreate)] {
                    let found = disks_not_covered(&[data(wipe, encrypted, content.clone())]);
                    let erased = matches!(wipe, Some(WipeMethod::Zero | WipeMethod::Discard));
                    assert_eq!(found.is_empty(), erased, "{wipe:?} {encrypted} {content:?}: {found:?}");
                    assert!(found.iter().all(|line| line.starts_with("the disk `cache`: ")), "{found:?}");
                }
            }
        }
        for (role, method, named) in [
            (Role::Undeclared, Method::Ignored, true),
            (Role::ImageSource, Method::Ignored, false),
            (Role::ImageSource, Method::Read, false),
            (Role::Volume, Method::Read, false),
            (Role::Drive, Method::Read, false),
            (Role::Declared { name: "system".to_owned() }, Method::Reimage, false),
            (Role::Declared { name: "system".to_owned() }, Method::Booted, false),
        ] {
            assert_eq!(
                disks_not_covered(&[device(role.clone(), method.clone())]).len(),
                usize::from(named),
                "{role:?} {method:?}"
            );
        }
        let medium = declared(Method::Medium { filesystem: Some("ext4".to_owned()) });
        assert!(disks_not_covered(&[medium]).is_empty(), "the host wrote it, and nobody else could");
    }

    #[test]
    fn names_cannot_write_to_a_terminal() {
        let evil =
            device(Role::Declared { name: "a\u{1b}[31m".to_owned() }, data(None, false, DataContent::Raw).method);
        assert!(!not_covered(RootOfTrust::Host, &[evil]).concat().contains(char::is_control));
    }
}
