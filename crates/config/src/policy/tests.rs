use cloud_machine_protocol::Probe;

use super::*;

fn policy(text: &str) -> Policy {
    Policy::parse("agent.yaml", text.as_bytes()).unwrap_or_else(|errors| panic!("{text}\n{errors}"))
}

/// The first error with what is allowed and advised; others are counted.
fn refused(text: &str) -> String {
    let errors = Policy::parse("p", text.as_bytes()).map(|policy| panic!("{text}: {policy:?}")).unwrap_err();
    let error = errors.errors().first().unwrap();
    let more =
        |title, text: &Option<String>| text.as_ref().map(|text| format!(" [{title}: {text}]")).unwrap_or_default();
    let (allowed, help) = (more("allowed", &error.allowed), more("help", &error.suggestion));
    let others = errors.errors().len() - 1;
    let others = if others == 0 { String::new() } else { format!(" +{others}") };
    format!("{error}{allowed}{help}{others}")
}

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

fn check(text: &str, expected: &str) {
    assert_eq!(refused(text), expected, "{text}");
}

fn disk(name: &str, serial: &str) -> Disk {
    Disk {
        name: name.to_owned(),
        serial: Some(serial.to_owned()),
        wwn: None,
        size: 1 << 30,
        sector_size: 512,
        read_only: false,
        discard: false,
        probe: Probe::Empty,
        partitions: None,
    }
}

fn url(text: &str) -> CloudInitUrl {
    CloudInitUrl { url: text.parse().unwrap(), sha256: None, ca: None }
}

#[test]
fn a_document_that_states_nothing_is_the_default() {
    let keys = "volume:\naddress: {}\nwipe:\nfilesystems: ~\nwithout-configuration:\nrecovery:\n";
    let deeper = "volume: {required: , wait: , accept: }\naddress: {allowed: , default: }\n";
    for text in ["", "{}", "---\n", "# nothing\n", "\u{feff}~", keys, deeper] {
        assert_eq!(policy(text), Policy::default(), "{text:?}");
    }
}

#[test]
fn the_default_changes_nothing_of_itself() {
    let default = Policy::default();
    // Without a volume there is no other document, the boot neither waits nor stops, and no disk is declared.
    assert!(!default.volume.required && default.volume.wait.is_zero());
    assert_eq!(default.address.default, None);
    assert_eq!(default.without_configuration, WithoutConfiguration::Boot);
    // What a job wrote counts for nothing, and nobody on the way reads or changes what an address gives.
    assert_eq!(default.volume.accept, [Accept::Pinned, Accept::ReadOnly]);
    for other in ["http://h/", "file:///etc/x", "ftp://h/", "https+x://h/"] {
        assert!(!default.address.allows(&url(other)), "{other}");
    }
    assert_eq!(default.wipe, WipePolicy::Declared);
    assert_eq!(default.filesystems, [FilesystemType::Ext4]);
}

#[test]
fn every_key_is_read() {
    let digest = "ab".repeat(32);
    let text = format!(
        "volume: {{required: true, wait: 0x10, accept: [read-only]}}\n\
         address:\n  allowed: ['https://config.example/m/', 'http://10.0.2.2:8000/']\n  default: {{url: 'http://10.0.2.2:8000/m', sha256: '{digest}'}}\n\
         wipe: [serial:data, wwn:naa.5000, /dev/vdb, /dev/disk/by-id/virtio-x]\n\
         filesystems: [zfs, swap, ext4, xfs, btrfs, vfat]\n\
         without-configuration: stop\nrecovery: 1GiB\n"
    );
    let found = policy(&text);
    assert_eq!(found.volume.wait, Duration::from_secs(16));
    assert!(found.volume.required && found.volume.accept == [Accept::ReadOnly]);
    let default = found.address.default.unwrap();
    assert_eq!((default.redacted().as_str(), default.sha256.unwrap().hex()), ("http://10.0.2.2:8000/m", digest));
    assert!(matches!(&found.wipe, WipePolicy::Only(selectors) if selectors.len() == 4));
    let words: Vec<&str> = found.filesystems.iter().map(|kind| kind.name()).collect();
    assert_eq!(words, ["ext4", "xfs", "btrfs", "vfat", "swap", "zfs"]);
    assert_eq!(found.without_configuration, WithoutConfiguration::Stop);
    assert_eq!(found.recovery.map(|size| size.bytes()), Some(1 << 30));
}

