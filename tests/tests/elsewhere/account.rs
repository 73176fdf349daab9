//! The program and an emulated account whose machines are only remembered: nothing ever answers over SSH.

use std::{fs, iter, os::unix::fs::PermissionsExt, process::Command, sync::Arc};

use cloud_machine_tests::{
    artifacts::Artifacts,
    cloud::{Cloud, Fault, Injected, Settings, machines::Remembered},
    fixture::{self, IMAGE},
    program::{Called, Program},
    sshd::Sshd,
};
use serde_json::{Value, json};

/// A host with an image, and an account.
pub(crate) struct World {
    // Ends first: it deletes what it has.
    pub(crate) program: Program,
    pub(crate) cloud: Cloud,
    pub(crate) machines: Arc<Remembered>,
}

impl World {
    pub(crate) fn new() -> Self {
        let fixture = fixture::without_turn();
        let program = Program::new(&Artifacts::from_environment().unwrap());
        fs::create_dir_all(program.state()).unwrap();
        let from = fixture.program().state().join("images");
        let copied = Command::new("cp").args(["-a", "--sparse=always"]).arg(from).arg(program.state()).status();
        assert!(copied.unwrap().success());
        let machines = Arc::new(Remembered::default());
        let cloud = Cloud::start(Settings::default(), machines.clone());
        let home = program.state().parent().unwrap().to_owned();
        let (settings, token) = (home.join(".config/cloud-machine/drivers/hetzner.yaml"), home.join("token"));
        fs::create_dir_all(settings.parent().unwrap()).unwrap();
        fs::write(&token, cloud.token()).unwrap();
        fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
        let text = format!("{{token: {{file: {}}}, endpoint: '{}'}}", token.display(), cloud.endpoint());
        fs::write(settings, text).unwrap();
        Self { cloud, machines, program }
    }

    pub(crate) fn call(&self, words: &[&str]) -> Called {
        self.program.call(words, b"")
    }

    /// Refused with words that say why.
    fn refused(&self, words: &[&str], code: i32, why: &str) {
        let called = self.call(words);
        assert!(called.code == code && called.errors.contains(why), "{words:?}: {} {}", called.code, called.errors);
    }

    /// Makes the server of the machine `web`, which never answers, so that it is half made.
    pub(crate) fn half_made(&self) -> u64 {
        let called = self.call(&["create", "web", "--driver", "hetzner", "--image", IMAGE, "--timeout", "4"]);
        assert_eq!(called.code, 6, "{}", called.errors);
        let [server] = self.machines.all()[..] else { panic!("{:?}", self.machines.all()) };
        server
    }

    /// Changes the record, whoever wrote it.
    pub(crate) fn forge(&self, change: impl FnOnce(&mut Value)) {
        let path = self.program.state().join("machines/web/machine.json");
        let mut record: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(&mut record);
        fs::write(path, serde_json::to_vec_pretty(&record).unwrap()).unwrap();
    }
}

#[test]
fn a_machine_that_is_half_made_is_only_made_stopped_shown_or_deleted() {
    let world = World::new();
    let server = world.half_made();
    let not_made = "machine web is not made yet: its creation was cut off";
    let half = || {
        for words in [
            &["start", "web"][..],
            &["reimage", "web", "--require-assurance", "provider-rooted"],
            &["verify", "web"],
            &["plan", "web"],
            &["exec", "web", "--", "true"],
            &["ssh", "web"],
            &["cp", "web:/etc/hostname", "."],
        ] {
            let called = world.call(words);
            assert!(called.code == 3 && called.errors.contains(not_made), "{words:?}: {}", called.errors);
            assert!(
                called.errors.contains("`cloud-machine create web` as before goes on with it"),
                "{}",
                called.errors
            );
        }
        for words in [&["show", "web"][..], &["list"]] {
            let called = world.call(words);
            assert!(called.code == 0 && called.output.contains("creating"), "{words:?}: {}", called.errors);
        }
    };
    half();
    assert_eq!(world.call(&["stop", "web"]).code, 0);
    assert!(!world.machines.machine(server).unwrap().on, "what costs can be switched off");
    // As when the host lost its power before the number of the server was written down.
    world.forge(|record| record["remote"] = Value::Null);
    half();
    world.refused(&["stop", "web"], 3, not_made);
    let deleted = world.call(&["delete", "web", "--yes"]);
    assert_eq!(deleted.code, 0, "{}", deleted.errors);
    assert!(world.machines.machine(server).is_none(), "it is found by its labels");
}

