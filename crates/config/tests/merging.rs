//! What each tag, its plain twins and the layers do, value by value.
#![allow(clippy::unwrap_used, clippy::panic)]

use cloud_machine_config::{
    ConfigErrors, Document, LayerKind, Merged, defaults, environment, merge, parse, set, unset, validate,
};

fn document(index: usize, text: &str) -> Document {
    parse(LayerKind::Project, &format!("f{index}"), text.as_bytes()).unwrap_or_else(|errors| panic!("{text}\n{errors}"))
}

fn tried(texts: &[&str]) -> Result<Merged, ConfigErrors> {
    merge(&texts.iter().enumerate().map(|(index, text)| document(index, text)).collect::<Vec<_>>())
}

fn merged(texts: &[&str]) -> Merged {
    tried(texts).unwrap_or_else(|errors| panic!("{texts:?}\n{errors}"))
}

fn yaml(texts: &[&str]) -> String {
    merged(texts).to_yaml()
}

/// `path: message` of the only error, with its place in front.
fn refused(texts: &[&str]) -> String {
    let errors = tried(texts).unwrap_err();
    assert_eq!(errors.errors().len(), 1, "{errors}");
    errors.errors()[0].to_string()
}

fn hidden(merged: &Merged, path: &str) -> Vec<String> {
    let leaves = merged.leaves();
    let leaf = leaves.iter().find(|leaf| leaf.path == path).unwrap();
    let text = |value: &serde_yaml::Value| serde_yaml::to_string(value).unwrap().trim_end().to_owned();
    leaf.hidden.iter().map(|one| format!("{}: {} ({})", one.path, text(&one.value), one.origin)).collect()
}

#[test]
fn maps_merge_by_key_and_scalars_and_lists_replace() {
    let result = yaml(&["a: {x: 1, y: [1, 2]}\nb: 1", "a: {y: [3], z: 4}\nb: text"]);
    assert_eq!(result, "a:\n  x: 1\n  y:\n    - 3\n  z: 4\nb: text\n");
}

#[test]
fn an_empty_value_states_nothing() {
    assert_eq!(yaml(&["a: {x: 1}\nb: [1]", "a:\nb: ~"]), "a:\n  x: 1\nb:\n  - 1\n");
    assert_eq!(yaml(&["a:", "a: {x: 1}"]), "a:\n  x: 1\n");
}

#[test]
fn a_map_and_a_scalar_replace_each_other_however_they_are_grouped() {
    assert_eq!(yaml(&["a: {x: 1}", "a: 2", "a: {z: 3}"]), "a:\n  z: 3\n");
    assert_eq!(yaml(&["a: {x: 1}", "a: 2"]), "a: 2\n");
}

#[test]
fn a_leaf_knows_its_origin_and_what_it_hid() {
    let result = merged(&["a: {x: 1}", "a:\n  x: 2", "a:\n  x: [3]"]);
    assert_eq!(result.origins()["a.x"], "project f2:2:6");
    assert_eq!(hidden(&result, "a.x"), ["a.x: 2 (project f1:2:6)", "a.x: 1 (project f0:1:8)"]);
    assert_eq!(hidden(&merged(&["a: {x: 1}", "a: 2"]), "a"), ["a.x: 1 (project f0:1:8)"]);
}

#[test]
fn what_a_map_replaced_is_shown_once_at_its_own_path_or_first() {
    let result = merged(&["a: {x: 1, y: {b.c: 2}, z: 3}", "a: !override {w: 0, y: {b.c: 4}, z: 5}"]);
    assert_eq!(hidden(&result, "a.w"), ["a.x: 1 (project f0:1:8)"]);
    assert_eq!(hidden(&result, "a.y.\"b.c\""), ["a.y.\"b.c\": 2 (project f0:1:20)"]);
    assert_eq!(hidden(&result, "a.z"), ["a.z: 3 (project f0:1:27)"]);
    let result = merged(&["a: 1", "a: {x: 2, y: 3}"]);
    assert_eq!((hidden(&result, "a.x").len(), hidden(&result, "a.y").len()), (1, 0));
}

