//! Documents made to hurt, each with the error or the meaning that it has, and all of them within a bounded time.
#![allow(clippy::unwrap_used, clippy::panic)]
// The crate is pure; its tests may look at a clock.
#![allow(clippy::disallowed_methods)]

use std::time::{Duration, Instant};

use cloud_machine_config::{
    Document, Filesystem, FilesystemType, LayerKind, MAX_LAYERS, Merged, OnReimage, defaults, merge, parse, validate,
};
use cloud_machine_protocol::Bus;

/// A hang, and not a speed, ends a test: far above what any of these takes on a busy machine, far below what one that
/// is worse than linear would take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The way of a document, up to the YAML of the result.
fn loaded(bytes: &[u8]) -> Result<String, String> {
    let began = Instant::now();
    let result = parse(LayerKind::Project, "f", bytes).and_then(|document| merge(&[document]));
    let result = result.map(|merged| (merged.leaves(), merged.to_yaml()).1).map_err(|errors| errors.to_string());
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    result
}

fn validated(text: &str) -> String {
    let document = parse(LayerKind::Project, "f", text.as_bytes()).unwrap_or_else(|errors| panic!("{text}\n{errors}"));
    let began = Instant::now();
    let errors = validate(&merge(&[defaults(), document]).unwrap()).unwrap_err().to_string();
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    errors
}

#[test]
fn what_is_refused() {
    let bomb: String = (1..20).map(|n| format!("a{n}: &a{n} [{}]\n", format!("*a{},", n - 1).repeat(9))).collect();
    let blocks: String = (0..10_000).map(|depth| format!("{}a:\n", " ".repeat(depth.min(90)))).collect();
    let dashes = "- ".repeat(10_000);
    let path: String = (0..5).map(|depth| format!("{}{}:\n", "  ".repeat(depth), "k".repeat(240))).collect();
    let list = format!("{}: [{}x: 1}}]", "k".repeat(240), format!("{{{}: {{", "k".repeat(240)).repeat(4));
    let excluded: String = (0..1000).map(|index| format!("a.b.c.d.e.f.g.h.i.j.k{index},")).collect();
    let cases: [(&str, Vec<u8>, &str); 25] = [
        ("alias bomb", bomb.into_bytes(), "anchors are not supported"),
        ("alias to itself", b"a: &a [*a]".to_vec(), "anchors are not supported"),
        ("10 MB scalar", [b"a: ".to_vec(), vec![b'x'; 10 << 20]].concat(), "the document has 10485763 bytes"),
        ("1 MB scalar", [b"a: ".to_vec(), vec![b'x'; 1_000_000]].concat(), "the value has 1000000 bytes"),
        ("10,000 brackets", [b"a: ".to_vec(), vec![b'['; 10_000]].concat(), "nested too deep"),
        ("10,000 braces", [b"a: ".to_vec(), b"{a: ".repeat(10_000)].concat(), "nested too deep"),
        ("10,000 dashes", dashes.into_bytes(), "nested too deep"),
        ("10,000 maps", blocks.into_bytes(), "nested too deep"),
        ("a million commas", [b"a: [".to_vec(), b"1,".repeat(500_000), b"]".to_vec()].concat(), "too many values"),
        ("long path", path.into_bytes(), "the path of a key has 1205 bytes"),
        ("long path in a list", list.into_bytes(), "the path of a key has 1207 bytes"),
        ("11,000 keys to exclude", format!("exclude: [{excluded}]").into_bytes(), "the paths have too many keys"),
        ("duplicate key", b"a: 1\na: 2".to_vec(), "the key `a` is there twice, first in line 1"),
        ("duplicate key of two spellings", b"\"\\x61\": 1\na: 2".to_vec(), "the key `a` is there twice"),
        ("NUL", b"a: \0".to_vec(), "U+0000"),
        ("escaped NUL", b"a: \"\\0\"".to_vec(), "U+0000"),
        ("not UTF-8", b"a: \xff\xfe".to_vec(), "not UTF-8"),
        ("UTF-16", b"\xff\xfea\0:\0".to_vec(), "text in UTF-16"),
        ("surrogate", b"a: \xed\xa0\x80".to_vec(), "not UTF-8"),
        ("tab for indentation", b"a:\n\tb: 1".to_vec(), "indent with spaces"),
        ("unknown tag", b"a: !!python/object/apply:os.system [id]".to_vec(), "unknown tag"),
        ("foreign tag", b"a: !include /etc/shadow".to_vec(), "unknown tag `!include`"),
        ("merge key", b"b: 1\n<<: {a: 1}".to_vec(), "merge keys `<<` are not supported"),
        ("several documents", b"a: 1\n---\nb: 2".to_vec(), "a second document begins here"),
        ("several documents, the first empty", b"---\n---\na: 1".to_vec(), "a second document begins here"),
    ];
    for (name, bytes, message) in cases {
        let text = loaded(&bytes).unwrap_err();
        assert!(text.contains(message) && text.starts_with("error: f:"), "{name}: {text}");
        assert!(text.len() < 2000, "{name}: {} bytes", text.len());
    }
}

