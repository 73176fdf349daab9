//! What `config audit` says: verdicts, origins, stories, redaction, and forms that load again.

use std::fs;

use serde_json::Value;

use crate::Workspace;

#[test]
fn the_driver_says_what_becomes_of_each_value() {
    let workspace = Workspace::new();
    let verdict = |setting: &str, key: &str| {
        let audit = workspace.audit(&["--set", setting]);
        let row = audit.row(&format!("cloud-machine.{key}")).clone();
        let more = row.get("to").or(row.get("why")).and_then(Value::as_str).unwrap_or_default().to_owned();
        (row["verdict"].as_str().unwrap().to_owned(), more)
    };
    let expected = |verdict: &str, more: &str| (verdict.to_owned(), more.to_owned());
    assert_eq!(verdict("resources.ram=1.5", "resources.ram"), expected("exact", ""));
    assert_eq!(verdict("resources.ram=0.1", "resources.ram"), expected("rounded", "103MiB"));
    assert_eq!(verdict("resources.ram=4GB", "resources.ram"), expected("rounded", "3815MiB"));
    assert_eq!(verdict("resources.cpus=3", "resources.cpus"), expected("exact", ""));
    let disks = "resources.disks={system: {boot-partition: true, allocation: 20GB}}";
    let key = "resources.disks.system.allocation";
    assert_eq!(verdict(disks, key), expected("rounded", "19531252KiB"));
    assert_eq!(verdict(&disks.replace("20GB", "20GiB"), key), expected("exact", ""));
    let device = |device: &str| {
        verdict(
            &format!("resources.disks={{system: {{boot-partition: true, devicepath: '{device}'}}}}"),
            "resources.disks.system.devicepath",
        )
    };
    assert_eq!(device("serial:x"), expected("exact", ""));
    assert_eq!(device("/dev/vda"), expected("exact", ""), "it is the first disk");
    assert_eq!(device("/dev/vdb"), expected("unsupported", ""), "`create` refuses it");
    for (value, key) in [
        ("resources.nic.network=none", "resources.nic.network"),
        ("resources.nic.network.bridge=br0", "resources.nic.network.bridge"),
        ("resources.nic.address.mtu=1400", "resources.nic.address.mtu"),
    ] {
        assert_eq!(verdict(value, key), expected("exact", ""));
    }
    let audit = workspace.audit(&["--set", "docker.engine.debug=true"]);
    assert_eq!(audit.row("docker.engine.debug")["verdict"], "docker");
    let audit = workspace.audit(&["--set", "rancher.k3s.role=server"]);
    assert_eq!(audit.row("rancher.k3s.role")["verdict"], "rancher");
    // What cloud-init would undo of what the agent made.
    let audit = workspace.audit(&["--set", "growpart.mode=auto", "--set", "growpartition=x"]);
    let (overruled, other) = (audit.row("growpart.mode"), audit.row("growpartition"));
    assert!(overruled["verdict"] == "ignored" && overruled["why"].as_str().unwrap().contains("partition"));
    assert_eq!(other["verdict"], "cloud-init");
    let audit = workspace.audit(&[
        "--set",
        "disk_setup={/dev/vda: {overwrite: true}}",
        "--set",
        "fs_setup=[{device: /dev/vdb}]",
    ]);
    for key in ["disk_setup.\"/dev/vda\".overwrite", "fs_setup"] {
        assert_eq!(audit.row(key)["verdict"], "ignored", "{key}");
        assert!(audit.row(key)["why"].as_str().unwrap().contains("cloud-machine.resources.disks"), "{key}");
    }
    // A key of which only the beginning was copied is handed on, as cloud-init does, and lets nobody in.
    let cut =
        "ssh_authorized_keys:\n  - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE1lY2hhbmljYWwgZXhhbXBsZSBrZXkgMDAwMDAw me\n";
    let audit = workspace.audit(&["--config", &workspace.write("cut.yaml", cut)]);
    let row = audit.row("ssh_authorized_keys");
    assert_eq!(
        (&row["verdict"], &row["why"]),
        (&"ignored".into(), &"key 1 of the list is cut off and lets nobody in".into())
    );

    let table =
        workspace.call(&["config", "audit", "--set", "resources.ram=0.1", "--set", "hostname=x", "--driver", "qemu"]);
    for text in ["DRIVER qemu", "rounded to 103MiB", "for cloud-init", "exact", "argument --set resources.ram=0.1"] {
        assert!(table.output.contains(text), "{text}: {}", table.output);
    }
    let caret = ["--driver warp:1:1: unknown driver `warp`", "^^^^", "allowed: qemu or libvirt"];
    workspace.refused(&["config", "audit", "--driver", "warp"], 3, &caret);
}