#[test]
fn a_huge_replaced_map_is_not_multiplied() {
    let big: String = (0..4000).map(|index| format!(" k{index}: {index}\n")).collect();
    let result = merged(&[&format!("a:\n{big}"), "a: 1", &format!("a:\n{big}")]);
    let leaves = result.leaves();
    assert_eq!(leaves.len(), 4000);
    assert_eq!(leaves.iter().map(|leaf| leaf.hidden.len()).sum::<usize>(), 4001);
}

#[test]
fn layers_win_by_their_order_and_not_by_the_order_of_the_call() {
    let global = parse(LayerKind::Global, "g", b"a: global").unwrap();
    let user = parse(LayerKind::User, "u", b"a: user").unwrap();
    assert_eq!(merge(&[user, global]).unwrap().to_yaml(), "a: user\n");
    assert_eq!(merge(&[]).unwrap().to_yaml(), "{}\n");
}

#[test]
fn a_reset_forgets_what_was_inherited() {
    assert_eq!(yaml(&["a: {x: 1, y: 2}\nb: 3", "a: {x: !reset }\nb: !reset"]), "a:\n  y: 2\n");
    assert_eq!(yaml(&["a: {x: 1}", "a: !reset", "a: {y: 2}"]), "a:\n  y: 2\n");
    assert_eq!(yaml(&["a: !reset", "b: 1"]), "b: 1\n");
    for twin in ["exclude: [a.x, b]", "exclude:\n  - a.\"x\"\n  - b", "exclude: [a.x, b, c.d.e]\na: {x: }"] {
        assert_eq!(yaml(&["a: {x: 1, y: 2}\nb: 3", twin]), "a:\n  y: 2\n", "{twin}");
    }
    // What the same document states comes after what it excludes.
    assert_eq!(yaml(&["a: {x: 1, y: 2}", "exclude: [a]\na: {z: 3}"]), "a:\n  z: 3\n");
    assert_eq!(yaml(&["a: [1]", "exclude: [a]\na: !append [2]"]), "a:\n  - 2\n");
    assert_eq!(yaml(&["a: 1\nexclude:"]), "a: 1\n");
    // A path to nothing makes nothing, and takes nothing away on its way.
    assert_eq!(yaml(&["a: 1\nb: [x]", "exclude: [a.b, b.c, d.e.f]"]), "a: 1\nb:\n  - x\n");
    assert_eq!(yaml(&["a: {x: {y: 1}}", "exclude: [a.x.y]"]), "a:\n  x: {}\n");
    assert_eq!(yaml(&["a: {x: {y: !reset }}"]), "{}\n");
}

#[test]
fn after_a_reset_the_built_in_default_applies() {
    let reset = |twin: Document| {
        let merged = merge(&[defaults(), document(0, "cloud-machine: {resources: {ram: 4, cpus: 8}}"), twin]).unwrap();
        let path = "cloud-machine.resources.ram";
        assert_eq!(merged.origins()[path], "built-in default");
        assert_eq!(merged.origins()["cloud-machine.resources.cpus"], "project f0:1:43");
        assert_eq!(hidden(&merged, path), [format!("{path}: 4 (project f0:1:34)")]);
    };
    reset(document(1, "cloud-machine: {resources: {ram: !reset }}"));
    reset(document(1, "exclude: [resources.ram]"));
    reset(unset(0, "resources.ram").unwrap());
    reset(set(0, "resources.ram=!reset").unwrap());
    let all = merge(&[
        defaults(),
        document(0, "cloud-machine: {image: x, resources: {ram: 4}}"),
        unset(1, "cloud-machine").unwrap(),
    ]);
    assert_eq!(all.unwrap().to_yaml(), merge(&[defaults()]).unwrap().to_yaml());
    // The same when the host's layers travelled, and a layer of the guest resets.
    let host = merge(&[defaults(), document(0, "cloud-machine: {resources: {ram: 4}}")]).unwrap().to_layers();
    let guest = parse(LayerKind::Volume, "v", b"exclude: [resources.ram]").unwrap();
    let merged = merge(&[defaults(), Document::from_layers(&host).unwrap(), guest]).unwrap();
    assert_eq!(merged.origins()["cloud-machine.resources.ram"], "built-in default");
}

#[test]
fn an_override_replaces_the_whole_map_even_of_the_defaults() {
    assert_eq!(yaml(&["a: {x: 1}", "a: !override {y: 2}", "a: {z: 3}"]), "a:\n  y: 2\n  z: 3\n");
    assert_eq!(yaml(&["a: {x: 1}", "a: !override {}"]), "a: {}\n");
    let merged = merge(&[defaults(), document(0, "cloud-machine: !override {image: x}")]).unwrap();
    assert_eq!(merged.to_yaml(), "cloud-machine:\n  image: x\n");
}