#[test]
fn a_signature_counts_by_a_key_that_is_named() {
    let found =
        policy(&format!("volume: {{accept: [read-only, signed], keys: ['{KEY}', '{KEY} ops@example']}}")).volume;
    assert_eq!(found.accept, [Accept::Signed, Accept::ReadOnly]);
    assert_eq!(found.keys, [KEY.to_owned(), format!("{KEY} ops@example")]);
    let refused = |line: &str| refused(&format!("volume: {{accept: [signed], keys: [{line:?}]}}"));
    for line in [
        "",
        "ssh-ed25519",
        "ssh-ed25519 AAAA",
        &KEY[..KEY.len() - 1],
        &format!("{KEY}AAAA"),
        &format!("restrict {KEY}"),
        &KEY.replace(' ', "  "),
        &format!("ssh-ed25519 NOKEY {KEY}"),
        &format!("{KEY} two\nlines"),
        &KEY.replace("ssh-ed25519", "ssh-rsa"),
        "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3",
    ] {
        let said = refused(line);
        assert!(
            said.contains("[allowed: a line that ssh-keygen -t ed25519 writes into a file .pub]"),
            "{line}: {said}"
        );
    }
}

#[test]
fn a_volume_is_waited_for_when_it_is_required() {
    for (text, seconds) in [
        ("{required: true}", 30),
        ("{required: true, wait: 0}", 0),
        ("{required: true, wait: 600}", 600),
        ("{wait: 5}", 5),
        ("{required: false}", 0),
    ] {
        assert_eq!(policy(&format!("volume: {text}")).volume.wait.as_secs(), seconds, "{text}");
    }
}

#[test]
fn an_address_is_allowed_by_its_beginning() {
    let allowed = |beginnings: &str, address: &str| {
        policy(&format!("address: {{allowed: {beginnings}}}")).address.allows(&url(address))
    };
    for (beginnings, address, is) in [
        ("['https://']", "https://any.example/x", true),
        ("['https://']", "HTTPS://any.example/x", true),
        ("['https://']", "http://any.example/x", false),
        ("[]", "https://any.example/x", false),
        ("['https://h.example/']", "https://h.example/x?token=1", true),
        ("['https://h.example/']", "https://H.Example:443/x", true),
        ("['https://h.example/']", "https://h.example.evil/x", false),
        ("['https://h.example/']", "https://h.example:8443/x", false),
        ("['https://h.example/']", "https://h.example@evil/x", false),
        ("['https://h.example/']", "https://me@h.example/x", false),
        ("['https://h.example/']", "https://h.example/a%2fb", true),
        ("['https://h/m/']", "https://h/m/x", true),
        ("['https://h/m/']", "https://h/m/../x", false),
        ("['https://h/m/']", "https://h/m/%2e%2E/x", false),
        ("['https://h/m/']", "https://h/m/..%2Fx", false),
        ("['https://h/m/']", "https://h/m/..%5cx", false),
        ("['https://h/m/']", "https://h/m/..\\x", false),
        ("['https://a/', 'http://b/']", "http://b/x", true),
        ("['https://a/', 'http://b/']", "http://a/x", false),
    ] {
        assert_eq!(allowed(beginnings, address), is, "{beginnings} {address}");
    }
}

