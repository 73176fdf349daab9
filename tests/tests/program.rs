//! The program without any machine: wrong input of every kind, its message and its exit code.

use cloud_machine_tests::{
    artifacts::Artifacts,
    program::{Called, Program},
};

fn program() -> Program {
    Program::new(&Artifacts::from_environment().unwrap())
}

/// Calls the program and expects an exit code and texts on standard error.
fn refused(program: &Program, arguments: &[&str], code: i32, texts: &[&str]) -> Called {
    let called = program.call(arguments, b"");
    assert_eq!(called.code, code, "{arguments:?}\n{}\n{}", called.output, called.errors);
    for text in texts {
        assert!(called.errors.contains(text), "{arguments:?}: expected {text:?} in\n{}", called.errors);
    }
    called
}

fn write(program: &Program, name: &str, content: &[u8]) -> String {
    std::fs::create_dir_all(program.state().parent().unwrap()).unwrap();
    let path = program.state().parent().unwrap().join(name);
    std::fs::write(&path, content).unwrap();
    path.to_string_lossy().into_owned()
}

#[test]
fn wrong_usage_is_2_and_help_is_0() {
    let program = program();
    refused(&program, &[], 2, &["Usage"]);
    refused(&program, &["reimage"], 2, &["required"]);
    refused(&program, &["create", "UPPER"], 2, &["invalid machine name"]);
    refused(&program, &["create", "a/../b"], 2, &["invalid machine name"]);
    for command in ["inspect", "verify", "delete"] {
        refused(&program, &["image", command, "Debian"], 2, &["invalid image name \"Debian\""]);
    }
    for command in ["create", "reimage"] {
        refused(&program, &[command, "x", "--image", "Debian"], 2, &["invalid image name \"Debian\""]);
    }
    refused(&program, &["reimage", "x", "--strategy", "magic"], 2, &["auto, overlay, hinted, rewrite"]);
    refused(&program, &["reimage", "x", "--tier", "scan"], 2, &["--tier is for --strategy rewrite"]);
    refused(&program, &["create", "x", "--strategy", "overlay", "--tier", "stream"], 2, &["--tier is for"]);
    let verify_golden = ["reimage", "x", "--strategy", "hinted", "--verify-golden"];
    refused(&program, &verify_golden, 2, &["--verify-golden is for --strategy overlay"]);
    refused(
        &program,
        &["verify", "x", "--require-assurance", "certain"],
        2,
        &["unproven, provider-rebuilt, provider-rooted, host-rooted, attested or sealed"],
    );
    for arguments in [vec!["--help"], vec!["create", "--help"], vec!["image", "pack", "--help"]] {
        let called = program.call(&arguments, b"");
        assert_eq!(called.code, 0);
        assert!(called.output.contains("Usage"), "{}", called.output);
    }
}

#[test]
fn what_is_not_there_is_4() {
    let program = program();
    for command in ["start", "stop", "reimage", "verify", "show", "plan", "console"] {
        refused(&program, &[command, "ghost"], 4, &["no machine ghost", "hint:"]);
    }
    refused(&program, &["delete", "ghost", "--yes"], 4, &["no machine ghost"]);
    refused(&program, &["exec", "ghost", "--", "true"], 4, &["no machine ghost"]);
    refused(&program, &["create", "ghost", "--image", "nothing"], 4, &["no image nothing", "image pack"]);
    refused(&program, &["image", "inspect", "nothing"], 4, &["no image nothing"]);
    refused(&program, &["create", "ghost", "--config", "/nonexistent.yaml"], 4, &["/nonexistent.yaml"]);
}

