//! Partitions of a disk in a configuration: numbers and sizes, what contradicts itself, and where an error points.
#![allow(clippy::unwrap_used, clippy::panic)]

use cloud_machine_config::{
    Config, ConfigErrors, Document, LayerKind, PartitionConfig, PartitionSize, defaults, merge, parse, validate,
};
use cloud_machine_protocol::ByteSize;

fn document(layer: LayerKind, disks: &str) -> Document {
    let text = format!("cloud-machine:\n  resources:\n    disks:\n      system: {{boot-partition: true}}\n{disks}");
    parse(layer, "f", text.as_bytes()).unwrap_or_else(|errors| panic!("{text}\n{errors}"))
}

fn load(documents: &[Document]) -> Result<Config, ConfigErrors> {
    let merged = merge(&[&[defaults()], documents].concat())?;
    validate(&merged)
}

fn partitions(documents: &[Document]) -> Vec<PartitionConfig> {
    let config = load(documents).unwrap_or_else(|errors| panic!("{errors}"));
    config.resources.disks[&"parts".parse().unwrap()].partitions.clone()
}

/// The disk `parts` with these partitions.
fn parts(partitions: &str) -> Vec<Document> {
    vec![document(LayerKind::Project, &format!("      parts: {{partitions: {{{partitions}}}}}\n"))]
}

/// Paths, messages and suggestions of all errors.
fn refused(documents: &[Document]) -> Vec<(String, String, Option<String>)> {
    let errors = load(documents).unwrap_err();
    let told = |error: &cloud_machine_config::ConfigError| {
        let path = error.path.strip_prefix("cloud-machine.resources.disks.").unwrap_or(&error.path);
        (path.to_owned(), error.message.clone(), error.suggestion.clone())
    };
    errors.errors().iter().map(told).collect()
}

/// That there is one error, at `path`, and that it says `text`.
fn wrong(partitions: &str, path: &str, text: &str) {
    let found = refused(&parts(partitions));
    assert_eq!(found.len(), 1, "{partitions}: {found:?}");
    assert_eq!(found[0].0, path, "{partitions}: {found:?}");
    assert!(found[0].1.contains(text), "{partitions}: {found:?}");
}

#[test]
fn a_partition_has_a_default_for_everything() {
    let found = partitions(&parts("only: {}, "));
    let [only] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((only.number, only.name.as_str(), only.size), (1, "only", PartitionSize::Rest));
    assert_eq!(only.kind.to_string(), "0fc63daf-8483-4772-8e79-3d69d8477de4");
    assert_eq!((&only.filesystem, &only.mountpoint), (&None, &None));
    let found = partitions(&parts("a: {size: 1GiB, filesystem: xfs}, s: {filesystem: swap}"));
    assert_eq!(found[0].mountpoint.as_deref(), Some("/mnt/parts-a"));
    assert_eq!((found[0].size, found[1].mountpoint.as_deref()), (PartitionSize::Bytes(ByteSize(1 << 30)), None));
}

/// The tree keeps the order of maps through every merge, so a document reads as the disk will look.
#[test]
fn numbers_follow_the_order_of_the_documents_and_stay_out_of_the_way_of_stated_ones() {
    let numbers = |documents: &[Document]| -> Vec<(u32, String)> {
        partitions(documents).iter().map(|one| (one.number, one.name.to_string())).collect()
    };
    let named = |list: &[(u32, &str)]| list.iter().map(|(number, name)| (*number, (*name).to_owned())).collect();
    let three: Vec<(u32, String)> = named(&[(1, "z"), (2, "a"), (3, "m")]);
    let base = parts("z: {size: 10%}, a: {size: 10%}, m: {size: 10%}");
    assert_eq!(numbers(&base), three);
    // A later layer changes what it names where it stands, and what it adds comes last.
    let later = document(LayerKind::CommandLine, "      parts: {partitions: {b: {size: 5%}, a: {type: swap}}}\n");
    let all = [base, vec![later]].concat();
    assert_eq!(numbers(&all), named(&[(1, "z"), (2, "a"), (3, "m"), (4, "b")]));
    // As the host hands it to the machine.
    let merged = merge(&[&[defaults()], &all[..]].concat()).unwrap();
    let layers = Document::from_layers(&merged.to_layers()).unwrap();
    assert_eq!(validate(&merge(&[defaults(), layers]).unwrap()).unwrap(), load(&all).unwrap());
    let again = parse(LayerKind::Project, "y", merged.to_yaml().as_bytes()).unwrap();
    assert_eq!(load(&[again]).unwrap(), load(&all).unwrap());

    let stated = parts("z: {size: 1%}, a: {size: 1%, number: 1}, m: {size: 1%, number: 7}, b: {size: 1%}");
    assert_eq!(numbers(&stated), named(&[(1, "a"), (2, "z"), (3, "b"), (7, "m")]));
}