#[test]
fn what_has_a_meaning() {
    for (text, yaml) in [
        ("a: 1\r\nb:\r\n  - 2\r\n", "a: 1\nb:\n  - 2\n"),
        ("\u{feff}a: 1", "a: 1\n"),
        ("a: 1\t# tab\nb:  2", "a: 1\nb: 2\n"),
        // Words and numbers of YAML 1.1 are handed to cloud-init as they were written …
        (
            "a: yes\nb: Off\nc: 0777\nd: 0o17\ne: 1_000\nf: 1e400",
            "a: yes\nb: Off\nc: 0777\nd: 0o17\ne: 1_000\nf: 1e400\n",
        ),
        // … and are texts below our own key.
        (
            "cloud-machine: {a: yes, b: 0777, c: 1e400, d: -0x1}",
            "cloud-machine:\n  a: \"yes\"\n  b: \"0777\"\n  c: \"1e400\"\n  d: \"-0x1\"\n",
        ),
        ("'<<': 1\n", ""),
        ("a: <<", "a: <<\n"),
        (
            "a: !final 1\nb: !secret x\nc: !append [1]\nd: !override {e: 1}\nf: !reset\n",
            "a: 1\nb: x\nc:\n  - 1\nd:\n  e: 1\n",
        ),
    ] {
        match yaml {
            "" => assert!(loaded(text.as_bytes()).is_err(), "{text}"),
            yaml => assert_eq!(loaded(text.as_bytes()).unwrap(), yaml, "{text}"),
        }
    }
}

#[test]
fn numbers_that_are_none_are_refused_with_what_is_allowed() {
    for (text, message) in [
        ("resources: {ram: 1e400}", "a number of GiB above 0"),
        ("resources: {ram: -4}", "a number of GiB above 0"),
        ("resources: {ram: -4GB}", "a number of GiB above 0"),
        ("resources: {ram: 010}", "a number of GiB above 0"),
        ("resources: {ram: 18446744073709551616}", "a number of GiB above 0"),
        ("resources: {cpus: 1_0}", "a whole number from 1 to 64"),
        ("resources: {disks: {d: {boot-partition: yes}}}", "write `true`"),
        ("resources: {disks: {d: {boot-partition: true, allocation: -20GB}}}", "an integer above 0 with a unit"),
        ("resources: {disks: {d: {boot-partition: true, allocation: 99999999999999999999GB}}}", "an integer above 0"),
    ] {
        let errors = validated(&format!("cloud-machine: {{{text}}}"));
        assert!(errors.contains(message), "{text}: {errors}");
    }
}

#[test]
fn four_thousand_errors_are_counted_and_twenty_are_shown() {
    let keys: Vec<String> = (0..4000).map(|index| format!("k{index}: {}", "x".repeat(200))).collect();
    let errors = validated(&format!("cloud-machine: {{{}}}", keys.join(", ")));
    assert_eq!(errors.matches("unknown key").count(), 20);
    assert!(errors.ends_with("and 3980 more errors"), "{}", &errors[errors.len() - 100..]);
}