#[test]
fn what_no_machine_can_have_is_told_with_its_place_before_one_is_asked_for() {
    let workspace = Workspace::new();
    for (document, texts) in [
        ("cloud-machine: {image: ../x}", ["f.yaml:1:24: invalid value", "^^^^", "allowed: the name of an image"]),
        ("cloud-machine: {driver: xen}", ["f.yaml:1:25: unknown driver `xen`", "^^^", "allowed: qemu or libvirt"]),
        (
            "ssh_authorized_keys: [foo]",
            ["f.yaml:1:23: invalid value `foo`", "^^^", "such as [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI… you@example]"],
        ),
        (
            "cloud-machine: {resources: {ram: 100000}}",
            ["f.yaml:1:34: invalid value `100000`", "^^^^^^", "; at most 65536 GiB"],
        ),
    ] {
        let file = workspace.write("f.yaml", format!("{document}\n"));
        for command in ["show", "audit"] {
            workspace.refused(&["config", command, "--config", &file], 3, &texts);
        }
    }
}

#[test]
fn programs_are_told_the_places_where_a_configuration_is_wrong() {
    let workspace = Workspace::new();
    let one = workspace.write("one.yaml", "cloud-machine:\n  resources:\n    rum: 4\n");
    let places = |arguments: &[&str]| {
        let told = workspace.refused(&[arguments, &["--events", "ndjson"]].concat(), 3, &[]).errors;
        let line: Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
        line["places"].as_array().unwrap_or_else(|| panic!("no places in {line}")).clone()
    };
    let found = places(&["config", "audit", "--config", &one]);
    let expected = serde_json::json!({
        "document": one, "line": 3, "column": 5, "key": "cloud-machine.resources.rum",
        "message": "unknown key `rum`", "allowed": "ram, cpus, disks, nic, nics, cloud-init-url",
        "suggestion": "did you mean `ram`?",
    });
    assert_eq!(found, [expected]);
    // Documents that are none are told together.
    let (two, three) = (workspace.write("two.yaml", "a: *b\n"), workspace.write("three.yaml", "a: b\na: c\n"));
    let found = places(&["create", "x", "--image", "y", "--config", &two, "--config", &three]);
    let documents: Vec<&Value> = found.iter().map(|place| &place["document"]).collect();
    assert_eq!(documents, [two.as_str(), three.as_str()]);
    let driver = places(&["config", "show", "--set", "driver=xen"]);
    assert_eq!((&driver[0]["document"], &driver[0]["column"]), (&"--set driver=xen".into(), &8.into()));
}

#[test]
fn a_network_that_cannot_be_had_is_refused_before_anything_is_made() {
    let workspace = Workspace::new();
    let create = |more: &[&str], texts: &[&str]| {
        let arguments = [&["create", "x", "--image", "y"], more].concat();
        workspace.refused(&arguments, 3, texts);
    };
    let no_bridge = "cannot connect a machine to bridge cm-absent0: this host has no interface of that name";
    let bridge = "resources.nic.network.bridge=cm-absent0";
    create(&["--set", bridge], &[no_bridge, "ip link add cm-absent0 type bridge"]);
    create(&["--set", "resources.nic.network.bridge=lo"], &["bridge lo: it is no bridge"]);
}

