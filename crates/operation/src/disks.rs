//! From the disks of a configuration to those of a machine: where each is attached, what it is called there, how large
//! it is and what is on it at first. Must not make a file.

use std::{collections::BTreeMap, fs, io, path::Path};

use cloud_machine_config::{Config, DiskConfig};
use cloud_machine_image::{ALIGNMENT, Manifest};
use cloud_machine_protocol::{Bus, DeviceSelector, DiskName, History, disk_letters};
use cloud_machine_store::{DiskRecord, MediumRecord, digest};

use crate::{
    devices,
    error::{ErrorKind, OperationError},
    hint::Hint,
    rounding,
};

/// The disks in the order in which they are attached, the system disk first.
pub(crate) fn records(config: &Config, manifest: &Manifest) -> Result<Vec<DiskRecord>, OperationError> {
    let placed = place(config)?;
    placed.into_iter().map(|(name, serial)| record(name, serial, &config.resources.disks[name], manifest)).collect()
}

/// Whether the driver can give the disk `name` the device that the configuration names.
pub(crate) fn is_promised(config: &Config, name: &str) -> bool {
    let refused = |other: &Refused| other.disk == name;
    !matches!(placed(config), Err(other) if refused(&other))
}

/// The bus of the host's own volume: an optical drive before the machine's, when that has `/dev/sr1` and no `/dev/sr0`.
pub(crate) fn volume_bus(config: &Config) -> Bus {
    let named = |wanted: &str| {
        let is = |disk: &DiskConfig| matches!(&disk.devicepath, DeviceSelector::Path(name) if name == wanted);
        config.resources.disks.values().any(is)
    };
    if named("sr1") && !named("sr0") { Bus::Cdrom } else { Bus::Virtio }
}

/// A disk whose device cannot be promised.
struct Refused {
    disk: String,
    message: String,
}

fn place(config: &Config) -> Result<Vec<(&DiskName, String)>, OperationError> {
    placed(config).map_err(|Refused { disk, message }| {
        OperationError::new(ErrorKind::Refused, format!("disk {disk}: {message}")).hint(Hint::FindBySerial(disk))
    })
}

/// Each disk with its serial, in the order of attachment.
fn placed(config: &Config) -> Result<Vec<(&DiskName, String)>, Refused> {
    let mut disks: Vec<(&DiskName, &DiskConfig)> = config.resources.disks.iter().collect();
    // The system disk is always the first one.
    disks.sort_by_key(|(_, disk)| !disk.boot_partition);
    let mut ordered = Vec::new();
    for bus in [Bus::Virtio, Bus::Scsi, Bus::Nvme, Bus::Cdrom] {
        let first = usize::from(bus == Bus::Cdrom && volume_bus(config) == bus);
        let on_bus = disks.iter().filter(|(_, disk)| disk.bus == bus).copied().collect();
        ordered.extend(on_one_bus(bus, on_bus, first)?);
    }
    ordered.sort_by_key(|(_, disk)| !disk.boot_partition);
    ordered.into_iter().map(|(name, disk)| Ok((name, serial(name, disk)?))).collect()
}

type Placed<'a> = Vec<(&'a DiskName, &'a DiskConfig)>;

