//! Surveys of made-up machines: a folder that looks like one of /sys, and answers in the place of a prober.

use std::{fs, os::unix::fs::symlink};

use super::{look::TableFound, *};

/// Writes files below a folder that looks like one of /sys.
fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join("class").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

/// A disk with what every kernel tells.
fn with_disk<'a>(name: &'a str, size: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(String, String)> {
    let common = [
        ("dev", "999:0\n"),
        ("size", size),
        ("ro", "0\n"),
        ("queue/logical_block_size", "4096\n"),
        ("queue/physical_block_size", "4096\n"),
        ("queue/rotational", "1\n"),
    ];
    common.iter().chain(more).map(|(file, text)| (format!("{name}/{file}"), (*text).to_owned())).collect()
}

fn nothing(_: &str, _: DeviceNumber, _: Option<Range>) -> Answer {
    Answer::Seen { content: Content::Empty, table: Look::Found { value: None } }
}

fn survey_with(
    files: &[(String, String)],
    loops: bool,
    look: &dyn Fn(&str, DeviceNumber, Option<Range>) -> Answer,
) -> Survey {
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let machine = machine(&files);
    let io = SurveyIo {
        sys: &machine.path().join("class"),
        names: &machine.path().join("names"),
        look,
        holders: &|_| Ok(vec![Holder::Swap { device: "vda".to_owned() }]),
    };
    io.survey(loops).unwrap()
}

fn names(survey: &Survey) -> Vec<&str> {
    let mut names = Vec::new();
    for row in &survey.disks {
        names.push(match row {
            Row::Disk(disk) => disk.name.as_str(),
            Row::Unreadable { name, .. } => name.as_str(),
        });
    }
    names
}

fn only(survey: &Survey) -> &SurveyedDisk {
    match &survey.disks[..] {
        [Row::Disk(disk)] => disk,
        other => panic!("{other:?}"),
    }
}

fn labelled(label: &str, uuid: &str, usage: &str) -> Content {
    Content::Found(Signature {
        filesystem: Some("ext4".to_owned()),
        usage: Some(usage.to_owned()),
        label: Some(label.to_owned()),
        uuid: Some(uuid.to_owned()),
        partition_table: None,
    })
}

#[test]
fn everything_that_sysfs_says_of_a_disk_is_told() {
    // Type and page (80h on a real disk, which is no text by itself), two bytes of length, text.
    let page = "\0\x7f\0\x08  SN 77  ";
    let more = [("device/model", "Fast \x1b[2J\n"), ("device/vpd_pg80", page), ("device/wwid", "naa.5000\n")];
    let survey = survey_with(&with_disk("sda", "16\n", &more), false, &nothing);
    let disk = only(&survey);
    assert_eq!((disk.size, disk.logical_sector_size, disk.physical_sector_size), (8192, 4096, 4096));
    assert_eq!(disk.model.as_deref(), Some("Fast \\u{1b}[2J"));
    assert_eq!(disk.serial.as_deref(), Some("SN 77"));
    assert_eq!(disk.wwn.as_deref(), Some("naa.5000"));
    assert!(disk.rotational && !disk.read_only);
    assert_eq!(disk.holders, Look::Found { value: vec![Holder::Swap { device: "vda".to_owned() }] });
    assert_eq!(disk.links, Look::Found { value: Vec::new() });
}

#[test]
fn memory_hidden_paths_and_empty_drives_are_no_disks_and_loop_devices_only_when_wanted() {
    let mut files = with_disk("ram0", "16\n", &[]);
    for (name, size, more) in [
        ("zram0", "16\n", &[][..]),
        ("sr0", "0\n", &[]),
        ("nvme0c0n1", "16\n", &[("hidden", "1\n")]),
        ("vda1", "8\n", &[("partition", "1\n")]),
        ("loop7", "8\n", &[("loop/backing_file", "/tmp/a b\n")]),
    ] {
        files.extend(with_disk(name, size, more));
    }
    assert_eq!(names(&survey_with(&files, false, &nothing)), [""; 0]);
    let survey = survey_with(&files, true, &nothing);
    assert_eq!(only(&survey).backing_file.as_deref(), Some("/tmp/a b"));
    let emptied = survey_with(&with_disk("sr0", "2097151\n", &[]), false, &|_, _, _| Answer::NoMedium);
    assert_eq!(emptied.disks, []);
}