#[test]
fn a_disk_may_lose_what_it_holds_when_the_policy_says_so() {
    for (text, is) in [
        ("", [true, true]),
        ("wipe: declared", [true, true]),
        ("wipe: none", [false, false]),
        ("wipe: [serial:a]", [true, false]),
        ("wipe: [serial:c, /dev/vdb]", [false, true]),
    ] {
        let wipe = policy(text).wipe;
        assert_eq!([disk("vda", "a"), disk("vdb", "b")].map(|disk| wipe.allows(&disk)), is, "{text}");
    }
}

#[test]
fn values_that_mean_nothing_are_refused_with_what_is_allowed() {
    const WAIT: &str = "[allowed: a whole number of seconds from 0 to 600]";
    const DEVICE: &str = "[allowed: /dev/NAME, /dev/disk/by-id/NAME, serial:TEXT or wwn:TEXT]";
    const KINDS: &str = "[allowed: ext4, xfs, btrfs, vfat, swap or zfs]";
    const BEGINNING: &str =
        "[allowed: https:// or http://, alone or with a host, a slash and a path, without user, query and fragment]";
    const KEYS: &str = "[allowed: volume, address, wipe, filesystems, without-configuration, recovery]";
    for (text, expected) in [
        ("volumes: {}", format!("p:1:1: volumes: unknown key `volumes` {KEYS} [help: did you mean `volume`?]")),
        ("cloud-machine: {}", format!("p:1:1: cloud-machine: unknown key `cloud-machine` {KEYS}")),
        (
            "volume:\n  require: true",
            "p:2:3: volume.require: unknown key `require` [allowed: required, wait, accept, keys] [help: did you mean `required`?]"
                .to_owned(),
        ),
        ("volume: yes", "p:1:9: volume: invalid value `\"yes\"`, a text [allowed: a map with the keys required, wait, accept, keys]".to_owned()),
        (
            "volume: {required: yes}",
            "p:1:20: volume.required: invalid value `\"yes\"`, a text [allowed: true or false] [help: write `true`]".to_owned(),
        ),
        ("volume: {wait: 601}", format!("p:1:16: volume.wait: invalid value `601`, a number {WAIT}")),
        ("volume: {wait: -1}", format!("p:1:16: volume.wait: invalid value `-1`, a number {WAIT}")),
        ("volume: {wait: 1.5}", format!("p:1:16: volume.wait: invalid value `1.5`, a number {WAIT}")),
        ("volume: {wait: 30s}", format!("p:1:16: volume.wait: invalid value `\"30s\"`, a text {WAIT}")),
        (
            "volume: {accept: pinned}",
            "p:1:18: volume.accept: invalid value `pinned`, a text [allowed: a list of pinned, signed and read-only, such as [pinned]]"
                .to_owned(),
        ),
        (
            "volume: {accept: [any]}",
            "p:1:19: volume.accept[0]: invalid value `any`, a text [allowed: pinned, signed or read-only]".to_owned(),
        ),
        ("volume: {accept: [pinned, pinned]}", "p:1:27: volume.accept[1]: `pinned` is in the list twice".to_owned()),
        ("address: {allowed: ['ftp://h/']}", format!("p:1:21: address.allowed[0]: invalid value `\"ftp://h/\"`, a text {BEGINNING}")),
        (
            "address: {allowed: ['https://H.example']}",
            format!("p:1:21: address.allowed[0]: invalid value `\"https://H.example\"`, a text {BEGINNING} [help: write `https://h.example/`]"),
        ),
        (
            "address: {allowed: ['https://h:443/m']}",
            format!("p:1:21: address.allowed[0]: invalid value `\"https://h:443/m\"`, a text {BEGINNING} [help: write `https://h/m`]"),
        ),
        ("address: {allowed: ['https:/']}", format!("p:1:21: address.allowed[0]: invalid value `\"https:/\"`, a text {BEGINNING}")),
        ("address: {allowed: ['https://u@h/']}", format!("p:1:21: address.allowed[0]: invalid value, a text that is not shown, since it may hold a secret {BEGINNING}")),
        ("address: {allowed: ['https://h/?q']}", format!("p:1:21: address.allowed[0]: invalid value, a text that is not shown, since it may hold a secret {BEGINNING}")),
        (
            "address: {allowed: ['file:///x']}",
            format!("p:1:21: address.allowed[0]: invalid value `\"file:///x\"`, a text {BEGINNING} [help: leave it out: the address of a file names one of a host, and an image that boots by itself has none]"),
        ),
        ("wipe: all", "p:1:7: wipe: invalid value `all`, a text [allowed: declared or none, or a list of devices, such as [serial:data]]".to_owned()),
        ("wipe: false", "p:1:7: wipe: invalid value `false`, a boolean [allowed: declared or none, or a list of devices, such as [serial:data]]".to_owned()),
        ("wipe: {}", "p:1:7: wipe: found a map [allowed: declared or none, or a list of devices, such as [serial:data]]".to_owned()),
        ("wipe: []", "p:1:7: wipe: the list of devices is empty [help: write `wipe: none` to let no disk be wiped]".to_owned()),
        ("wipe: [data]", format!("p:1:8: wipe[0]: invalid value `data`, a text {DEVICE}")),
        ("wipe: [serial:a, serial:a]", "p:1:18: wipe[1]: `serial:a` is in the list twice".to_owned()),
        ("wipe: [7]", format!("p:1:8: wipe[0]: invalid value `7`, a number {DEVICE} [help: write `\"7\"`, in quotes, for the text]")),
        (
            "wipe: [label:DATA]",
            format!("p:1:8: wipe[0]: invalid value `\"label:DATA\"`, a text {DEVICE} [help: take serial: or wwn:, since whoever can write a device can give it any label]"),
        ),
        ("filesystems: [ntfs]", format!("p:1:15: filesystems[0]: invalid value `ntfs`, a text {KINDS}")),
        (
            "filesystems: [iso9660]",
            format!("p:1:15: filesystems[0]: invalid value `iso9660`, a text {KINDS} [help: leave it out: a medium is only mounted, and nothing at a boot makes one]"),
        ),
        ("filesystems: ext4", "p:1:14: filesystems: invalid value `ext4`, a text [allowed: a list of filesystems, such as [ext4, swap]]".to_owned()),
        ("filesystems: [ext4, ext4]", "p:1:21: filesystems[1]: `ext4` is in the list twice".to_owned()),
        ("without-configuration: reboot", "p:1:24: without-configuration: invalid value `reboot`, a text [allowed: boot or stop]".to_owned()),
        ("recovery: 63MiB", "p:1:11: recovery: invalid value `\"63MiB\"`, a text [allowed: a size from 64MiB to 64GiB, such as 1GiB]".to_owned()),
        ("recovery: 65GiB", "p:1:11: recovery: invalid value `\"65GiB\"`, a text [allowed: a size from 64MiB to 64GiB, such as 1GiB]".to_owned()),
        ("recovery: 1073741824", "p:1:11: recovery: invalid value `1073741824`, a number [allowed: a size from 64MiB to 64GiB, such as 1GiB]".to_owned()),
        ("without-configuration: [stop]", "p:1:24: without-configuration: found a list [allowed: boot or stop]".to_owned()),
    ] {
        check(text, expected.as_ref());
    }
}