#[test]
fn lists_are_extended_at_either_end() {
    assert_eq!(yaml(&["a: [1]", "a: !append [2]", "a: !prepend [0]"]), "a:\n  - 0\n  - 1\n  - 2\n");
    assert_eq!(yaml(&["a: !append [2]"]), "a:\n  - 2\n");
    assert_eq!(yaml(&["a:", "a: !append [2]"]), "a:\n  - 2\n");
    assert_eq!(yaml(&["a: [1]", "a: !append [2]", "a: [3]"]), "a:\n  - 3\n");
    assert_eq!(merged(&["a: [1]", "a: !append [2]"]).origins()["a"], "project f1:1:4");
    for (first, kind) in [("a: x", "a text"), ("a: {b: 1}", "a map")] {
        let error = refused(&[first, "a: !append [2]"]);
        assert_eq!(error, format!("f1:1:4: a: cannot extend {kind}, set by project f0:1:4"));
    }
}

#[test]
fn a_lock_is_named_with_both_places() {
    let lock = "a: {b: !final 1, c: 2}";
    for (later, place) in [
        ("a: {b: 2}", "f1:1:8: a.b: the value is final, locked by project f0:1:8"),
        ("a: {b: 1}", "f1:1:8: a.b: the value is final, locked by project f0:1:8"),
        ("a: {b: !reset }", "f1:1:8: a.b: the value is final, locked by project f0:1:8"),
        ("a: {b: {x: 1}}", "f1:1:8: a.b: the value is final, locked by project f0:1:8"),
        ("a: 1", "f1:1:4: a.b: the value is final, locked by project f0:1:8"),
        ("a: !reset", "f1:1:4: a.b: the value is final, locked by project f0:1:8"),
        ("a: !override {c: 1}", "f1:1:4: a.b: the value is final, locked by project f0:1:8"),
        ("exclude: [a.b]", "f1:1:11: a.b: the value is final, locked by project f0:1:8"),
    ] {
        assert_eq!(refused(&[lock, later]), place, "{later}");
    }
    assert_eq!(
        refused(&["a: !final [1]", "a: !append [2]"]),
        "f1:1:4: a: the value is final, locked by project f0:1:4"
    );
    let whole = "a: !final {b: {c: 1}}";
    let expected = "f1:1:12: a.b.d: the value of `a` is final, locked by project f0:1:4";
    assert_eq!(refused(&[whole, "a: {b: {d: 1}}"]), expected);
    assert_eq!(refused(&[whole, "a: 1"]), "f1:1:4: a: the value is final, locked by project f0:1:4");
    // What states nothing breaks nothing.
    assert_eq!(yaml(&[lock, "a: {b: , c: 3}"]), "a:\n  b: 1\n  c: 3\n");
    assert_eq!(yaml(&[whole, "a: {b: {c: }}"]), "a:\n  b:\n    c: 1\n");
    let leaves = merged(&[whole]).leaves();
    assert_eq!(leaves[0].locked.as_ref().unwrap().to_string(), "project f0:1:4");
    let errors = merge(&[document(0, lock), unset(3, "a.b").unwrap(), set(4, "a.b=2").unwrap()]).unwrap_err();
    assert_eq!(errors.errors().len(), 2, "{errors}");
}

#[test]
fn secrets_are_marked_by_tag_and_by_name_and_can_be_made_unreadable() {
    let result = merged(&[
        "a: !secret 1\nusers:\n  - {name: me, passwd: x, lock_passwd: false}\nwifi: {psk: 12, on: true}\nb: {c: {d: 1}}",
        "a: 2\nb: !secret {c: 3}\nlist: [1, !secret 2]",
    ]);
    let secrets: Vec<String> = result.leaves().into_iter().filter(|leaf| leaf.secret).map(|leaf| leaf.path).collect();
    assert_eq!(secrets, ["a", "users", "wifi.psk", "b.c", "list"]);
    let argument = set(0, "db.password=hunter2").unwrap();
    let result = merge(&[parse(LayerKind::User, "u", result.to_yaml().as_bytes()).unwrap(), argument]).unwrap();
    let shown = result.redacted(&|text| format!("[redacted {text}]"));
    assert!(shown.to_yaml().contains("{name: me") || shown.to_yaml().contains("name: me\n"), "{}", shown.to_yaml());
    assert!(shown.to_yaml().contains("passwd: \"[redacted x]\"\n    lock_passwd: false\n"), "{}", shown.to_yaml());
    assert!(shown.to_yaml().contains("psk: \"[redacted 12]\"\n  on: true\n"), "{}", shown.to_yaml());
    assert_eq!(shown.origins()["db.password"], "argument --set db.password=…");
    assert!(merge(&[parse(LayerKind::User, "u", shown.to_yaml().as_bytes()).unwrap()]).is_ok());
}

