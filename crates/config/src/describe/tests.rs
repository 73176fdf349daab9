//! Notes against grammar, forms against what `validate` accepts, and the example as a configuration.

use std::collections::BTreeSet;

use crate::{Config, ConfigErrors, LayerKind, defaults, merge, parse, validate};

use super::*;

fn load(text: &str) -> Result<Config, ConfigErrors> {
    let document = parse(LayerKind::Project, "example.yaml", text.as_bytes())?;
    let merged = merge(&[defaults(), document])?;
    validate(&merged)
}

/// A document that sets the key at `path` below `cloud-machine` to `value`, on a machine that has a system disk besides.
fn document(path: &str, value: &str) -> String {
    let mut text = String::from("cloud-machine:\n");
    if let Some((parent, key)) = path.split_once("partitions.*.") {
        let (name, below) = key.split_once('.').map_or((key, None), |(name, below)| (name, Some(below)));
        let kind = if below == Some("type") { "" } else { "type: ext4, " };
        let value = below.map_or_else(|| value.to_owned(), |below| format!("{{{kind}{below}: {value}}}"));
        let mounted = if name.starts_with("mount") { "filesystem: ext4, " } else { "" };
        return document(&format!("{parent}partitions"), &format!("{{one: {{{mounted}{name}: {value}}}}}"));
    }
    if let Some((parent, key)) = path.split_once("filesystem.") {
        let kind = match key {
            "type" => "",
            "properties" | "datasets" => "type: zfs, ",
            _ => "type: ext4, ",
        };
        return document(&format!("{parent}filesystem"), &format!("{{{kind}{key}: {value}}}"));
    }
    if path.starts_with("resources.disks.") && !path.ends_with("boot-partition") {
        text += "  resources:\n    disks:\n      first: {boot-partition: true}\n      other:\n";
        // Something has to be there to be mounted, to be required, or to lie on a cipher.
        let needs = path.contains("mount") || path.ends_with(".required") || value == "crypto";
        let filesystem = if needs { "        filesystem: ext4\n" } else { "" };
        // What comes with its content is never written.
        let media = ["iso9660", "squashfs", "erofs", "cdrom", "/srv"];
        let readonly = if media.iter().any(|medium| value.contains(medium)) { "        readonly: true\n" } else { "" };
        return text + filesystem + readonly + &format!("        {}: {value}\n", path.rsplit('.').next().unwrap());
    }
    if let Some((parent, key)) = path.split_once("cloud-init-url.") {
        let url = if key == "url" { "" } else { "url: https://config.example/, " };
        return document(&format!("{parent}cloud-init-url"), &format!("{{{url}{key}: {value}}}"));
    }
    if let Some(key) = path.strip_prefix("resources.nic.address.") {
        let addresses = match key {
            "addresses" => "",
            "search" => "addresses: [192.0.2.7/24], dns: [192.0.2.53], ",
            _ => "addresses: [192.0.2.7/24], ",
        };
        let address = format!("{{network: {{bridge: br0}}, address: {{{addresses}{key}: {value}}}}}");
        return document("resources.nic", &address);
    }
    if let Some(key) = path.strip_prefix("resources.nics.*.") {
        let rest = match key.split_once('.') {
            Some(("address", "addresses")) => format!("address: {{addresses: {value}}}"),
            Some(("address", key)) => format!("address: {{addresses: [192.0.2.7/24], {key}: {value}}}"),
            Some((network, key)) => return document("resources.nics.*", &format!("{{{network}: {{{key}: {value}}}}}")),
            None => format!("{key}: {value}"),
        };
        return document("resources.nics.*", &format!("{{network: {{bridge: br0}}, {rest}}}"));
    }
    if let Some((parent, key)) = path.split_once("network.") {
        return document(&format!("{parent}network"), &format!("{{{key}: {value}}}"));
    }
    let keys: Vec<&str> = path.split('.').collect();
    for (depth, key) in keys.iter().enumerate() {
        let name = if *key == "*" { "system" } else { key };
        let value = if depth + 1 == keys.len() { format!(" {value}") } else { String::new() };
        text += &format!("{}{name}:{value}\n", "  ".repeat(depth + 1));
    }
    text
}