#[test]
fn a_refused_configuration_is_3_and_points_at_the_place() {
    let program = program();
    let unknown = write(&program, "unknown.yaml", b"cloud-machine:\n  resources:\n    rams: 4\n");
    refused(&program, &["create", "x", "--config", &unknown], 3, &["unknown.yaml:3:5", "rams", "ram"]);
    let broken = write(&program, "broken.yaml", b"cloud-machine: {resources: [}\n");
    refused(&program, &["create", "x", "--config", &broken], 3, &["broken.yaml"]);
    refused(&program, &["create", "x", "--set", "resources.cpus=many"], 3, &["cpus", "--set resources.cpus=many"]);
    refused(&program, &["create", "x"], 3, &["names no image", "--image"]);
    refused(
        &program,
        &["create", "x", "--set", "image=Debian"],
        3,
        &["--set image=Debian:1:7", "the name of an image"],
    );
    refused(&program, &["create", "x", "--driver", "warp", "--image", "y"], 3, &["warp", "qemu"]);
    assert!(!program.state().join("machines/x").exists(), "nothing was created");
}

#[test]
fn several_machines_get_a_result_each() {
    let program = program();
    let called = refused(&program, &["verify", "ghost-1", "ghost-2", "--output", "json"], 4, &["ghost-1", "ghost-2"]);
    let document: serde_json::Value = serde_json::from_str(&called.output).unwrap();
    assert_eq!(document["kind"], "machine-results");
    assert_eq!(document["version"], 1);
    assert_eq!(document["value"]["machines"].as_array().unwrap().len(), 2);
    assert_eq!(document["value"]["machines"][1]["exit_code"], 4);
}

#[test]
fn events_are_json_a_line_and_quiet_is_silent() {
    let program = program();
    let artifacts = Artifacts::from_environment().unwrap();
    let file = |name: &str| artifacts.image.join(name).to_string_lossy().into_owned();
    let (raw, kernel, modules) = (file("disk.raw"), file("kernel"), file("modules"));
    let pack = ["image", "pack", "golden", "--raw", &raw, "--kernel", &kernel, "--modules", &modules];
    let loud = program.call(pack.iter().chain(&["--events", "ndjson"]), b"");
    assert_eq!(loud.code, 0, "{}", loud.errors);
    let events: Vec<serde_json::Value> = loud
        .errors
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    assert!(events.iter().all(|event| event["kind"] == "event" && event["version"] == 1));
    let last = events.last().unwrap();
    assert!(events.len() > 10 && last["done"] == last["total"], "{last}");
    let quiet = program.call(pack.iter().chain(&["--quiet"]), b"");
    assert_eq!((quiet.code, quiet.errors.as_str()), (0, ""));
}

#[test]
fn a_broken_record_is_a_row_with_its_error() {
    let program = program();
    assert_eq!(program.call(["list"], b"").code, 0);
    std::fs::create_dir_all(program.state().join("machines/broken")).unwrap();
    std::fs::write(program.state().join("machines/broken/machine.json"), b"{").unwrap();
    let listed = program.call(["list"], b"");
    assert_eq!(listed.code, 0, "{}", listed.errors);
    assert!(listed.output.contains("broken") && listed.output.contains("error:"), "{}", listed.output);
    refused(&program, &["delete", "broken"], 1, &["--yes"]);
    assert_eq!(program.call(["delete", "broken", "--yes"], b"").code, 0);
}

#[test]
fn a_volume_is_built_the_same_each_time_and_never_over_a_file() {
    let program = program();
    let user_data = write(&program, "user-data", b"#cloud-config\n{}\n");
    let (first, second) = (write(&program, "first", b""), write(&program, "second", b""));
    let file = format!("user-data={user_data}");
    refused(&program, &["volume", "build", &first, &file], 1, &["first"]);
    for path in [&first, &second] {
        std::fs::remove_file(path).unwrap();
        assert_eq!(program.call(["volume", "build", path, &file], b"").code, 0);
    }
    assert_eq!(std::fs::read(&first).unwrap(), std::fs::read(&second).unwrap());
    let inspected = program.call(["volume", "inspect", &first], b"").output;
    assert!(inspected.contains("sha256:") && inspected.contains("user-data (17 bytes)"), "{inspected}");
    let noise = write(&program, "noise", &[0x5a; 4096]);
    refused(&program, &["volume", "inspect", &noise], 1, &["neither a FAT nor an ISO 9660 filesystem"]);
    refused(&program, &["volume", "build", &noise, "user-data"], 1, &["PATH=FILE"]);
}