#[test]
fn what_contradicts_itself_is_refused_where_it_stands() {
    wrong("a: {size: 60%}, b: {size: 50%}", "parts.partitions", "110% of the disk together");
    wrong("a: {}, b: {size: rest}", "parts.partitions.b.size", "`a` and `b` both take the rest");
    wrong("a: {size: 100%}, b: {}", "parts.partitions.b", "nothing is left");
    wrong("a: {number: 3, size: 1%}, b: {number: 3}", "parts.partitions.b.number", "have one number, 3");
    wrong("a: {mountpoint: /x}", "parts.partitions.a.mountpoint", "has nothing to mount");
    wrong("a: {filesystem: swap, mountpoint: /x}", "parts.partitions.a.mountpoint", "switched on and not mounted");
    wrong("a: {filesystem: ext4, mountpoint: /usr}", "parts.partitions.a.mountpoint", "below /mnt or /srv");
    wrong("a: {mount-options: [noatime]}", "parts.partitions.a.mount-options", "nothing to mount");
    wrong("a: {filesystem: ext4, mount-options: ['x,y']}", "parts.partitions.a.mount-options", "`x,y` is no option");
    wrong(
        "a: {size: 1%, filesystem: ext4, mountpoint: /x}, b: {filesystem: xfs, mountpoint: /x}",
        "parts.partitions.b.mountpoint",
        "the partition `a` of `parts` and the partition `b` of `parts` have one mountpoint, `/x`",
    );
    wrong(
        "a: {size: 1%, filesystem: {type: ext4, label: same}}, b: {filesystem: {type: vfat, label: Same}}",
        "parts.partitions.b.filesystem.label",
        "have one label, `SAME`",
    );
    wrong("a: {filesystem: {type: vfat, label: cidata}}", "parts.partitions.a.filesystem", "finds its configuration");
    wrong(
        "a: {filesystem: {type: ext4, options: [-d, x]}}",
        "parts.partitions.a.filesystem.options",
        "no option for ext4",
    );
    wrong(
        "a: {filesystem: {type: vfat, uuid: 6f1a2b3c-0d4e-4f5a-8b6c-7d8e9f0a1b2c}}",
        "parts.partitions.a.filesystem.uuid",
        "1A2B-3C4D",
    );
    wrong("a: {filesystem: {type: ext4, uuid: 1A2B-3C4D}}", "parts.partitions.a.filesystem.uuid", "four dashes");
    wrong("a: {filesystem: zfs}", "parts.partitions.a.filesystem", "a ZFS pool takes a whole disk");
    for medium in ["iso9660", "squashfs", "erofs"] {
        wrong(&format!("a: {{filesystem: {medium}}}"), "parts.partitions.a.filesystem", "with `readonly: true`");
    }
    wrong(
        "a: {filesystem: {type: ext4, properties: [a=b]}}",
        "parts.partitions.a.filesystem.properties",
        "unknown key `properties`",
    );
    let uuid = "uuid: 6F1A2B3C-0d4e-4f5a-8b6c-7d8e9f0a1b2c";
    wrong(
        &format!("a: {{size: 1%, filesystem: {{type: ext4, {uuid}}}}}, b: {{filesystem: {{type: xfs, {uuid}}}}}"),
        "parts.partitions.b.filesystem.uuid",
        "have one uuid",
    );
}

#[test]
fn a_value_of_the_wrong_form_says_what_is_allowed_and_what_was_probably_meant() {
    for (text, path) in [
        ("a: {size: 50}", "size"),
        ("a: {size: 50GX}", "size"),
        ("a: {size: 0%}", "size"),
        ("a: {number: 0}", "number"),
        ("a: {number: 129}", "number"),
        ("a: {type: 0x83}", "type"),
        ("a: {filesystem: {type: ext4, uuid: x}}", "filesystem.uuid"),
    ] {
        wrong(text, &format!("parts.partitions.a.{path}"), "invalid value");
    }
    let found = refused(&parts("a: {type: lunux}"));
    assert_eq!(found[0].2.as_deref(), Some("did you mean `linux`?"), "{found:?}");
    let found = refused(&parts("a: {sise: 1MiB}"));
    assert_eq!(found[0].2.as_deref(), Some("did you mean `size`?"), "{found:?}");
    wrong("A: {}", "parts.partitions.A", "invalid partition name `A`");
    wrong("a:", "parts.partitions.a", "the partition `a` has no value, which states nothing");
    let many: Vec<String> = (0..129).map(|index| format!("p{index}: {{size: 1MiB}}")).collect();
    wrong(&many.join(", "), "parts.partitions", "129 partitions");
}