#[test]
fn a_disk_that_the_kernel_does_not_describe_is_a_row_with_its_reason() {
    let mut files = with_disk("vda", "x\n", &[]);
    files.extend(with_disk("vdb", "16\n", &[]));
    let survey = survey_with(&files, false, &nothing);
    assert_eq!(names(&survey), ["vda", "vdb"]);
    let Row::Unreadable { reason, .. } = &survey.disks[0] else { panic!("{survey:?}") };
    assert!(reason.contains("vda/size holds \"x\", expected a number"), "{reason}");
}

#[test]
fn a_list_that_cannot_be_read_is_an_error_and_not_a_machine_without_disks() {
    let folder = tempfile::tempdir().unwrap();
    let io = SurveyIo {
        sys: &folder.path().join("absent"),
        names: folder.path(),
        look: &nothing,
        holders: &|_| Ok(Vec::new()),
    };
    assert!(io.survey(false).unwrap_err().to_string().starts_with("cannot list "));
}

#[test]
fn holders_and_contents_that_cannot_be_read_are_unreadable_and_not_absent() {
    let machine = machine(&[]);
    let class = machine.path().join("class/vda");
    fs::create_dir_all(&class).unwrap();
    for (name, text) in with_disk("vda", "16\n", &[]) {
        let path = machine.path().join("class").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let io = SurveyIo {
        sys: &machine.path().join("class"),
        names: machine.path(),
        look: &|_, _, _| Answer::Seen {
            content: Content::Unreadable { reason: "no".to_owned() },
            table: Look::Unreadable { reason: "no".to_owned() },
        },
        holders: &|path| holders(&path.join("absent")),
    };
    let survey = io.survey(false).unwrap();
    let disk = only(&survey);
    assert_eq!(disk.table, TableLook::Unreadable { reason: "no".to_owned() });
    assert_eq!(disk.probe, Content::Unreadable { reason: "no".to_owned() });
    assert!(matches!(disk.holders, Look::Unreadable { .. }));
}

fn entry(number: u32, offset: u64, length: u64) -> TableEntry {
    let r#type = Some("0x83".to_owned());
    TableEntry { number, offset, length, r#type, name: Some("root".to_owned()), uuid: None, extended: false }
}

#[test]
fn partitions_of_kernel_and_table_are_joined_and_each_difference_is_told() {
    let node = |name: &str, number: &str, start: &str| {
        let device = format!("999:{number}");
        [
            ("partition", number),
            ("start", start),
            ("size", "8"),
            ("dev", &device),
            ("uevent", "PARTUUID=own\nPARTNAME=\n"),
        ]
        .map(|(file, text)| (format!("vda/{name}/{file}"), text.to_owned()))
    };
    let mut files = with_disk("vda", "64\n", &[]);
    files.extend(node("vda1", "1", "8"));
    files.extend(node("vda2", "2", "16"));
    files.extend(node("vda3", "3", "24"));
    let looked = std::cell::RefCell::new(Vec::new());
    let survey = survey_with(&files, false, &|name, number, range| {
        looked.borrow_mut().push((name.to_owned(), number, range.map(|range| range.offset)));
        let table = Table { format: "gpt".to_owned(), id: None, copy: Some(TableCopy::Backup) };
        let entries = vec![entry(1, 4096, 4096), entry(2, 4096, 4096), entry(4, 16384, 4096), entry(5, 32768, 4096)];
        Answer::Seen { content: Content::Empty, table: Look::Found { value: Some(TableFound { table, entries }) } }
    });
    let found: Vec<_> = only(&survey)
        .partitions
        .iter()
        .map(|partition| (partition.number, partition.name.as_deref(), partition.offset, partition.seen_by))
        .collect();
    assert_eq!(
        found,
        [
            (1, Some("vda1"), 4096, SeenBy::Both),
            (2, Some("vda2"), 8192, SeenBy::Contradictory),
            (3, Some("vda3"), 12288, SeenBy::Kernel),
            (4, None, 16384, SeenBy::Table),
            (5, None, 32768, SeenBy::Table),
        ]
    );
    let first = &only(&survey).partitions[0];
    assert_eq!((first.partition_name.as_deref(), first.partition_uuid.as_deref()), (Some("root"), Some("own")));
    let outside = &only(&survey).partitions[4];
    assert_eq!(outside.probe, Content::Unreadable { reason: "it does not lie on the disk".to_owned() });
    let mut looked = looked.into_inner();
    looked.sort();
    let own = |name: &str, minor| (name.to_owned(), (999, minor), None);
    let within = ("vda".to_owned(), (999, 0), Some(16384));
    assert_eq!(looked, [own("vda", 0), within, own("vda1", 1), own("vda2", 2), own("vda3", 3)]);
    let texts: Vec<String> = survey.ambiguities.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "the primary partition table of vda is damaged, its backup was read",
            "kernel and table disagree on the place of partition 2 of vda",
            "the table of vda does not list the kernel's partition 3",
            "the kernel does not have partition 4 of the table of vda",
            "the kernel does not have partition 5 of the table of vda",
        ]
    );
}