#[test]
fn a_server_at_another_address_is_not_the_machines() {
    let world = World::new();
    let server = world.half_made();
    let power_on = || world.cloud.ask(&format!("POST /servers/{server}/actions/poweron"), &Value::Null).unwrap();
    // What was begun last may lock it for a moment.
    let on = iter::repeat_with(power_on).take(1000).find(|reply| reply.status != 423).unwrap();
    assert!(world.cloud.succeeds(&on), "{on:?}");
    let before = world.cloud.requests().len();
    world.forge(|record| record["remote"]["address"] = json!("127.0.0.1"));
    let why = format!("server {server} is not at 127.0.0.1, where machine web is");
    world.refused(&["stop", "web"], 3, &why);
    assert!(world.machines.machine(server).unwrap().on, "the power of another machine is not cut");
    assert!(world.cloud.requests()[before..].iter().all(|request| !request.contains("/actions/poweroff")));
}

#[test]
fn a_server_without_the_machines_labels_is_not_deleted() {
    let world = World::new();
    let server = world.half_made();
    let path = format!("/servers/{server}");
    let labels = world.cloud.ask(&format!("GET {path}"), &Value::Null).unwrap().body["server"]["labels"].clone();
    let put = |labels: &Value| {
        let reply = world.cloud.ask(&format!("PUT {path}"), &json!({"labels": labels})).unwrap();
        assert_eq!(reply.status, 200, "{reply:?}");
    };
    for key in ["cloud-machine.owner", "cloud-machine.machine"] {
        let mut other = labels.clone();
        other[key] = json!("somebody-else");
        put(&other);
        world.refused(&["delete", "web", "--yes"], 3, "does not carry the labels of machine web: it is not deleted");
        assert!(world.machines.machine(server).is_some());
    }
    put(&labels);
    assert_eq!(world.call(&["delete", "web", "--yes"]).code, 0);
    assert!(world.machines.all().is_empty());
}

#[test]
fn what_answers_while_the_rescue_system_is_still_to_be_booted_is_not_believed() {
    let world = World::new();
    let server = world.half_made();
    let folder = world.program.state().join("machines/web");
    let reply = world.cloud.ask(&format!("GET /servers/{server}"), &Value::Null).unwrap();
    let address = reply.body["server"]["public_net"]["ipv4"]["ip"].as_str().unwrap().to_owned();
    // It lets this host in, with a host key that nobody knows.
    let _sshd = Sshd::start(&folder, &format!("ListenAddress {address}:22"));
    fs::remove_file(folder.join("known_hosts")).unwrap();
    let create = ["create", "web", "--driver", "hetzner", "--image", IMAGE, "--timeout", "60"];
    world.cloud.inject(Injected::once("POST", "/actions/enable_rescue", Fault::RescueIgnored));
    let why = format!("server {server} has not booted its rescue system: what answers is something else");
    world.refused(&create, 3, &why);
    // Nor is one that runs from a disk, though the provider says that it booted another: this host.
    world.refused(&create, 5, "what answered runs from a disk of the machine");
}

#[test]
fn doctor_says_good_of_a_driver_only_when_all_that_was_written_for_it_can_be_read() {
    let world = World::new();
    let drivers = world.program.state().parent().unwrap().join(".config/cloud-machine/drivers");
    let told = |driver: &str| {
        let called = world.call(&["doctor", "--output", "json"]);
        let found: Value = serde_json::from_str(&called.output).unwrap();
        let findings = found["value"]["findings"].as_array().unwrap().clone();
        let row = findings.into_iter().find(|row| row["what"] == format!("driver {driver}").as_str()).unwrap();
        (row["verdict"].as_str().unwrap().to_owned(), row["detail"].as_str().unwrap().to_owned())
    };
    assert_eq!(told("hetzner").0, "good");
    let token = world.program.state().parent().unwrap().join("token");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).unwrap();
    let (verdict, detail) = told("hetzner");
    assert!(verdict == "optional" && detail.contains("others may read it"), "{detail}");
    fs::remove_file(&token).unwrap();
    let (verdict, detail) = told("hetzner");
    assert!(verdict == "optional" && detail.contains("there is no file"), "{detail}");

    let (verdict, detail) = told("ssh");
    assert!(verdict == "optional" && detail.contains("there are no commands of control default"), "{detail}");
    fs::create_dir(drivers.join("ssh")).unwrap();
    let good = "power: {on: [a], off: [a], state: [a]}";
    fs::write(drivers.join("ssh/default.yaml"), good).unwrap();
    assert_eq!(told("ssh").0, "good");
    fs::write(drivers.join("ssh/rack.yaml"), good.replace("on: [a]", "on: [a, '{nam}']")).unwrap();
    let (verdict, detail) = told("ssh");
    assert!(verdict == "optional" && detail.contains("control rack: {nam} is none of"), "{detail}");
}
