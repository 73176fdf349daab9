//! `config audit --check-cloud-init` with the cloud-init of the golden image, whose root is mounted for it alone.

use std::{fs, os::unix::fs::PermissionsExt};

use cloud_machine_tests::artifacts::cloud_init_image;

use crate::Workspace;

/// A program that runs the cloud-init of the disk DISK with the same arguments, in a namespace of mounts of its own: what is
/// mounted there ends with it.
const PROGRAM: &str = r#"#!/bin/sh
exec unshare --mount sh -euc '
    start=$(partx --bytes --noheadings --output START --nr 2 DISK)
    mount -o ro,noload,loop,offset=$((start * 512)) DISK ROOT
    mount --bind /tmp ROOT/tmp
    exec chroot ROOT /usr/bin/cloud-init "$@"' sh "$@"
"#;

/// The workspace, and the option that names the program.
fn workspace() -> (Workspace, String) {
    let workspace = Workspace::new();
    let disk = cloud_init_image().unwrap().join("disk.raw");
    let root = workspace.write("root/empty", "").trim_end_matches("/empty").to_owned();
    let text = PROGRAM.replace("DISK", &disk.to_string_lossy()).replace("ROOT", &root);
    let program = workspace.write("cloud-init", text);
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let option = format!("--check-cloud-init={program}");
    (workspace, option)
}

#[test]
fn what_cloud_init_finds_is_shown_at_its_place_in_the_document_that_wrote_it() {
    let (workspace, check) = workspace();
    let wrong = "#cloud-init\nhostname: web\nusers:\n  - default\n  - {name: ada, groups: {a: [1]}}\nruncmd: id\n";
    let file = workspace.write("wrong.yaml", wrong);
    let called = workspace.call(&["config", "audit", &check, "--config", &file, "--set", "ntp.servers=here"]);
    assert_eq!(called.code, 3, "{}", called.errors);
    for place in [
        "wrong.yaml:5:5: cloud-init: ",
        "wrong.yaml:6:9: cloud-init: 'id' is not of type 'array'",
        "--set ntp.servers=here:1:",
    ] {
        assert!(called.errors.contains(place), "{place}: {}", called.errors);
    }
    assert!(!called.errors.contains("wrong.yaml:2"), "{}", called.errors);
    assert!(called.output.contains("hostname"), "the values are shown all the same: {}", called.output);
}

#[test]
fn a_good_document_passes_and_a_secret_is_not_handed_over() {
    let (workspace, check) = workspace();
    let good = workspace.write("good.yaml", "#cloud-init\nhostname: web\npassword: hunter2\nruncmd: [[id]]\n");
    let called = workspace.call(&["config", "audit", &check, "--config", &good]);
    assert_eq!(called.code, 0, "{}", called.errors);
    for words in ["finds nothing wrong", "judges nothing of password"] {
        assert!(called.errors.contains(words), "{words}: {}", called.errors);
    }
    // One that cannot judge calls everything good.
    let blind = workspace.call(&["config", "audit", "--check-cloud-init=/bin/true", "--config", &good]);
    assert_eq!(blind.code, 1, "{}", blind.errors);
    assert!(blind.errors.contains("jsonschema"), "{}", blind.errors);
    // A cloud-init that shows what it was given.
    let program = workspace.write("shows", "#!/bin/sh\ncat \"$3\" >&2\nexit 1\n");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let called = workspace.call(&["config", "audit", &format!("--check-cloud-init={program}"), "--config", &good]);
    assert_eq!(called.code, 1, "{}", called.errors);
    assert!(called.errors.contains("names no key") && called.errors.contains("runcmd"), "{}", called.errors);
    assert!(!called.errors.contains("hunter2"), "{}", called.errors);
}

#[test]
fn a_cloud_init_that_is_not_there_is_told_with_the_way_out() {
    let workspace = Workspace::new();
    let call = |more: &[&str]| {
        workspace.call(&[&["config", "audit", "--check-cloud-init=/nowhere/cloud-init"], more].concat())
    };
    let called = call(&["--set", "hostname=web"]);
    assert_eq!(called.code, 1, "{}", called.errors);
    assert!(
        called.errors.contains("/nowhere/cloud-init") && called.errors.contains("package cloud-init"),
        "{}",
        called.errors
    );
    assert_eq!(call(&[]).code, 0, "nothing is to be checked");
}