#[test]
fn a_required_key_that_is_not_honoured_is_3_after_the_audit() {
    let workspace = Workspace::new();
    let missed =
        ["--set", "require=[resources.nic]", "--set", "resources.nic.network.bridge=br0", "--set", "driver=libvirt"];
    let arguments = [&["config", "audit"], missed.as_slice()].concat();
    let called =
        workspace.refused(&arguments, 3, &["does not honour the required resources.nic.network.bridge (unsupported)"]);
    assert!(
        called.output.contains("cloud-machine.resources.nic.network.bridge"),
        "the audit is printed: {}",
        called.output
    );
    let json = workspace.refused(&[&arguments[..], &["--output", "json"]].concat(), 3, &[]);
    let document: Value = serde_json::from_str(&json.output).unwrap();
    assert_eq!(document["value"]["missed"][0]["key"], "resources.nic.network.bridge");
    workspace.refused(&[&arguments[..], &["--explain", "require"]].concat(), 3, &["resources.nic.network.bridge"]);
    let disks = "resources.disks={system: {boot-partition: true, devicepath: /dev/vdb}}";
    let create = ["create", "x", "--image", "y", "--set", "require=[resources.disks]", "--set", disks];
    workspace.refused(&create, 3, &["does not honour the required resources.disks.system.devicepath (unsupported)"]);
    // Rounding upwards is honouring; so is a map in which nothing is set.
    assert_eq!(workspace.call(&["config", "audit", "--set", "require=[resources.ram, identity]"]).code, 0);
    let unset = ["config", "audit", "--set", "driver=libvirt", "--set", "require=[resources.nic.network.bridge]"];
    workspace.refused(&unset, 3, &["resources.nic.network.bridge"]);
    workspace.refused(&["config", "audit", "--set", "require=[resources.rum]"], 3, &["`resources.rum` is not a key"]);
}

#[test]
fn all_shows_what_each_value_hid() {
    let workspace = Workspace::new();
    let file = workspace.document("f.yaml", "resources: {cpus: 8}");
    let arguments = ["config", "audit", "--config", &file, "--set", "resources.cpus=3"];
    assert!(!workspace.call(&arguments).output.contains("hides"));
    let all = workspace.call(&[&arguments[..], &["--all"]].concat()).output;
    assert!(all.contains(&format!("hides 8 (command line {file}:1:35)")), "{all}");
    assert!(all.contains("hides 2 (built-in default)"), "{all}");
    let yaml = workspace.call(&[&arguments[..], &["--all", "--output", "yaml"]].concat()).output;
    assert!(yaml.contains("cpus: 3  # argument --set resources.cpus=3; exact; hides 8 ("), "{yaml}");
}