/// The disks of a bus so that each with a kernel's name gets that; `first` is how many others come before them.
fn on_one_bus(bus: Bus, disks: Placed<'_>, first: usize) -> Result<Placed<'_>, Refused> {
    let mut named: BTreeMap<usize, (&DiskName, &DiskConfig)> = BTreeMap::new();
    let (mut free, count) = (Vec::new(), disks.len());
    for (name, disk) in disks {
        let DeviceSelector::Path(path) = &disk.devicepath else {
            free.push((name, disk));
            continue;
        };
        let refused = |message: String| Refused { disk: name.to_string(), message };
        let index = (0..count + first).find(|index| name_on(bus, *index) == *path);
        let index = index.and_then(|index| index.checked_sub(first)).ok_or_else(|| {
            refused(format!(
                "the machine has no /dev/{path}: its {count} disks on {bus} begin with /dev/{}",
                name_on(bus, first)
            ))
        })?;
        // Of several the kernel finds now one and now another first (drivers/scsi/sd.c and drivers/nvme probe at once).
        if count > 1 && matches!(bus, Bus::Scsi | Bus::Nvme) {
            return Err(refused(format!("with {count} disks on {bus}, which one is /dev/{path} depends on the boot")));
        }
        if disk.boot_partition != (bus == Bus::Virtio && index == 0) {
            return Err(refused(format!("the first disk on {bus}, /dev/{}, is the system disk", name_on(bus, first))));
        }
        named.insert(index, (name, disk));
    }
    // The system disk is the first of those that are free, when it is here.
    let mut free = free.into_iter();
    Ok((0..count).filter_map(|index| named.remove(&index).or_else(|| free.next())).collect())
}

/// What the kernel calls the disk with a number on a bus (Documentation/admin-guide/devices.txt).
pub(crate) fn name_on(bus: Bus, index: usize) -> String {
    match bus {
        Bus::Virtio => format!("vd{}", disk_letters(index)),
        Bus::Scsi => format!("sd{}", disk_letters(index)),
        Bus::Nvme => format!("nvme{index}n1"),
        Bus::Cdrom => format!("sr{index}"),
    }
}

fn serial(name: &DiskName, disk: &DiskConfig) -> Result<String, Refused> {
    let refused = |message: String| Refused { disk: name.to_string(), message };
    let serial = match &disk.devicepath {
        DeviceSelector::Serial(serial) => serial.clone(),
        DeviceSelector::Path(_) | DeviceSelector::Label(_) => name.to_string(),
        DeviceSelector::ById(link) if disk.bus == Bus::Virtio && link.starts_with("virtio-") => {
            link.trim_start_matches("virtio-").to_owned()
        }
        other => return Err(refused(format!("no driver can promise {other}"))),
    };
    if serial.len() > 20 || serial.starts_with(devices::OWN) {
        return Err(refused(format!("serial {serial:?} is longer than 20 bytes or begins with {}", devices::OWN)));
    }
    Ok(serial)
}

fn record(
    name: &DiskName,
    serial: String,
    disk: &DiskConfig,
    manifest: &Manifest,
) -> Result<DiskRecord, OperationError> {
    let boot = disk.boot_partition;
    let (file, size, medium) = if disk.readonly {
        let (size, medium) = medium(name, disk)?;
        (format!("media/{name}.img"), size, Some(medium))
    } else {
        (format!("disks/{name}.raw"), size(name, disk, manifest)?, None)
    };
    // The file of a medium has its content already, and what is on the system disk is the image's.
    let history = if boot || medium.is_some() { History::Unknown } else { History::New };
    Ok(DiskRecord {
        name: name.clone(),
        serial,
        size,
        file: Some(file),
        boot,
        bus: disk.bus,
        history,
        history_before: History::Unknown,
        medium,
    })
}

fn refused(name: &DiskName, text: &str) -> OperationError {
    OperationError::new(ErrorKind::Refused, format!("disk {name}: {text}"))
}

fn size(name: &DiskName, disk: &DiskConfig, manifest: &Manifest) -> Result<u64, OperationError> {
    let size = match (disk.allocation, disk.boot_partition) {
        (Some(size), _) => rounding::allocation(size).bytes(),
        (None, true) => manifest.size(),
        (None, false) => {
            return Err(refused(name, "it has no allocation").hint(Hint::Allocate));
        }
    };
    if size == 0 || size % ALIGNMENT != 0 {
        return Err(refused(name, &format!("{size} bytes are not a multiple of {ALIGNMENT}")));
    }
    if disk.boot_partition && size < manifest.size() {
        let image = manifest.size();
        return Err(refused(name, &format!("it has {size} bytes, the image needs {image}")).hint(Hint::AllocateMore));
    }
    Ok(size)
}

/// The size of the file that a read-only disk has for its content, and its digest.
fn medium(name: &DiskName, disk: &DiskConfig) -> Result<(u64, MediumRecord), OperationError> {
    let Some(source) = &disk.source else {
        return Err(
            refused(name, "it is read-only and has no source: it would be empty for ever").hint(Hint::NameSource)
        );
    };
    let failed = |error: std::io::Error| {
        let kind = if error.kind() == io::ErrorKind::NotFound { ErrorKind::NotFound } else { ErrorKind::Failed };
        OperationError::during(kind, format!("read {source}, the source of disk {name}"))(error)
    };
    let found = fs::metadata(source).map_err(failed)?;
    if !found.is_file() {
        return Err(refused(name, &format!("its source {source} is no file")));
    }
    let (size, sector) = (found.len(), disk.bus.sector());
    if size == 0 || size % sector != 0 {
        return Err(refused(name, &format!("its source {source} has {size} bytes, no multiple of {sector}")));
    }
    let digest = digest(Path::new(source))?;
    Ok((size, MediumRecord { source: source.clone(), digest }))
}

#[cfg(test)]
mod tests {
    use cloud_machine_config::{LayerKind, defaults, merge, parse, validate};

    use super::*;

    fn config(disks: &str) -> Config {
        let text = format!("cloud-machine: {{resources: {{disks: {{{disks}}}}}}}");
        let document = parse(LayerKind::Project, "disks.yaml", text.as_bytes()).unwrap();
        validate(&merge(&[defaults(), document]).unwrap()).unwrap()
    }

    fn order(disks: &str) -> Result<Vec<String>, String> {
        match placed(&config(disks)) {
            Ok(placed) => Ok(placed.into_iter().map(|(name, serial)| format!("{name} {serial}")).collect()),
            Err(Refused { disk, message }) => Err(format!("{disk}: {message}")),
        }
    }

    #[test]
    fn the_system_disk_comes_first_and_a_named_disk_where_its_name_is() {
        let placed = order("z: {boot-partition: true}, a: {devicepath: /dev/vdc}, b: {}, c: {devicepath: 'serial:S'}");
        assert_eq!(placed.unwrap(), ["z z", "b b", "a a", "c S"]);
        let placed = order("a: {devicepath: /dev/sda}, b: {bus: nvme}, c: {devicepath: /dev/disk/by-id/virtio-X}");
        assert_eq!(placed.unwrap(), ["system system", "c X", "a a", "b b"]);
        let placed = order("z: {boot-partition: true, devicepath: /dev/vda}, a: {}");
        assert_eq!(placed.unwrap(), ["z z", "a a"]);
    }

    #[test]
    fn the_volume_is_the_optical_drive_before_the_first_of_the_machine() {
        let disc = "{devicepath: /dev/sr1, readonly: true}";
        assert_eq!(volume_bus(&config(&format!("a: {disc}"))), Bus::Cdrom);
        assert!(order(&format!("a: {disc}")).is_ok());
        let two = format!("a: {disc}, b: {{devicepath: /dev/sr0, readonly: true}}");
        assert_eq!(volume_bus(&config(&two)), Bus::Virtio);
        assert_eq!(order(&two).unwrap(), ["system system", "b b", "a a"]);
    }

    #[test]
    fn a_name_that_the_machine_would_not_have_or_not_always_is_refused() {
        for (disks, why) in [
            ("a: {devicepath: /dev/vdz}", "a: the machine has no /dev/vdz: its 2 disks on virtio begin with /dev/vda"),
            ("a: {devicepath: /dev/sdb}", "a: the machine has no /dev/sdb: its 1 disks on scsi begin with /dev/sda"),
            (
                "a: {devicepath: /dev/sda}, b: {bus: scsi}",
                "a: with 2 disks on scsi, which one is /dev/sda depends on the boot",
            ),
            ("a: {devicepath: /dev/vda}", "a: the first disk on virtio, /dev/vda, is the system disk"),
            ("a: {devicepath: 'wwn:0x5'}", "a: no driver can promise wwn:0x5"),
            ("a: {devicepath: 'serial:cm-x'}", "a: serial \"cm-x\" is longer than 20 bytes or begins with cm-"),
            (
                "a: {devicepath: /dev/sr2, readonly: true}",
                "a: the machine has no /dev/sr2: its 1 disks on cdrom begin with /dev/sr0",
            ),
        ] {
            assert_eq!(order(disks).unwrap_err(), why);
            assert!(!is_promised(&config(disks), "a") && is_promised(&config(disks), "system"), "{disks}");
        }
    }

    #[test]
    fn a_medium_needs_a_file_of_whole_sectors() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("disc");
        let name: DiskName = "disc".parse().unwrap();
        let medium = |source: &str| {
            let declared = config(&format!("disc: {{bus: cdrom, readonly: true, {source}}}"));
            medium(&name, &declared.resources.disks[&name]).map_err(|failure| format!("{failure:?}"))
        };
        let source = format!("source: {}", file.display());
        assert!(medium("").unwrap_err().contains("it would be empty for ever"));
        assert!(medium(&source).unwrap_err().contains("the source of disk disc"));
        fs::write(&file, [0; 2049]).unwrap();
        assert!(medium(&source).unwrap_err().contains("has 2049 bytes, no multiple of 2048"));
        fs::write(&file, [0; 4096]).unwrap();
        let (size, record) = medium(&source).unwrap();
        assert_eq!((size, record.digest), (4096, digest(&file).unwrap()));
        assert!(medium(&format!("source: {}", folder.path().display())).unwrap_err().contains("is no file"));
    }
}