#[test]
fn an_address_that_is_read_of_itself_is_held_to_the_rules_of_all() {
    const MAP: &str =
        "[allowed: an https, http or file address without user and fragment, or a map {url: …, sha256: …, ca: …}]";
    for (text, expected) in [
        ("h/x", format!("p:1:20: address.default: invalid value `h/x`, a text {MAP}")),
        ("{}", format!("p:1:20: address.default: found a map {MAP}")),
        ("7", format!("p:1:20: address.default: invalid value `7`, a number {MAP}")),
        ("[x]", format!("p:1:20: address.default: found a list {MAP}")),
        (
            "{url: 'https://h/', sha256: ab}",
            "p:1:48: address.default.sha256: invalid value `ab`, a text [allowed: 64 hexadecimal digits]".to_owned(),
        ),
        (
            "{url: 'https://h/', ca: x}",
            "p:1:44: address.default.ca: invalid value `x`, a text [allowed: certificates in PEM]".to_owned(),
        ),
        (
            "{url: 'https://h/', sha: x}",
            "p:1:40: address.default.sha: unknown key `sha` [allowed: url, sha256, ca]".to_owned(),
        ),
        (
            "http://h/x",
            "p:1:20: address.default: invalid value `\"http://h/x\"`, a text [allowed: an http address with `sha256`, since anybody on the way could change the document; or https]"
                .to_owned(),
        ),
        (
            "file:///x",
            "p:1:20: address.default: the address names a file of a host, and an image that boots by itself has none [help: take an https address]"
                .to_owned(),
        ),
    ] {
        check(&format!("address: {{default: {text}}}"), &expected);
    }
}