#[test]
fn one_key_is_explained_through_all_layers() {
    let workspace = Workspace::new();
    let file = workspace.write("f.yaml", "cloud-machine:\n  resources:\n    ram: 2\n    cpus: !final 4\n");
    let arguments = [
        "--config",
        &file,
        "--unset",
        "resources.ram",
        "--set",
        "resources.ram=0.1",
        "--set",
        "require=[resources.ram]",
    ];
    let explain = |key: &str, more: &[&str]| {
        workspace.call(&[&["config", "audit", "--explain", key], arguments.as_slice(), more].concat())
    };
    let told = explain("resources.ram", &[]);
    assert_eq!(told.code, 0, "{}", told.errors);
    let expected = [
        "cloud-machine.resources.ram",
        "Memory.",
        "value    0.1",
        "origin   argument --set resources.ram=0.1",
        "driver   qemu: rounded to 103MiB",
        "1. built-in default sets it to 1",
        &format!("2. command line {file}:3:10 sets it to 2"),
        "3. --unset resources.ram takes that away: 1 (built-in default) holds again",
        "4. argument --set resources.ram=0.1 sets it to 0.1",
    ];
    for text in expected {
        assert!(told.output.contains(text), "{text:?} is not in\n{}", told.output);
    }
    let locked = explain("cloud-machine.resources.cpus", &[]).output;
    assert!(locked.contains("locked   by command line") && locked.contains(":4:11 locks it"), "{locked}");
    // All below a map, a key that nobody states, and one that is none.
    let below: Value = serde_json::from_str(&explain("resources", &["--output", "json"]).output).unwrap();
    assert_eq!(below["kind"], "config-explain");
    assert_eq!(below["value"]["keys"].as_array().unwrap().len(), 2);
    let unstated = explain("resources.disks.system.on-reimage", &[]);
    assert!(unstated.code == 0 && unstated.output.contains("not stated anywhere"), "{}", unstated.output);
    assert!(unstated.output.contains("default  wipe"), "{}", unstated.output);
    let unknown = explain("resources.rum", &[]);
    assert!(unknown.code == 4 && unknown.errors.contains("\"resources.rum\""), "{}", unknown.errors);
    workspace.refused(&["config", "audit", "--explain", "x", "--all"], 2, &["cannot be used with"]);
    // A later layer that touches the lock is refused, and both places are named.
    let broken = ["config", "audit", "--config", &file, "--set", "resources.cpus=5"];
    workspace.refused(&broken, 3, &["--set resources.cpus=5", "f.yaml:4"]);
}

const SECRET: &str = "hunter2-SECRET";

#[test]
fn secrets_are_redacted_in_every_form_and_equality_stays_visible() {
    let workspace = Workspace::new();
    let text = format!(
        "users:\n  - name: ci\n    passwd: {SECRET}\nyum: {{password: {SECRET}, other: !secret 'x-{SECRET}'}}\nplain: 1\n"
    );
    let file = workspace.write("f.yaml", text);
    let setting = format!("api.token={SECRET}");
    let replaced = "api.token=later";
    for form in ["table", "yaml", "json"] {
        for more in [&["--all"][..], &["--explain", "api.token"], &["--explain", "users"], &[]] {
            let arguments =
                ["config", "audit", "--output", form, "--config", &file, "--set", &setting, "--set", replaced];
            let called = workspace.call(&[&arguments[..], more].concat());
            assert_eq!(called.code, 0, "{}", called.errors);
            let said = format!("{}{}", called.output, called.errors);
            assert!(!said.contains(SECRET), "{form} {more:?}: {said}");
        }
    }
    let marks = |workspace: &Workspace| {
        let audit = workspace.audit(&["--config", &file, "--set", &setting]);
        let (password, token) = (audit.row("yum.password").clone(), audit.row("api.token").clone());
        assert_eq!((&password["secret"], &audit.row("plain")["secret"]), (&true.into(), &false.into()));
        assert_eq!(password["value"], token["value"], "equal secrets look equal");
        assert_ne!(password["value"], audit.row("yum.other")["value"]);
        assert_eq!(audit.row("users")["value"][0]["name"], "ci", "only the secret part of a list is hidden");
        password["value"].as_str().unwrap().to_owned()
    };
    let mark = marks(&workspace);
    assert!(mark.starts_with("[redacted ") && mark.len() == 19, "{mark}");
    assert_eq!(marks(&workspace), mark, "the key stays");
    assert_ne!(marks(&Workspace::new()), mark, "another host has another key");
    let key = workspace.program.state().join("redaction.key");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&key).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    fs::write(&key, "short").unwrap();
    workspace.refused(&["config", "audit", "--config", &file], 1, &["redaction.key is not of 32 bytes", "delete it"]);
    // `config show` is the user's own configuration, to be loaded again.
    assert!(workspace.call(&["config", "show", "--config", &file]).output.contains(SECRET));
}

#[test]
fn without_a_secret_no_key_is_made() {
    let workspace = Workspace::new();
    workspace.audit(&[]);
    assert!(!workspace.program.state().exists());
}