#[test]
fn what_two_devices_share_is_told_and_members_of_a_raid_may() {
    let mut files = Vec::new();
    for (name, serial, wwn) in [("vda", "A", "w1"), ("vdb", "A", "w2"), ("vdc", "C", "w2"), ("vdd", "D", "w3")] {
        files.extend(with_disk(name, "16\n", &[("serial", serial), ("wwid", wwn)]));
    }
    let survey = survey_with(&files, false, &|name, _, _| {
        let content = match name {
            "vda" => labelled("Root", "u1", "filesystem"),
            "vdb" => labelled("rOOT", "u2", "filesystem"),
            _ => labelled("array", "u3", "raid"),
        };
        Answer::Seen { content, table: Look::Found { value: None } }
    });
    let texts: Vec<String> = survey.ambiguities.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        ["vda and vdb have one serial, A", "vdb and vdc have one WWN, w2", "vda and vdb have one label, Root"]
    );
}

#[test]
fn a_volume_that_can_be_written_is_told_and_a_sealed_one_is_not() {
    let mut files = with_disk("vda", "16\n", &[]);
    files.extend(with_disk("vdb", "16\n", &[]).into_iter().map(|(file, text)| {
        let text = if file == "vdb/ro" { "1\n".to_owned() } else { text };
        (file, text)
    }));
    files.extend(with_disk("vdc", "16\n", &[]));
    let survey = survey_with(&files, false, &|name, _, _| {
        let content = match name {
            "vda" => labelled("CIDATA", "u1", "filesystem"),
            "vdb" => labelled("config-2", "u2", "filesystem"),
            _ => Content::Ambivalent { signatures: vec!["iso9660".to_owned(), "ext4".to_owned()] },
        };
        Answer::Seen { content, table: Look::Found { value: None } }
    });
    let texts: Vec<String> = survey.ambiguities.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "vda is labelled CIDATA and is no whole device that is read-only",
            "signatures on vdc contradict each other: iso9660, ext4"
        ]
    );
}

#[test]
fn a_device_is_found_behind_its_link() {
    let machine = machine(&[]);
    let real = machine.path().join("devices/pci/virtio3/block");
    fs::create_dir_all(&real).unwrap();
    for (name, text) in with_disk("vda", "16\n", &[]) {
        fs::create_dir_all(real.join(&name).parent().unwrap()).unwrap();
        fs::write(real.join(&name), text).unwrap();
    }
    fs::create_dir(machine.path().join("class")).unwrap();
    symlink(real.join("vda"), machine.path().join("class/vda")).unwrap();
    let io = SurveyIo {
        sys: &machine.path().join("class"),
        names: machine.path(),
        look: &nothing,
        holders: &|_| Ok(Vec::new()),
    };
    assert_eq!(only(&io.survey(false).unwrap()).transport.as_deref(), Some("virtio"));
}