#[test]
fn a_disk_has_either_partitions_or_something_else() {
    let with = |rest: &str| {
        vec![document(LayerKind::Project, &format!("      parts: {{partitions: {{a: {{size: 5MiB}}}}, {rest}}}\n"))]
    };
    for (rest, path, text) in [
        ("filesystem: ext4", "parts.partitions", "either `filesystem` or `partitions`"),
        ("allocation: 6MiB", "parts.partitions", "need 7340032 bytes, the disk has 6291456"),
        ("mountpoint: /x", "parts.mountpoint", "nothing to mount"),
        ("readonly: true", "parts.partitions", "a read-only disk cannot be partitioned"),
        ("wipe-on-boot: crypto", "parts.wipe-on-boot", "only a `filesystem` lies behind a cipher"),
    ] {
        let found = refused(&with(rest));
        assert!(found.iter().any(|error| error.0 == path && error.1.contains(text)), "{rest}: {found:?}");
    }
    load(&with("allocation: 7MiB")).unwrap();
    for method in ["true", "zero", "discard", "recreate"] {
        load(&with(&format!("wipe-on-boot: {method}, on-reimage: recreate"))).unwrap();
    }
    let system = "cloud-machine: {resources: {disks: {s: {boot-partition: true, partitions: {a: {}}}}}}";
    let system = parse(LayerKind::Project, "f", system.as_bytes()).unwrap();
    assert!(load(&[system]).unwrap_err().to_string().contains("the partitions of the system disk are the image's"));
}

/// A pool has properties where other filesystems have options, and what is never written stays so.
#[test]
fn what_a_whole_disk_cannot_have_is_refused_where_it_stands() {
    let uuid = "6f1a2b3c-0d4e-4f5a-8b6c-7d8e9f0a1b2c";
    for (disk, path, text) in [
        ("filesystem: {type: zfs, options: [-o, ashift=12]}".to_owned(), "filesystem.options", "it has `properties`"),
        (format!("filesystem: {{type: zfs, uuid: {uuid}}}"), "filesystem.uuid", "a ZFS pool cannot be chosen"),
        ("filesystem: {type: zfs, grow: true}".to_owned(), "filesystem.grow", "is made on all of its disk"),
        (
            "allocation: 128MiB, filesystem: {type: btrfs, grow: true}".to_owned(),
            "filesystem.grow",
            "grows btrfs to 256 MiB at least",
        ),
        ("filesystem: {type: swap, grow: true}".to_owned(), "filesystem.grow", "nothing grows swap"),
        ("filesystem: {type: xfs, grow: true}, readonly: true".to_owned(), "filesystem.grow", "never written"),
        ("filesystem: zfs, mount-options: [noatime]".to_owned(), "mount-options", "it has `properties`"),
        ("filesystem: ext4, readonly: true, mount-options: [rw]".to_owned(), "mount-options", "cannot be mounted with"),
    ] {
        let found = refused(&[document(LayerKind::Project, &format!("      one: {{{disk}}}\n"))]);
        assert_eq!(found.len(), 1, "{disk}: {found:?}");
        assert!(found[0].0 == format!("one.{path}") && found[0].1.contains(text), "{disk}: {found:?}");
    }
    let disks = "      one: {filesystem: {type: ext4, uuid: 6f1a2b3c-0d4e-4f5a-8b6c-7d8e9f0a1b2c}, readonly: true, mount-options: [noatime]}\n";
    load(&[document(LayerKind::Project, disks)]).unwrap();
}

/// `a` with the partition `b-c`, and `a-b` with the partition `c`.
#[test]
fn two_partitions_that_would_have_one_name_are_refused() {
    let disks = "      a: {partitions: {b-c: {}}}\n      a-b: {partitions: {c: {}}}\n";
    let found = refused(&[document(LayerKind::Project, disks)]);
    assert!(found[0].1.contains("would be called `a-b-c`"), "{found:?}");
    let found = refused(&[document(LayerKind::Project, "      a: {partitions: {b: {}}}\n      a-b: {}\n")]);
    assert!(found[0].1.contains("would be called `a-b`"), "{found:?}");
}

#[test]
fn no_layer_of_the_guest_changes_a_partition() {
    let host = document(LayerKind::Project, "      parts: {partitions: {a: {size: 1GiB}}, mount-options: []}\n");
    for change in [
        "partitions: {a: {size: 2GiB}}",
        "partitions: {b: {}}",
        "partitions: {a: {type: esp}}",
        "partitions: {a: {filesystem: ext4}}",
        "partitions: !reset",
        "mount-options: [suid]",
    ] {
        let text = format!("cloud-machine: {{resources: {{disks: {{parts: {{{change}}}}}}}}}");
        let guest = parse(LayerKind::Volume, "g", text.as_bytes()).unwrap();
        let errors = merge(&[defaults(), host.clone(), guest]).unwrap_err();
        assert!(errors.to_string().contains("a safety key may only be tightened"), "{change}: {errors}");
    }
}