#[test]
fn an_image_that_is_none_is_refused() {
    let program = program();
    let noise = write(&program, "noise.raw", &[0x5a; 1 << 20]);
    let called = program.call(["image", "verify", &noise], b"");
    assert_ne!(called.code, 0);
    assert!(called.errors.contains("noise.raw"), "{}", called.errors);
    let artifacts = Artifacts::from_environment().unwrap();
    let (kernel, modules) = (artifacts.image.join("kernel"), artifacts.image.join("modules"));
    let arguments = [
        "image",
        "pack",
        "none",
        "--raw",
        &noise,
        "--kernel",
        &kernel.to_string_lossy(),
        "--modules",
        &modules.to_string_lossy(),
    ];
    refused(&program, &arguments, 1, &["noise.raw"]);
    assert!(program.call(["image", "list", "--output", "json"], b"").output.contains("\"images\": []"));
}

#[test]
fn failures_among_events_are_json_and_name_their_machine() {
    let program = program();
    let called = program.call(["reimage", "one", "two", "--events", "ndjson"], b"");
    assert_eq!(called.code, 4, "{}", called.errors);
    let lines: Vec<serde_json::Value> = called
        .errors
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let told: Vec<_> = lines.iter().map(|line| (&line["kind"], &line["machine"], &line["exit_code"])).collect();
    let (kind, code) = ("error".into(), 4.into());
    assert_eq!(told, [(&kind, &"one".into(), &code), (&kind, &"two".into(), &code)]);
    assert!(lines[1]["causes"][0].as_str().is_some_and(|cause| cause == "no machine two"), "{lines:?}");
    assert!(lines[1]["hints"][0].as_str().is_some_and(|hint| hint.contains("cloud-machine list")), "{lines:?}");
}

#[test]
fn what_cannot_start_a_machine_is_not_packed() {
    let program = program();
    let artifacts = Artifacts::from_environment().unwrap();
    let path = |name: &str| artifacts.image.join(name).to_string_lossy().into_owned();
    let (raw, kernel, modules) = (path("disk.raw"), path("kernel"), path("modules"));
    let pack = ["image", "pack", "none", "--raw", &raw, "--modules", &modules];
    let with = |more: &[&'static str]| pack.iter().copied().chain(more.iter().copied()).collect::<Vec<_>>();
    refused(&program, &with(&["--kernel", "/bin/ls"]), 3, &["/bin/ls is not a kernel"]);
    let mut agent = with(&["--agent", "/bin/ls"]);
    agent.extend(["--kernel", &kernel]);
    refused(&program, &agent, 3, &["/bin/ls is not the agent of this project"]);
    assert!(program.call(["image", "list", "--output", "json"], b"").output.contains("\"images\": []"));
}

#[test]
fn configuration_is_shown_with_origins_and_loads_again() {
    let program = program();
    let file = write(&program, "c.yaml", b"cloud-machine:\n  image: debian-12\n  resources:\n    ram: 2\n");
    let audit = program.call(["config", "audit", "--config", &file, "--set", "resources.cpus=4"], b"").output;
    assert!(audit.contains("c.yaml:4:10"), "{audit}");
    assert!(audit.contains("--set resources.cpus=4"), "{audit}");
    let shown = program.call(["config", "show", "--config", &file], b"").output;
    let again = write(&program, "again.yaml", shown.as_bytes());
    assert_eq!(program.call(["config", "show", "--config", &again], b"").output, shown);
}

#[test]
fn doctor_says_what_is_missing_and_how_to_get_it() {
    let program = program();
    let found = program.call(["doctor"], b"");
    assert_eq!(found.code, 0);
    let words = found.output.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("good network user closes ") && words.contains(" network bridge "), "{}", found.output);
    let mut without = program.command();
    let output = without.arg("doctor").env("PATH", "/nonexistent").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("apt-get install qemu-system-x86"), "{text}");
}