#[test]
fn what_audit_and_show_print_as_yaml_loads_again_to_the_same() {
    let workspace = Workspace::new();
    let text = "#cloud-init
cloud-machine:
  image: debian-12
  require: [resources.ram, resources.disks]
  resources:
    ram: 512MiB
    disks:
      system: {boot-partition: true, allocation: 20GiB}
      scratch: {allocation: 1GB, wipe-on-boot: true, on-reimage: wipe}
      empty-ones: {overwrite:, allocation: 1GiB}
hostname: 'a # b'
runcmd: [[ls, '-l'], 'echo \"x: y\"', 'line\nbreak', yes, 0777, 1.5, ~, {a: {b: []}}]
users: []
nothing: {}
fqdn: \"\\u202eevil\\e[31m\"
";
    let file = workspace.write("f.yaml", text);
    let show = workspace.call(&["config", "show", "--config", &file]);
    assert_eq!(show.code, 0, "{}", show.errors);
    for form in [
        &["show"][..],
        &["show", "--output", "yaml"],
        &["audit", "--output", "yaml"],
        &["audit", "--all", "--output", "yaml"],
    ] {
        let printed = workspace.call(&[&["config"], form, &["--config", &file]].concat());
        assert_eq!(printed.code, 0, "{}", printed.errors);
        assert!(
            !printed.output.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'),
            "{}",
            printed.output
        );
        let again = workspace.write("again.yaml", &printed.output);
        let reloaded = workspace.call(&["config", "show", "--config", &again]);
        assert_eq!(reloaded.output, show.output, "{form:?}: {}", reloaded.errors);
        let values = |file: &str| {
            let audit = workspace.audit(&["--config", file]);
            let rows = audit.0["values"].as_array().unwrap().clone();
            let value = |row: Value| (row["key"].to_string(), row["value"].clone(), row["verdict"].clone());
            rows.into_iter().map(value).collect::<Vec<_>>()
        };
        assert_eq!(values(&again), values(&file));
    }
    // A redacted document loads as well: the marks are texts.
    let secret = workspace.write("secret.yaml", "api: {token: abc}\n");
    let redacted = workspace.call(&["config", "audit", "--output", "yaml", "--config", &secret]).output;
    let again = workspace.write("again.yaml", &redacted);
    assert!(workspace.call(&["config", "show", "--config", &again]).output.contains("token: \"[redacted "));
}

#[test]
fn the_seeds_example_is_honoured_and_what_nothing_does_yet_is_never_created() {
    let workspace = Workspace::new();
    let seed = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/config/tests/seed-fixed.yaml");
    let audit = workspace.audit(&["--config", seed]);
    let volumes = "cloud-machine.resources.disks";
    for key in ["volume1.devicepath", "volume1.filesystem.type", "volume1.filesystem.kernel-module", "volume2.readonly"]
    {
        assert_eq!(audit.row(&format!("{volumes}.{key}"))["verdict"], "exact", "{key}");
    }
    assert_eq!(audit.row(&format!("{volumes}.volume1.allocation"))["verdict"], "rounded");
    assert_eq!(audit.row(&format!("{volumes}.volume1.mountpoint"))["verdict"], "exact");
    let kept = workspace.audit(&["--config", seed, "--set", "identity.ssh-host-keys=keep"]);
    assert_eq!(kept.row("cloud-machine.identity.ssh-host-keys")["verdict"], "exact");
    // A second disk on the bus of the first: which one the kernel finds first is not for the host to say.
    let second = ["--set", "resources.disks.x.bus=scsi", "--set", "resources.disks.x.allocation=1GiB"];
    let arguments: Vec<&str> = ["config", "audit", "--config", seed].into_iter().chain(second).collect();
    assert_eq!(
        workspace.audit(&arguments[2..]).row(&format!("{volumes}.volume1.devicepath"))["verdict"],
        "unsupported"
    );
}