#[test]
fn contradictions_are_refused_with_the_way_out() {
    const ADD: &str = "add `pinned`, `signed` or `read-only` to `volume.accept`";
    for (text, expected) in [
        (
            "volume: {required: true, accept: []}",
            format!("p:1:20: volume.required: a volume is required, and `volume.accept` lets none count [help: {ADD}, or leave `required` out]"),
        ),
        (
            "volume: {wait: 5, accept: []}",
            format!("p:1:16: volume.wait: the boot waits for a volume, and `volume.accept` lets none count [help: {ADD}, or leave `wait` out]"),
        ),
        (
            "volume: {accept: []}\nwithout-configuration: stop",
            format!("p:2:24: without-configuration: the boot always stops, since no volume counts and no address is read [help: {ADD}, set `address.default`, or write `boot`]"),
        ),
        (
            "volume: {accept: [signed]}",
            "p:1:18: volume.accept: signed volumes are accepted, and no key is named whose signature counts [help: name public keys in `volume.keys`, or leave `signed` out]"
                .to_owned(),
        ),
        (
            &format!("volume: {{keys: [{KEY}]}}"),
            "p:1:16: volume.keys: keys are named, and `volume.accept` lets no signed volume count [help: add `signed` to `volume.accept`, or leave the keys out]"
                .to_owned(),
        ),
        (
            "address: {allowed: ['https://a/'], default: 'https://b/x?token=hunter2'}",
            "p:1:45: address.default: https://b/x begins with none of `address.allowed` [help: add its beginning to `address.allowed`, or leave the address out]"
                .to_owned(),
        ),
        (
            "address: {allowed: [], default: 'https://b/x'}",
            "p:1:33: address.default: https://b/x begins with none of `address.allowed` [help: add its beginning to `address.allowed`, or leave the address out]"
                .to_owned(),
        ),
    ] {
        check(text, expected.as_ref());
    }
    for text in [
        "volume: {required: true}\nwithout-configuration: boot",
        "volume: {accept: []}",
        "volume: {accept: []}\naddress: {default: 'https://h/x'}\nwithout-configuration: stop",
        "volume: {accept: [], required: false, wait: 0}",
    ] {
        policy(text);
    }
}