#[test]
fn every_key_has_one_note_and_every_note_a_key() {
    let mut keys = BTreeSet::new();
    walk(&mut |entry| {
        assert!(!entry.note.summary.is_empty(), "{} has no note", entry.path);
        assert_eq!(entry.note.path, entry.path);
        let leaf = !matches!(entry.shape, Shape::Map(_) | Shape::Named(..));
        assert_eq!(leaf, entry.note.form != Form::Map, "{}", entry.path);
        assert!(!leaf || !(entry.note.default.is_empty() || entry.note.example.is_empty()), "{}", entry.path);
        assert!(keys.insert(entry.path.clone()), "{} is there twice", entry.path);
    });
    let notes: BTreeSet<String> = super::notes().map(|note| note.path.to_owned()).collect();
    assert_eq!(notes, keys);
    assert_eq!(super::notes().count(), notes.len());
}

#[test]
fn the_example_loads_and_means_what_it_says() {
    let config = load(&example()).unwrap_or_else(|errors| panic!("{errors}\n{}", example()));
    assert_eq!(config.image.map(String::from).as_deref(), Some("debian-12"));
    assert_eq!(config.resources.disks.len(), 2);
    assert_eq!(config.resources.ram.0, 1536 << 20);
    assert!(example().lines().all(|line| line.chars().count() <= 120), "{}", example());
}

#[test]
fn every_example_is_accepted() {
    walk(&mut |entry| {
        if !matches!(entry.shape, Shape::Map(_) | Shape::Named(..)) {
            let result = load(&document(&entry.path, entry.note.example));
            assert!(result.is_ok(), "{}: {result:?}", entry.path);
        }
    });
}

#[test]
fn words_and_flags_are_those_that_validate_takes() {
    walk(&mut |entry| {
        let mut cases: Vec<(String, bool)> = Vec::new();
        match (entry.shape, entry.note.form) {
            (Shape::Scalar(_), Form::Words(words)) => {
                cases.extend(words.iter().map(|word| ((*word).to_owned(), true)));
                cases.push(("certainly-not".to_owned(), false));
            }
            (Shape::Scalar(_), Form::Flag(words)) => {
                cases.extend(words.iter().map(|word| ((*word).to_owned(), true)));
                // Whether there may be no system disk at all is not this key's own rule.
                let own = !entry.path.ends_with("boot-partition");
                cases.extend([("true".to_owned(), true), ("certainly-not".to_owned(), false)]);
                cases.extend(own.then(|| ("false".to_owned(), true)));
            }
            _ => {}
        }
        for (value, valid) in cases {
            let result = load(&document(&entry.path, &value));
            assert_eq!(result.is_ok(), valid, "{}: {value}: {result:?}", entry.path);
            if let (Shape::Scalar(allowed), true) = (entry.shape, valid) {
                assert!(allowed.contains(&value), "{}: {value} is not in {allowed:?}", entry.path);
            }
        }
    });
}

#[test]
fn the_defaults_are_the_real_ones() {
    for (path, value) in [("driver", "qemu"), ("resources.ram", "1"), ("resources.cpus", "2")] {
        assert_eq!(note(path).default, value);
    }
    let bare = load("").unwrap();
    walk(&mut |entry| {
        // A default that is a plain value changes nothing when it is written.
        let plain = !entry.note.default.contains(' ') && entry.note.default != "none";
        if plain && matches!(entry.shape, Shape::Scalar(_)) && !entry.path.contains('*') {
            let written = load(&document(&entry.path, entry.note.default)).unwrap_or_else(|errors| panic!("{errors}"));
            assert_eq!(written, bare, "{}", entry.path);
        }
    });
}

#[test]
fn the_schema_has_every_key_and_no_other() {
    let schema: serde_json::Value = serde_json::from_str(&schema()).unwrap();
    walk(&mut |entry| {
        let mut place = &schema["properties"]["cloud-machine"];
        for key in entry.path.split('.') {
            let map = if place["anyOf"].is_array() { &place["anyOf"][1] } else { place };
            place = if key == "*" { &map["additionalProperties"] } else { &map["properties"][key] };
        }
        assert!(
            place["description"]
                .as_str()
                .is_some_and(|text| text.starts_with(entry.note.summary.trim_end_matches('.'))),
            "{}",
            entry.path
        );
    });
    assert_eq!(schema["properties"]["cloud-machine"]["additionalProperties"], false);
}

