//! What in a survey can be taken for something else. Only compares; must not look at the machine.

use std::collections::BTreeMap;

use super::types::{Ambiguity, Content, Row, SeenBy, Signature, SurveyedDisk, TableCopy, TableLook};

/// Labels by which this program and cloud-init find a volume with a configuration.
const VOLUME_LABELS: [&str; 3] = ["CLOUD-INIT", "cidata", "config-2"];

/// A disk or partition, as far as it matters here.
struct Device<'a> {
    name: String,
    content: &'a Content,
    /// Nobody on the machine can have written it.
    is_sealed: bool,
}

pub(super) fn ambiguities(rows: &[Row]) -> Vec<Ambiguity> {
    let disks: Vec<&SurveyedDisk> = rows
        .iter()
        .filter_map(|row| match row {
            Row::Disk(disk) => Some(disk.as_ref()),
            Row::Unreadable { .. } => None,
        })
        .collect();
    let devices: Vec<Device<'_>> = disks.iter().flat_map(|disk| devices(disk)).collect();
    let mut found = Vec::new();
    let named = |value: fn(&SurveyedDisk) -> Option<&String>| {
        twice(disks.iter().filter_map(|disk| Some((value(disk)?.clone(), disk.name.clone()))), str::to_owned)
    };
    for (serial, devices) in named(|disk| disk.serial.as_ref()) {
        found.push(Ambiguity::SameSerial { serial, devices });
    }
    for (wwn, devices) in named(|disk| disk.wwn.as_ref()) {
        found.push(Ambiguity::SameWwn { wwn, devices });
    }
    let signed = |value: fn(&Signature) -> Option<&String>| {
        let values =
            devices.iter().filter_map(|device| Some((value(signature(device.content)?)?.clone(), device.name.clone())));
        twice(values, str::to_lowercase)
    };
    for (label, devices) in signed(|signature| signature.label.as_ref()) {
        found.push(Ambiguity::SameLabel { label, devices });
    }
    for (uuid, devices) in signed(|signature| signature.uuid.as_ref()) {
        found.push(Ambiguity::SameUuid { uuid, devices });
    }
    found.extend(devices.iter().filter_map(of_device));
    found.extend(disks.iter().flat_map(|disk| of_table(disk)));
    found
}

fn devices(disk: &SurveyedDisk) -> Vec<Device<'_>> {
    let whole = Device { name: disk.name.clone(), content: &disk.probe, is_sealed: disk.read_only };
    let partitions = disk.partitions.iter().map(|partition| Device {
        name: partition.name.clone().unwrap_or_else(|| format!("{} partition {}", disk.name, partition.number)),
        content: &partition.probe,
        is_sealed: false,
    });
    std::iter::once(whole).chain(partitions).collect()
}

/// A signature whose label and UUID belong to one device; those of a RAID are the array's, on each of its members.
fn signature(content: &Content) -> Option<&Signature> {
    match content {
        Content::Found(signature) if signature.usage.as_deref() != Some("raid") => Some(signature),
        _ => None,
    }
}

/// The values that more than one device has, in the form of the first, compared by their `key`.
fn twice(values: impl Iterator<Item = (String, String)>, key: impl Fn(&str) -> String) -> Vec<(String, Vec<String>)> {
    let mut devices: BTreeMap<String, (String, Vec<String>)> = BTreeMap::new();
    for (value, device) in values {
        devices.entry(key(&value)).or_insert_with(|| (value, Vec::new())).1.push(device);
    }
    devices.into_values().filter(|(_, devices)| devices.len() > 1).collect()
}

fn of_device(device: &Device<'_>) -> Option<Ambiguity> {
    match device.content {
        Content::Ambivalent { signatures } => {
            Some(Ambiguity::Contradiction { device: device.name.clone(), signatures: signatures.clone() })
        }
        Content::Found(Signature { label: Some(label), .. })
            if !device.is_sealed && VOLUME_LABELS.iter().any(|known| label.eq_ignore_ascii_case(known)) =>
        {
            Some(Ambiguity::VolumeLabel { device: device.name.clone(), label: label.clone() })
        }
        _ => None,
    }
}

fn of_table(disk: &SurveyedDisk) -> Vec<Ambiguity> {
    let TableLook::Found(table) = &disk.table else { return Vec::new() };
    let mut found = Vec::new();
    if table.copy == Some(TableCopy::Backup) {
        found.push(Ambiguity::DamagedTable { device: disk.name.clone() });
    }
    for partition in &disk.partitions {
        if partition.seen_by != SeenBy::Both {
            let (device, number) = (disk.name.clone(), partition.number);
            found.push(Ambiguity::PartitionDiffers { device, number, seen_by: partition.seen_by });
        }
    }
    found
}