#[test]
fn a_secret_that_was_replaced_stays_unreadable() {
    let result = merged(&["a: {password: x, b: y}\nc: !secret z", "a: 1\nc: open"]);
    let shown = result.redacted(&|_| "#".to_owned());
    assert_eq!(hidden(&shown, "a"), ["a.password: '#' (project f0:1:15)", "a.b: y (project f0:1:21)"]);
    assert_eq!(hidden(&shown, "c"), ["c: '#' (project f0:2:4)"]);
    assert!(shown.to_yaml().contains("c: \"#\"\n"));
    let leaves = result.leaves();
    assert_eq!(leaves[0].hidden.iter().map(|one| one.secret).collect::<Vec<_>>(), [true, false]);
}

fn variables(pairs: &[(&str, &str)]) -> Result<Document, ConfigErrors> {
    environment(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

#[test]
fn variables_set_keys_below_ours() {
    let document = variables(&[
        ("CLOUD_MACHINE__RESOURCES__RAM", "4"),
        ("CLOUD_MACHINE__RESOURCES__DISKS__MY_DISK__WIPE_ON_BOOT", "true"),
        ("CLOUD_MACHINE__RESOURCES__DISKS__MY_DISK", "{boot-partition: false, wipe-on-boot: false}"),
        ("CLOUD_MACHINE__DRIVER", ""),
        ("CLOUD_MACHINE_STATE", "/x"),
        ("PATH", "/bin"),
    ])
    .unwrap();
    let merged = merge(&[defaults(), document]).unwrap();
    assert_eq!(
        merged.to_yaml(),
        "cloud-machine:\n  driver: qemu\n  resources:\n    ram: 4\n    cpus: 2\n    disks:\n      my-disk:\n        boot-partition: false\n        wipe-on-boot: true\n"
    );
    let origins = merged.origins();
    assert_eq!(origins["cloud-machine.resources.ram"], "environment CLOUD_MACHINE__RESOURCES__RAM");
}

#[test]
fn a_wrong_variable_is_named() {
    for (pairs, message) in [
        (&[("CLOUD_MACHINE__", "1")][..], "CLOUD_MACHINE__:1:1: a key in the variable's name is empty"),
        (&[("CLOUD_MACHINE__A____B", "1")], "CLOUD_MACHINE__A____B:1:1: a key in the variable's name is empty"),
        (&[("CLOUD_MACHINE__A", "x: y")], "CLOUD_MACHINE__A:1:1: cloud-machine.a: the value is a block of YAML"),
        (&[("CLOUD_MACHINE__A", "*x")], "CLOUD_MACHINE__A:1:1: aliases are not supported"),
        (
            &[("CLOUD_MACHINE__A", "1"), ("CLOUD_MACHINE__a", "2")],
            "CLOUD_MACHINE__a:1:1: the variable `CLOUD_MACHINE__A` means the same key",
        ),
    ] {
        assert_eq!(variables(pairs).unwrap_err().errors()[0].to_string(), message);
    }
    let long = "x".repeat(2 << 20);
    assert!(variables(&[("CLOUD_MACHINE__A", &long)]).unwrap_err().to_string().contains("too long together"));
    // A misspelt key is ours as well, and never cloud-init's.
    let document = variables(&[("CLOUD_MACHINE__RESORUCES__RAM", "4")]).unwrap();
    let errors = validate(&merge(&[document]).unwrap()).unwrap_err();
    assert_eq!(errors.errors()[0].suggestion.as_deref(), Some("did you mean `resources`?"));
}

#[test]
fn cloud_init_gets_its_scalars_as_they_were_written() {
    let text = "write_files:\n  - path: /x\n    permissions: 0644\n    defer: yes\n    mode: '0644'\nntp: {enabled: on}\n\
                size: 1_000\nbig: 0x1F\nfloat: 1e3\ntime: 1:30\nday: 2020-01-01\nneg: -.5\n80: y\nyes: no\nempty:\ntilde: ~\n\
                multi: a b\n  c\nblock: |\n  yes\n  x\n'on': 'yes'\nq: \"a\\tb\"\nurl: http://x/y#z\n";
    let merged = merged(&[text]);
    let expected = "write_files:\n  - path: /x\n    permissions: 0644\n    defer: yes\n    mode: \"0644\"\nntp:\n  enabled: on\n\
                size: 1_000\nbig: 0x1F\nfloat: 1e3\ntime: 1:30\nday: 2020-01-01\nneg: -.5\n80: y\nyes: no\nempty: null\ntilde: ~\n\
                multi: a b c\nblock: \"yes\\nx\\n\"\n\"on\": \"yes\"\nq: \"a\\tb\"\nurl: http://x/y#z\n";
    assert_eq!(merged.to_yaml(), expected);
    let travelled = merge(&[Document::from_layers(&merged.to_layers()).unwrap()]).unwrap();
    let config = validate(&travelled).unwrap();
    assert_eq!(config.cloud_init.to_yaml(), expected);
    let rest = config.cloud_init.without(&["write_files", "ntp"]);
    assert_eq!(rest.keys().next().as_deref(), Some("size"));
    let names: Vec<_> = rest.keys().collect();
    assert!(rest.without(&names.iter().map(AsRef::as_ref).collect::<Vec<&str>>()).is_empty());
    // Below our own key the typing table holds.
    assert_eq!(yaml(&["cloud-machine: {image: 0777}"]), "cloud-machine:\n  image: \"0777\"\n");
}

#[test]
fn what_gives_access_in_an_address_is_a_secret_and_the_rest_stays_readable() {
    let result = merged(&[
        "cloud-machine:\n  cloud-init-url: https://config.example/a?token=hunter2\napt: {source: 'deb https://me:hunter2@h/ x y'}",
        "phone_home: {url: 'https://h/x#hunter2'}\nplain: https://h/x\nseveral: [a, postgres://u:hunter2@h/db]",
    ]);
    let secrets: Vec<String> = result.leaves().into_iter().filter(|leaf| leaf.secret).map(|leaf| leaf.path).collect();
    assert_eq!(secrets, ["cloud-machine.cloud-init-url", "apt.source", "phone_home.url", "several"]);
    let shown = result.redacted(&|_| "[redacted]".to_owned()).to_yaml();
    assert!(!shown.contains("hunter2") && shown.contains("plain: https://h/x\n"), "{shown}");
    assert!(shown.contains("cloud-init-url: \"https://config.example/a [redacted]\""), "{shown}");
    let argument = set(0, "cloud-machine.cloud-init-url=https://config.example/a?token=hunter2").unwrap();
    let result = merge(&[argument]).unwrap();
    assert!(!format!("{:?}{:?}", result.origins(), result.leaves()[0].origin).contains("hunter2"));
}

#[test]
fn an_error_about_an_address_repeats_nothing_that_gives_access() {
    for text in [
        "cloud-machine: {cloud-init-url: 'https://me:hunter2@config.example/'}",
        "cloud-machine: {cloud-init-url: 'ftp://me:hunter2@config.example/'}",
        "cloud-machine: {cloud-init-url: {url: 'https://me:hunter2@config.example/'}}",
        "cloud-machine: {cloud-init-url: 'http://config.example/?token=hunter2'}",
        "cloud-machine: {resources: {ram: 'https://me:hunter2@config.example/'}}",
        "cloud-machine: {driver: [https://me:hunter2@config.example/]}",
    ] {
        let errors = validate(&merged(&[text])).unwrap_err();
        let all = format!("{errors} {:?}", errors.errors()[0].to_string());
        assert!(!all.contains("hunter2"), "{text}: {all}");
    }
    let refused = parse(LayerKind::User, "u", b"a: https://me:hunter2@h/: x").unwrap_err().to_string();
    assert!(!refused.contains("hunter2"), "{refused}");
    let argument = set(0, "cloud-machine.cloud-init-url=ftp://me:hunter2@h/").unwrap();
    let refused = validate(&merge(&[argument]).unwrap()).unwrap_err().to_string();
    assert!(!refused.contains("hunter2"), "{refused}");
}

#[test]
fn the_address_on_a_volume_is_without_what_gives_access_also_where_it_was_replaced() {
    for (first, second) in [
        ("{cloud-init-url: https://h/old?hunter2}", "{cloud-init-url: https://h/new?hunter2}"),
        ("{cloud-init-url: {url: https://h/old?hunter2}}", "{cloud-init-url: https://h/new?hunter2}"),
        ("{cloud-init-url: https://h/old?hunter2}", "{cloud-init-url: {url: https://h/new?hunter2}}"),
        ("{cloud-init-url: 'https://u:hunter2@['}", "!override {cloud-init-url: https://h/new?hunter2}"),
        (
            "{resources: {cloud-init-url: https://h/old?hunter2}}",
            "{resources: {cloud-init-url: https://h/new?hunter2}}",
        ),
    ] {
        let texts = [format!("cloud-machine: {first}\nurl: https://h/?theirs"), format!("cloud-machine: {second}")];
        let stripped = merged(&texts.each_ref().map(String::as_str)).without_access();
        let all = format!("{}{}", String::from_utf8(stripped.to_layers()).unwrap(), stripped.to_yaml());
        assert!(!all.contains("hunter2") && all.contains("https://h/?theirs"), "{all}");
        let url = validate(&stripped).unwrap().cloud_init_url.unwrap();
        assert_eq!(url.url.reveal().as_str(), "https://h/new", "{texts:?}");
    }
    let argument = set(0, "cloud-machine.cloud-init-url=https://h/x?hunter2").unwrap();
    let layers = merge(&[argument]).unwrap().without_access().to_layers();
    assert!(!String::from_utf8(layers).unwrap().contains("hunter2"));
}

#[test]
fn bytes_of_yaml_1_1_reach_cloud_init_as_they_were_written() {
    let base = "write_files:\n- path: /a\n  content: !!binary |\n    CiMgVGhpcyBmaWxl\n    IGNvbnRyb2xz\n";
    let later = "write_files: !append\n- {path: /b, content: !<tag:yaml.org,2002:binary> 1234}\n- {path: /c, content: !!str 0777}\n";
    let result = merged(&[base, later]);
    let yaml = result.to_yaml();
    for text in [
        "content: !!binary \"CiMgVGhpcyBmaWxl\\nIGNvbnRyb2xz\\n\"\n",
        "content: !!binary \"1234\"\n",
        "content: \"0777\"\n",
    ] {
        assert!(yaml.contains(text), "{yaml}");
    }
    let again = merge(&[parse(LayerKind::User, "u", yaml.as_bytes()).unwrap()]).unwrap();
    let travelled = merge(&[Document::from_layers(&result.to_layers()).unwrap()]).unwrap();
    for copy in [&again, &travelled] {
        assert_eq!(copy.to_yaml(), yaml);
    }
    assert!(yaml.ends_with(&validate(&travelled).unwrap().cloud_init.to_yaml()));
    let shown = merged(&["a: {password: !!binary AAAA}"]).redacted(&|_| "#".to_owned()).to_yaml();
    assert_eq!(shown, "a:\n  password: \"#\"\n");
}

#[test]
fn bytes_have_one_place_and_are_base64() {
    for (text, expected) in [
        ("a: !!binary x", "the tag `!!binary` stands before base64, and this is none"),
        ("a: !!binary [x]", "the tag `!!binary` stands before a text, and this is none"),
        ("!!binary AAAA: x", "the tag `!!binary` means nothing on a key"),
        ("a: !!int 1", "unknown tag `tag:yaml.org,2002:int`"),
    ] {
        let errors = parse(LayerKind::User, "u", text.as_bytes()).unwrap_err().to_string();
        assert!(errors.contains(expected), "{text}: {errors}");
    }
    for text in ["cloud-machine: {image: !!binary AAAA}", "cloud-machine: {require: [!!binary AAAA]}"] {
        let errors = validate(&merged(&[text])).unwrap_err().to_string();
        assert!(errors.contains("`!!binary` means nothing below our keys"), "{text}: {errors}");
    }
}