fn parsed(layer: LayerKind, text: &str) -> Document {
    parse(layer, "f", text.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn documents_that_are_large_together_are_refused() {
    let half = |name: &str| {
        let text: String = (0..3000).map(|index| format!("{name}{index}: 1\n")).collect();
        parsed(LayerKind::Project, &text)
    };
    let errors = merge(&[half("a"), half("b")]).unwrap_err();
    assert!(errors.to_string().contains("all documents together have 12001 values"), "{errors}");
    let large = |name: &str| {
        let text: String = (0..4).map(|index| format!("{name}{index}: {}\n", "x".repeat(200_000))).collect();
        parsed(LayerKind::Project, &text)
    };
    let errors = merge(&[large("a"), large("b")]).unwrap_err();
    assert!(errors.to_string().contains("all documents together have 16"), "{errors}");
}

#[test]
fn a_path_that_is_too_long_for_a_document_is_refused_wherever_it_comes_from() {
    let path = |keys: usize| vec!["k".repeat(240); keys].join(".");
    let set = |keys: usize| cloud_machine_config::set(0, &format!("{}=1", path(keys))).unwrap();
    let errors = merge(&[set(5)]).unwrap_err().to_string();
    assert!(errors.contains("a key with a path of 1205 bytes") && errors.contains("at most 1024 bytes"), "{errors}");
    // What is not refused can be loaded again.
    let merged = merge(&[set(4)]).unwrap();
    assert_eq!(loaded(merged.to_yaml().as_bytes()).unwrap(), merged.to_yaml());
}

#[test]
fn thousands_of_paths_to_exclude_are_read_in_a_bounded_time() {
    let excluded: String = (0..5000).map(|index| format!("a{index}.b,")).collect();
    let stated: String = (0..1500).map(|index| format!("a{index}: {{b: 1, c: 2}}\n")).collect();
    let began = Instant::now();
    let later = parsed(LayerKind::Project, &format!("exclude: [{excluded}]"));
    let leaves = merge(&[parsed(LayerKind::User, &stated), later]).unwrap().leaves();
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    assert_eq!(leaves.len(), 1500);
    assert!(leaves.iter().all(|leaf| leaf.path.ends_with(".c")));
}

#[test]
fn documents_that_replace_one_another_over_and_over_stay_small() {
    let map: String = (0..4900).map(|index| format!("  k{index}: {index}\n")).collect();
    let map = format!("a:\n{map}");
    let documents: Vec<Document> = (0..20)
        .map(|index| match index % 2 {
            0 => parse(LayerKind::User, &format!("f{index}"), map.as_bytes()).unwrap(),
            _ => parse(LayerKind::User, &format!("f{index}"), b"a: 1").unwrap(),
        })
        .collect();
    let began = Instant::now();
    let merged = merge(&documents).unwrap();
    let shown: usize = merged.leaves().iter().map(|leaf| leaf.hidden.len()).sum();
    assert_eq!(shown, 10 * 4900 + 9);
    let layers = merged.to_layers();
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    assert!(layers.len() < MAX_LAYERS, "{}", layers.len());
}

#[test]
fn layers_that_no_host_wrote_are_refused() {
    let value = |rest: &str| format!(r#"{{"format":1,"root":{{"layer":"user","source":"u","map":[{rest}]}}}}"#);
    let entry = |key: &str, value: &str| {
        format!(r#"{{"key":{key},"line":1,"column":1,"value":{{"layer":"user","source":"u",{value}}}}}"#)
    };
    let a = r#"{"text":"a"}"#;
    let deep = (0..40).fold(r#""text":"x""#.to_owned(), |below, _| {
        format!(
            r#""map":[{{"key":{{"text":"a"}},"line":1,"column":1,"value":{{"layer":"user","source":"u",{below}}}}}]"#
        )
    });
    let wide = format!(r#""list":[{}]"#, vec![r#"{"layer":"user","source":"u","text":""}"#; 100_001].join(","));
    let twice = format!("{},{}", entry(a, r#""text":"1""#), entry(a, r#""text":"2""#));
    for (text, message) in [
        (String::new(), "the layers cannot be read"),
        ("[]".to_owned(), "the layers cannot be read"),
        ("[".repeat(100_000), "the layers cannot be read"),
        (value("").replace("\"format\":1", "\"format\":2"), "the layers have format 2"),
        (value("").replace("\"user\"", "\"root\""), "the layers cannot be read: unknown variant `root`"),
        (value("").replace("\"map\":[]", "\"text\":\"x\""), "the layers hold a text"),
        (value("").replace(",\"map\":[]", ""), "not one of plain, text, list and map"),
        (value(&entry(a, r#""text":"x","plain":"y""#)), "not one of plain, text, list and map"),
        (value(&entry(a, r#""text":"x","colour":1"#)), "the layers cannot be read: unknown field `colour`"),
        (value(&entry(a, r#""text":"x","line":3"#)), "an origin that is no place"),
        (value(&entry(a, r#""text":"x","line":0,"column":1"#)), "an origin that is no place"),
        (value(&entry(a, r#""text":"x\u0000""#)), "a scalar that no document could hold"),
        (value(&entry(a, r#""text":"x","replaces":true"#)), "a value that replaces and is no map"),
        (value(&entry(r#"{"text":"<<"}"#, r#""text":"x""#)), "a key that no document could hold"),
        (value(&entry(r#"{"plain":"~"}"#, r#""text":"x""#)), "a key that no document could hold"),
        (
            value(&entry(a, r#""text":"x","hidden":[{"layer":"user","source":"u","text":"","path":"a..b"}]"#)),
            "without a path",
        ),
        (value(&twice), "a key that is there twice"),
        (value(&entry(a, &deep)), "nested too deep"),
        (value(&entry(a, &wide)), "too many values"),
        (" ".repeat(MAX_LAYERS + 1), "the layers have 16777217 bytes"),
    ] {
        let began = Instant::now();
        let errors = Document::from_layers(text.as_bytes()).unwrap_err().to_string();
        assert!(errors.contains(message), "{}: {errors}", text.chars().take(300).collect::<String>());
        assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    }
    assert!(Document::from_layers(value(&entry(a, r#""text":"x""#)).as_bytes()).is_ok());
}

#[test]
fn the_deepest_document_travels() {
    let deep = format!("a: {}1{}", "{a: [".repeat(7), "]}".repeat(7));
    let set = cloud_machine_config::set(0, &format!("{}=[1]", ["b"; 15].join("."))).unwrap();
    let replaced = parsed(LayerKind::User, &format!("b: {}1{}", "[".repeat(15), "]".repeat(15)));
    let merged: Merged = merge(&[parsed(LayerKind::User, &deep), replaced, set]).unwrap();
    let again = merge(&[Document::from_layers(&merged.to_layers()).unwrap()]).unwrap();
    assert_eq!(again.leaves(), merged.leaves());
    assert!(parse(LayerKind::User, "again", merged.to_yaml().as_bytes()).is_ok());
}

const SEED_FIXED: &str = include_str!("seed-fixed.yaml");

#[test]
fn the_fixed_example_of_the_seed_loads_and_means_what_it_says() {
    let merged = merge(&[defaults(), parsed(LayerKind::Project, SEED_FIXED)]).unwrap();
    let origins = merged.origins();
    let disk = "cloud-machine.resources.disks.volume1";
    assert_eq!(origins[&format!("{disk}.filesystem.kernel-module")], "project f:12:36");
    assert_eq!(origins["cloud-machine.resources.ram"], "project f:5:14");
    assert_eq!(origins["cloud-machine.resources.cpus"], "project f:6:16");
    // Its empty destructive keys state nothing, and so destroy nothing.
    let leaf = |path: &str| merged.leaves().into_iter().find(|leaf| leaf.path == path).unwrap().value;
    assert!(leaf(&format!("{disk}.overwrite")).is_null() && leaf(&format!("{disk}.wipe-on-boot")).is_null());
    let config = validate(&merged).unwrap_or_else(|errors| panic!("{errors}"));
    let disk1 = &config.resources.disks[&"volume1".parse().unwrap()];
    assert_eq!(disk1.devicepath.to_string(), "/dev/sda");
    assert_eq!(disk1.allocation.unwrap().0, 20_000_000_000);
    let zfs = Filesystem { kernel_module: Some("zfs".to_owned()), ..Filesystem::of(FilesystemType::Zfs) };
    assert_eq!((&disk1.filesystem, disk1.mountpoint.as_deref()), (&Some(zfs), Some("/data")));
    assert!(!disk1.overwrite && disk1.wipe_on_boot.is_none() && !disk1.readonly && disk1.on_reimage == OnReimage::Wipe);
    let disk2 = &config.resources.disks[&"volume2".parse().unwrap()];
    let iso = Filesystem::of(FilesystemType::Iso9660);
    assert_eq!((disk1.bus, disk2.bus), (Bus::Scsi, Bus::Cdrom));
    assert_eq!((&disk2.filesystem, disk2.mountpoint.as_deref()), (&Some(iso), Some("/media/volume2")));
    assert!(disk2.readonly && disk2.devicepath.to_string() == "/dev/sr1");
    // Nobody says that one of them holds the image, so there is one more.
    let system = &config.resources.disks[&"system".parse().unwrap()];
    assert!(system.boot_partition && config.resources.disks.len() == 3);
    assert_eq!((config.resources.ram.0, config.resources.cpus, config.driver.as_str()), (4 << 30, 2, "qemu"));
    assert_eq!(config.cloud_init_url.unwrap().redacted(), "https://config.example/machine.yaml");
}