#[test]
fn about_a_key_takes_a_disks_real_name() {
    let found = about("resources.disks.scratch.on-reimage").unwrap();
    assert_eq!((found.path.as_str(), found.default), ("resources.disks.*.on-reimage", "wipe"));
    assert!(about("resources.disks.x.filesystem.kernel-module").is_some());
    assert!(about("resources.rum").is_none() && about("").is_none() && about("resources.disks.x").is_none());
}

#[test]
fn the_reference_page_names_every_key_and_what_a_driver_makes_of_it() {
    let support = |path: &str| format!("verdict on {path}");
    let page = reference(&[("d", &support)]);
    walk(&mut |entry| assert!(page.contains(&format!("## `{}`\n", entry.path)), "{}", entry.path));
    assert!(page.contains("| driver d | verdict on resources.ram |") && !page.contains("verdict on resources |"));
}

/// Two or more values of a key, to change one into the other.
fn values(entry: &Described<'_>) -> Vec<String> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    match entry.note.form {
        Form::Words(list) => words(list),
        Form::Flag(list) => [words(list), vec!["true".to_owned(), "false".to_owned()]].concat(),
        Form::Count(least, most) => vec![least.to_string(), most.to_string()],
        Form::Memory | Form::Size => vec!["1GiB".to_owned(), "2GiB".to_owned()],
        Form::PartitionSize => ["1GiB", "2GiB", "5%", "rest"].map(str::to_owned).to_vec(),
        Form::PartitionType => ["swap", "home"].map(str::to_owned).to_vec(),
        Form::FilesystemUuid => ["a", "b"].map(|digit| format!("6f1a2b3c-0d4e-4f5a-8b6c-7d8e9f0a1b2{digit}")).to_vec(),
        // No rule of one value: they are merged alone.
        Form::Matching(_) => ["[a]", "[b]"].map(str::to_owned).to_vec(),
        Form::Items(words) => vec![format!("[{}]", words[0]), format!("[{}]", words.join(", "))],
        Form::Options => ["[a]", "[b]"].map(str::to_owned).to_vec(),
        Form::Paths => vec!["[resources.ram]".to_owned(), "[resources.cpus]".to_owned()],
        Form::Keys => ["A", "B"].map(|letter| format!("[RWQ{}]", letter.repeat(53))).to_vec(),
        Form::Mac => vec!["\"52:54:00:00:00:01\"".to_owned(), "auto".to_owned()],
        Form::Device => vec!["serial:a".to_owned(), "serial:b".to_owned()],
        Form::Interface => ["br0", "br1"].map(str::to_owned).to_vec(),
        Form::Url => vec!["https://a.example/".to_owned(), "https://b.example/".to_owned()],
        Form::Sha256 => vec![format!("'{}'", "a1".repeat(32)), format!("'{}'", "b2".repeat(32))],
        Form::Pem => ["a", "b"].map(|name| format!("'-----BEGIN CERTIFICATE----- {name}'")).to_vec(),
        Form::Path => vec!["/a".to_owned(), "/b".to_owned()],
        Form::Properties => vec!["[atime=on]".to_owned(), "[atime=off]".to_owned()],
        Form::Datasets => vec!["[a]".to_owned(), "[b]".to_owned()],
        Form::Text | Form::ImageName | Form::Lower | Form::Map => vec!["a".to_owned(), "b".to_owned()],
    }
}

#[test]
fn a_key_has_a_note_on_safety_exactly_when_a_volume_may_not_change_it_at_will() {
    walk(&mut |entry| {
        if matches!(entry.shape, Shape::Map(_) | Shape::Named(..)) {
            return;
        }
        let values = values(&entry);
        let change = |from: &String, to: &String| {
            let load = |layer, value: &str| parse(layer, "f", document(&entry.path, value).as_bytes()).unwrap();
            merge(&[load(LayerKind::Project, from), load(LayerKind::Volume, to)])
        };
        let pairs = values.iter().flat_map(|from| values.iter().map(move |to| (from, to)));
        let refused: Vec<_> = pairs.filter(|(from, to)| from != to && change(from, to).is_err()).collect();
        let alone = values.len() == 1;
        assert_eq!(refused.is_empty(), entry.note.safety.is_empty() || alone, "{}: {refused:?}", entry.path);
        for (from, to) in refused {
            let words = format!("`{from}` may become `{to}`");
            assert!(!entry.note.safety.contains(&words), "{}: {words}", entry.path);
        }
    });
}
