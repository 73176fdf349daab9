//! Every cell of the decisions about a disk with partitions, and each attribute that makes a table another one.

use cloud_machine_config::{LayerKind, defaults, merge, parse, validate};
use cloud_machine_protocol::{ByteSize, Disk, History, Signature};

use super::*;
use crate::decision::tests::HISTORIES;

const MACHINE: &str = "7d8f0c9e-4a9c-4b5e-9d63-5d6c1f0b2a11";
/// Of a disk of which the host knows nothing.
const KNOWN: Known<'_> = Known { machine: MACHINE, history: History::Unknown, kept: true };
/// What makes a table another one, and what is said of it.
type Wrong<'a> = (&'a dyn Fn(&mut Vec<Partition>), &'a str);

const SIZE: u64 = 64 * ByteSize::MIB;

fn wanted(overwrite: bool) -> WantedTable {
    let text = format!(
        "cloud-machine: {{resources: {{disks: {{parts: {{overwrite: {overwrite}, partitions: {{one: {{size: 16MiB, \
         filesystem: ext4, mount-options: [noatime]}}, raw: {{size: 1MiB, type: bios}}, two: {{filesystem: {{type: xfs, \
         label: two}}}}}}}}}}}}}}"
    );
    let document = parse(LayerKind::Project, "f", text.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"));
    let config = validate(&merge(&[defaults(), document]).unwrap()).unwrap_or_else(|errors| panic!("{errors}"));
    WantedTable::of(&config.resources.disks[&"parts".parse().unwrap()]).unwrap()
}

fn disk(probe: Probe, partitions: Option<Partitions>) -> Disk {
    Disk {
        name: "vdb".to_owned(),
        serial: None,
        wwn: None,
        size: SIZE,
        sector_size: 512,
        read_only: false,
        discard: false,
        probe,
        partitions,
    }
}

fn holds(kind: &str, label: Option<&str>) -> Probe {
    let (filesystem, label) = (Some(kind.to_owned()), label.map(str::to_owned));
    Probe::Found(Signature { filesystem, label, ..Signature::default() })
}

fn gpt() -> Probe {
    Probe::Found(Signature { partition_table: Some("gpt".to_owned()), ..Signature::default() })
}

/// What a look at a disk finds on which `table` was written, with these filesystems.
fn as_written(table: &NewTable, probes: &[Probe]) -> Vec<Partition> {
    let partition = |(new, probe): (&NewPartition, &Probe)| Partition {
        number: new.number,
        name: Some(new.name.clone()),
        r#type: Some(new.r#type),
        uuid: Some(new.uuid),
        offset: new.offset,
        length: new.length,
        probe: probe.clone(),
    };
    table.partitions.iter().zip(probes).map(partition).collect()
}

fn good() -> [Probe; 3] {
    [holds("ext4", None), Probe::Empty, holds("xfs", Some("two"))]
}

fn with(partitions: Vec<Partition>) -> Disk {
    disk(gpt(), Some(Partitions::Found { primary: true, partitions }))
}

fn new_table() -> NewTable {
    wanted(false).plan("parts", &disk(Probe::Empty, None), false, KNOWN).unwrap().table
}

/// Every kind of disk that there can be, with what it is for this table.
fn disks() -> Vec<(Disk, Content)> {
    let table = new_table();
    let found = |primary| Some(Partitions::Found { primary, partitions: as_written(&table, &good()) });
    let reason = || "Input/output error".to_owned();
    let both = Probe::Found(Signature {
        filesystem: Some("iso9660".to_owned()),
        partition_table: Some("gpt".to_owned()),
        ..Signature::default()
    });
    let dos = Probe::Found(Signature { partition_table: Some("dos".to_owned()), ..Signature::default() });
    vec![
        (disk(Probe::Empty, None), Content::Empty),
        (disk(Probe::Unknown, None), Content::Unknown),
        (disk(Probe::Silent { seconds: 20 }, None), Content::Unreadable),
        (disk(gpt(), found(true)), Content::Wanted),
        (disk(gpt(), found(false)), Content::Other),
        (disk(gpt(), Some(Partitions::Absent)), Content::Other),
        (disk(both, found(true)), Content::Other),
        (disk(dos, None), Content::Other),
        (disk(holds("ext4", None), None), Content::Other),
        (with(Vec::new()), Content::Other),
        (disk(Probe::Ambivalent, found(true)), Content::Ambivalent),
        (disk(Probe::Unreadable { reason: reason() }, None), Content::Unreadable),
        (disk(gpt(), Some(Partitions::Unreadable { reason: reason() })), Content::Unreadable),
        // Nobody looked: that is not "nothing there".
        (disk(gpt(), None), Content::Unreadable),
    ]
}

#[test]
fn every_cell_keeps_the_promises() {
    for (disk, is) in disks() {
        for history in HISTORIES {
            for wiped in [false, true] {
                for overwrite in [false, true] {
                    keeps_the_promises(&disk, is, Known { history, ..KNOWN }, wiped, overwrite);
                }
            }
        }
    }
}

fn keeps_the_promises(disk: &Disk, is: Content, known: Known<'_>, wiped: bool, overwrite: bool) {
    let cell = format!("{is:?}, {:?}, wiped {wiped}, overwrite {overwrite}", known.history);
    let wanted = wanted(overwrite);
    assert_eq!(content(&new_table(), disk).0, is, "{cell}");
    let decided = decide(is, known.history, wiped, overwrite);
    let plan = match (wanted.plan("parts", disk, wiped, known), decided) {
        (Err(TableRefusal::Content { partition: None, refusal, .. }), Decision::Refuse(other)) => {
            assert_eq!(refusal, other, "{cell}");
            return;
        }
        (Ok(plan), decision) if plan.decision == decision => plan,
        (other, decision) => panic!("{cell}: {other:?}, {decision:?}"),
    };
    // Nothing is destroyed unless something says so.
    assert!(plan.decision != Decision::Replace || overwrite, "{cell}");
    let free = match known.history {
        History::Unknown => is == Content::Empty,
        History::New => matches!(is, Content::Empty | Content::Unknown),
        History::Made => false,
    };
    assert!(plan.decision != Decision::Create || wiped || free, "{cell}");
    let remade = plan.decision != Decision::Reuse;
    let each = if remade { Decision::Create } else { Decision::Reuse };
    assert!(plan.filesystems.iter().all(|filesystem| filesystem.decision == each), "{cell}");
    assert_eq!(plan.writes(), remade, "{cell}");
    // Applied to its own result, it changes nothing; planned again, it is the same.
    let after = with(as_written(&plan.table, &good()));
    assert!(!wanted.plan("parts", &after, false, known).unwrap().writes(), "{cell}");
    assert_eq!(wanted.plan("parts", disk, wiped, known).unwrap(), plan, "{cell}");
}

/// In a table that is used, each filesystem is decided by its own probe, and none takes another with it.
#[test]
fn a_filesystem_in_a_table_that_is_used_is_decided_alone() {
    let unreadable = Probe::Unreadable { reason: String::new() };
    for (probe, without, with_overwrite) in [
        (holds("ext4", Some("any")), Some(Decision::Reuse), Some(Decision::Reuse)),
        (Probe::Empty, Some(Decision::Create), Some(Decision::Create)),
        (Probe::Unknown, None, Some(Decision::Replace)),
        (holds("vfat", Some("CIDATA")), None, Some(Decision::Replace)),
        (gpt(), None, Some(Decision::Replace)),
        (Probe::Ambivalent, None, Some(Decision::Replace)),
        (unreadable, None, None),
    ] {
        for (overwrite, expected) in [(false, without), (true, with_overwrite)] {
            let [_, raw, two] = good();
            // What lies in a partition without a filesystem is nobody's business.
            for raw in [raw, holds("xfs", Some("CLOUD-INIT"))] {
                let found = with(as_written(&new_table(), &[probe.clone(), raw, two.clone()]));
                match (wanted(overwrite).plan("parts", &found, false, KNOWN), expected) {
                    (Ok(plan), Some(decision)) => {
                        assert_eq!(plan.decision, Decision::Reuse);
                        let decisions: Vec<Decision> = plan.filesystems.iter().map(|one| one.decision).collect();
                        assert_eq!(decisions, [decision, Decision::Reuse], "{probe:?}");
                    }
                    (Err(TableRefusal::Content { partition, wanted, .. }), None) => {
                        assert_eq!((partition.as_deref(), wanted.as_str()), (Some("one"), "ext4"));
                    }
                    other => panic!("{probe:?}, {overwrite}: {other:?}"),
                }
            }
        }
    }
}

/// A kept table in which a filesystem that was made once cannot be found any more.
#[test]
fn a_filesystem_that_was_made_once_is_not_made_again_in_its_partition() {
    for probe in [Probe::Empty, Probe::Unknown] {
        let [_, raw, two] = good();
        let found = with(as_written(&new_table(), &[probe.clone(), raw, two]));
        let plan = |history| wanted(false).plan("parts", &found, false, Known { history, ..KNOWN });
        let Err(TableRefusal::Content { partition, refusal, .. }) = plan(History::Made) else {
            panic!("{probe:?} is taken for nothing");
        };
        assert_eq!((partition.as_deref(), refusal), (Some("one"), Refusal::Gone), "{probe:?}");
        // What a cut-off attempt may have left on a new disk is finished.
        assert_eq!(plan(History::New).unwrap().filesystems[0].decision, Decision::Create, "{probe:?}");
    }
}

#[test]
fn every_attribute_that_was_stated_has_to_be_there_and_no_other_partition() {
    let table = new_table();
    let change = |change: &dyn Fn(&mut Vec<Partition>)| {
        let mut found = as_written(&table, &good());
        change(&mut found);
        difference(&table, &found)
    };
    let mib = ByteSize::MIB;
    let cases: [Wrong<'_>; 8] = [
        (&|found| found[0].offset += mib, "partition 1 has 16777216 bytes at 2097152, not 16777216 bytes at 1048576"),
        (&|found| found[2].length -= mib, "partition 3 has"),
        (&|found| found[1].r#type = None, "partition 2 has the type none, not 21686148-6449-6e6f-744e-656564454649"),
        (&|found| found[0].r#type = found[1].r#type, "partition 1 has the type 21686148"),
        (&|found| found[0].name = Some("o\u{1b}ne".to_owned()), "partition 1 is called `o\\u{1b}ne`, not `one`"),
        (&|found| drop(found.remove(1)), "partition 2 is absent"),
        (&|found| found[1].number = 9, "partition 2 is absent"),
        (
            &|found| found.push(Partition { number: 9, ..found[0].clone() }),
            "there is a partition 9 that nothing describes",
        ),
    ];
    for (index, (wrong, text)) in cases.into_iter().enumerate() {
        let told = change(wrong).unwrap_or_else(|| panic!("case {index} is taken for the table"));
        assert!(told.contains(text), "case {index}: {told}");
    }
    // Nobody stated GUIDs.
    assert_eq!(change(&|found| found.iter_mut().for_each(|one| one.uuid = None)), None);
}

#[test]
fn guids_are_a_machines_own_and_stay() {
    let one = identifier(MACHINE, "parts", 1);
    assert_eq!(one, identifier(MACHINE, "parts", 1));
    // Also written down, since a table that was made before shall have the same.
    assert_eq!(one.to_string(), "01e2730a-7e63-8f96-b924-49061e600c5f");
    let others = [
        identifier(MACHINE, "parts", 2),
        identifier(MACHINE, "part", 1),
        identifier("another", "parts", 1),
        identifier(&format!("{MACHINE}p"), "arts", 1),
    ];
    assert!(!others.contains(&one));
    assert_eq!((one.get_version_num(), one.get_variant()), (8, uuid::Variant::RFC4122));
}

#[test]
fn the_method_says_what_becomes_of_table_and_filesystems() {
    let method =
        |overwrite, disk: &Disk, wiped| wanted(overwrite).plan("parts", disk, wiped, KNOWN).unwrap().made().to_string();
    let made = ", create ext4 on one, create xfs on two";
    assert_eq!(method(false, &disk(Probe::Empty, None), false), format!("create table{made}"));
    assert_eq!(method(false, &disk(gpt(), None), true), format!("create table{made}"));
    assert_eq!(method(true, &disk(Probe::Ambivalent, None), false), format!("create table{made}"));
    let [_, raw, two] = good();
    let found = with(as_written(&new_table(), &[holds("vfat", None), raw, two]));
    assert_eq!(method(true, &found, false), "reuse table, wipe one zero, create ext4 on one, reuse xfs on two");
}
