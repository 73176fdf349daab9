//! What the record knows of the content of each disk: what goes to the agent, and what an accepted report makes of it. Must
//! not look at a disk: only what was accepted counts.

use std::collections::{BTreeMap, BTreeSet};

use cloud_machine_config::Config;
use cloud_machine_plan::{Expected, ExpectedDisk};
use cloud_machine_protocol::{Action, DiskName, History, Role};
use cloud_machine_store::DiskRecord;

/// What a request says of the disks.
pub(crate) fn sent(disks: &[DiskRecord]) -> BTreeMap<DiskName, History> {
    let known = disks.iter().filter(|disk| disk.history != History::Unknown);
    known.map(|disk| (disk.name.clone(), disk.history)).collect()
}

/// What the request of the last accepted reimage said of the disks.
pub(crate) fn before(disks: &[DiskRecord]) -> BTreeMap<DiskName, History> {
    let known = disks.iter().filter(|disk| disk.history_before != History::Unknown);
    known.map(|disk| (disk.name.clone(), disk.history_before)).collect()
}

/// The disks that may hold what a job left before the last reimage.
pub(crate) fn kept(config: &Config) -> BTreeSet<DiskName> {
    let disks = config.resources.disks.iter().filter(|(_, disk)| disk.is_kept());
    disks.map(|(name, _)| name.clone()).collect()
}

/// A report was accepted: what it was expected to make or to find is there, and from now on a job may have written
/// everything else.
pub(crate) fn accepted(disks: &mut [DiskRecord], expected: &Expected) {
    for disk in disks.iter_mut().filter(|disk| !disk.boot && disk.medium.is_none()) {
        if expected.request.action == Action::Reimage {
            disk.history_before = expected.request.history(disk.name.as_str());
        }
        let is = |other: &&ExpectedDisk| matches!(&other.role, Role::Declared { name } if name == disk.name.as_str());
        disk.history = after(expected.disks.iter().find(is));
    }
}

fn after(expected: Option<&ExpectedDisk>) -> History {
    let described = |disk: &ExpectedDisk| disk.filesystem.is_some() || disk.partitions.is_some();
    if expected.is_some_and(described) { History::Made } else { History::Unknown }
}

#[cfg(test)]
mod tests {
    use cloud_machine_config::{LayerKind, defaults, merge, parse, validate};
    use cloud_machine_plan::{Disposition, WantedFilesystem, WantedTable};
    use cloud_machine_protocol::Bus;

    use super::*;

    fn disk(name: &str, history: History) -> DiskRecord {
        DiskRecord {
            name: name.parse().unwrap(),
            serial: name.to_owned(),
            size: 1 << 20,
            file: Some(format!("disks/{name}.raw")),
            boot: false,
            bus: Bus::Virtio,
            history,
            history_before: History::Unknown,
            medium: None,
        }
    }

    #[test]
    fn a_request_says_what_is_known_and_of_nothing_else() {
        let disks = [disk("a", History::New), disk("b", History::Unknown), disk("c", History::Made)];
        let sent: Vec<String> = sent(&disks).iter().map(|(name, history)| format!("{name} {history:?}")).collect();
        assert_eq!(sent, ["a New", "c Made"]);
    }

    fn described(disks: &str) -> Config {
        let text = format!("cloud-machine: {{resources: {{disks: {{{disks}}}}}}}");
        let document = parse(LayerKind::Project, "f", text.as_bytes()).unwrap();
        validate(&merge(&[defaults(), document]).unwrap()).unwrap()
    }

    #[test]
    fn a_disk_is_kept_when_neither_a_reimage_nor_a_boot_wipes_it() {
        let config = described(
            "kept: {on-reimage: keep}, wiped: {}, booted: {on-reimage: keep, wipe-on-boot: true}, again: {on-reimage: recreate}",
        );
        assert_eq!(kept(&config).iter().map(DiskName::as_str).collect::<Vec<_>>(), ["kept"]);
    }

    #[test]
    fn after_an_accepted_report_no_disk_is_new_and_what_was_described_is_made() {
        let config = described("whole: {filesystem: ext4}, parts: {partitions: {one: {}}}, raw: {}");
        for (name, history) in [("whole", History::Made), ("parts", History::Made), ("raw", History::Unknown)] {
            let name: DiskName = name.parse().unwrap();
            let declared = &config.resources.disks[&name];
            let mut expected = ExpectedDisk::new("s", 1, Role::Declared { name: name.to_string() }, Disposition::Keep);
            expected.filesystem = WantedFilesystem::of(&name, declared);
            expected.partitions = WantedTable::of(declared);
            assert_eq!(after(Some(&expected)), history, "{name}");
        }
        assert_eq!(after(None), History::Unknown);
    }

    #[test]
    fn a_record_that_says_nothing_knows_nothing() {
        let old = r#"{"name": "data", "serial": "data", "size": 1048576, "file": "disks/data.raw", "boot": false}"#;
        assert_eq!(serde_json::from_str::<DiskRecord>(old).unwrap(), disk("data", History::Unknown));
    }
}