#[test]
fn a_policy_is_read_as_strictly_as_a_configuration() {
    for (text, expected) in [
        ("wipe: none\nwipe: declared", "p:2:1: wipe: the key `wipe` is there twice, first in line 1"),
        ("wipe: &x none", "p:1:7: wipe: anchors are not supported"),
        ("wipe: *x", "p:1:7: aliases are not supported"),
        ("<<: {}", "p:1:1: merge keys `<<` are not supported"),
        ("- none", "p:1:1: the document is a list [allowed: a map, such as `wipe: none`]"),
        ("a: 1\n---\nb: 1", "p:2:1: a second document begins here [allowed: one document]"),
        (
            "wipe: !final none",
            "p:1:7: wipe: a tag means nothing in a policy [help: leave it out: a policy is merged with nothing]",
        ),
        (
            "filesystems: !append [xfs]",
            "p:1:14: filesystems: a tag means nothing in a policy [help: leave it out: a policy is merged with nothing]",
        ),
        (
            "wipe: !!binary bm9uZQ==",
            "p:1:7: wipe: the tag `!!binary` means nothing below our keys [allowed: declared or none, or a list of devices, such as [serial:data]]",
        ),
        (
            "exclude: [wipe]",
            "p:1:1: exclude: unknown key `exclude` [allowed: volume, address, wipe, filesystems, without-configuration, recovery]",
        ),
    ] {
        check(text, expected);
    }
    assert!(refused("wipe: \u{1b}").contains("the document contains the character U+001B"));
    assert!(Policy::parse("p", b"wipe: \xff").unwrap_err().to_string().contains("the document is not UTF-8 here"));
}

#[test]
fn all_errors_are_told_at_once() {
    let errors = Policy::parse("p", b"wipe: all\nfoo: 1\nvolume: {wait: x}\n").unwrap_err();
    let mut lines: Vec<usize> = errors.errors().iter().map(|error| error.line).collect();
    lines.sort_unstable();
    assert_eq!(lines, [1, 2, 3]);
}

/// Cells of the table in the reference page that begins with `header`.
fn table(header: &str) -> Vec<Vec<&'static str>> {
    let page = include_str!("../../../../docs/reference/agent-policy.md");
    let lines = page.lines().skip_while(|line| !line.starts_with(header)).skip(2);
    let cells = |line: &'static str| line.strip_prefix("| ")?.strip_suffix(" |").map(|row| row.split(" | ").collect());
    lines.map_while(cells).collect()
}

#[test]
fn the_reference_page_has_all_keys_with_what_is_allowed_and_the_default() {
    fn walk(keys: &[crate::grammar::Key], above: &str, all: &mut Vec<(String, String)>) {
        for key in keys {
            let path = crate::tree::child_path(above, key.name);
            match &key.shape {
                crate::grammar::Shape::Map(keys) => walk(keys, &path, all),
                shape => all.push((format!("`{path}`"), shape.allowed().to_owned())),
            }
        }
    }
    let mut known = Vec::new();
    walk(crate::grammar::POLICY, "", &mut known);
    let rows = table("| key |");
    let told: Vec<_> = rows.iter().map(|row| (row[0].to_owned(), row[1].to_owned())).collect();
    assert_eq!(told, known);
    for row in rows {
        let Some(default) = row[2].split('`').nth(1) else { continue };
        let text = match row[0].trim_matches('`').split_once('.') {
            Some((above, key)) => format!("{above}: {{{key}: {default}}}"),
            None => format!("{}: {default}", row[0].trim_matches('`')),
        };
        assert_eq!(policy(&text), Policy::default(), "{text}");
    }
}

#[test]
fn the_errors_of_the_reference_page_are_those_that_are_told() {
    let told: Vec<String> = [
        "volume: {required: true, accept: []}",
        "volume: {wait: 5, accept: []}",
        "volume: {accept: []}\nwithout-configuration: stop",
        "volume: {accept: [signed]}",
        &format!("volume: {{keys: [{KEY}]}}"),
        "address: {allowed: [], default: 'https://config.example/m'}",
        "address: {default: 'file:///x'}",
        "wipe: []",
    ]
    .map(refused)
    .to_vec();
    let rows = table("| what is told |");
    assert_eq!(rows.len(), told.len());
    for (row, told) in rows.iter().zip(told) {
        assert!(told.ends_with(&format!(": {} [help: {}]", row[0], row[1])), "{row:?}: {told}");
    }
}

#[test]
fn the_example_of_the_reference_page_is_taken() {
    let page = include_str!("../../../../docs/reference/agent-policy.md");
    let example = page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert!(policy(example).volume.required);
}
