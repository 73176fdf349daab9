//! A server that the driver of the provider's API makes, cleans and deletes.

use std::fs;

use cloud_machine_tests::{
    artifacts::{self, Artifacts},
    cloud::Cloud,
    hostile,
    program::Program,
};
use serde_json::Value;

use super::{
    adopted::{BOOT_FAKE, FAKE, IMAGE, settings, the_system_of_a_job_is_no_rescue_system},
    cloud::World,
};

/// Name of the machine, and so of its server.
const NAME: &str = "ci-2";

/// The life of a server that nobody has made before.
pub(super) fn life(world: &World) {
    let cloud = &world.cloud;
    let program = Program::new(&Artifacts::from_environment_without_image().unwrap());
    program.pack_folder(&artifacts::cloud_image().unwrap(), IMAGE, &[]).unwrap();
    let file = |token: &str| format!("{{token: {{file: {token}}}, endpoint: '{}', location: nbg1}}", cloud.endpoint());
    let token = settings(&program, cloud, "hetzner.yaml", &file);
    what_cannot_be_is_refused(&program, cloud, &token);
    let made = program.json(["create", NAME, "--driver", "hetzner", "--image", IMAGE, "--timeout", "600"]);
    let made = made.unwrap_or_else(|failed| panic!("{failed}\n{:?}", cloud.requests()));
    assert_eq!(made["machines"][0]["result"]["assurance"], "provider-rooted", "{made}");
    let server = only_server(cloud, NAME);
    let address = server["public_net"]["ipv4"]["ip"].clone();
    assert_eq!(server["labels"]["cloud-machine.machine"], NAME, "{server}");
    let who = || {
        program.done(&["exec", NAME, "--", "cat", "/etc/machine-id", "/etc/hostname", "/sys/class/net/eth0/address"])
    };
    let before = who();
    // The same again makes nothing.
    let again = program.call(["create", NAME, "--driver", "hetzner", "--image", IMAGE], b"");
    assert!(again.code == 0 && again.errors.contains("nothing to do"), "{}", again.errors);

    let own = |command: &str, input: &[u8]| {
        let called = program.call(["exec", NAME, "--", "sh", "-c", command], input);
        assert_eq!(called.code, 0, "{command}: {}", called.errors);
        called.output
    };
    let fake = world.machines.fake_rescue(&own("cat /root/.ssh/authorized_keys", b"")).unwrap();
    own(FAKE, &fake);
    let planted = program.call(["exec", NAME, "--", "sh", "-s"], hostile::script_on_one_disk().unwrap().as_bytes());
    assert_eq!(planted.code, 0, "{}", planted.errors);
    own(BOOT_FAKE, b"");
    let id = server["id"].as_u64().unwrap();
    assert!(cloud.succeeds(&cloud.ask(&format!("POST /servers/{id}/actions/poweroff"), &Value::Null).unwrap()));
    the_system_of_a_job_is_no_rescue_system(&program, world, (NAME, id), "what answers is something else");
    let cleaned = program
        .json(["reimage", NAME, "--snapshot", "--require-assurance", "provider-rooted", "--timeout", "600"])
        .unwrap();
    assert_eq!(cleaned["machines"][0]["result"]["assurance"], "provider-rooted", "{cleaned}");
    let looked = program.call(["exec", NAME, "--", "sh", "-s"], hostile::checks().as_bytes());
    assert!(looked.code == 0 && !looked.output.contains("present"), "{}{}", looked.output, looked.errors);
    assert_eq!(who(), before, "the same identity");
    let server = only_server(cloud, NAME);
    assert_eq!(server["public_net"]["ipv4"]["ip"], address, "the same address");
    assert_eq!(program.done(&["gc"]), "", "nothing is forgotten");
    rebuilt(&program, cloud);
    assert_eq!(who(), before, "the same identity");
    assert_eq!(only_server(cloud, NAME)["public_net"]["ipv4"]["ip"], address, "the same address");

    // A record that is lost leaves a server that costs: it is found by its labels.
    let record = program.state().join("machines").join(NAME);
    let kept = program.state().join("kept");
    fs::rename(&record, &kept).unwrap();
    let listed = program.done(&["gc"]);
    assert!(listed.contains(&format!("server {}", server["id"])) && listed.contains(NAME), "{listed}");
    fs::rename(&kept, &record).unwrap();
    assert_eq!(program.call(["delete", NAME, "--yes"], b"").code, 0);
    assert!(servers(cloud).iter().all(|server| server["name"] != NAME));
    assert_eq!((snapshots(cloud), program.done(&["gc"]).as_str()), (0, ""));
}

/// The disk of the last reimage was kept: the provider writes it over that of another job.
fn rebuilt(program: &Program, cloud: &Cloud) {
    assert_eq!(snapshots(cloud), 1);
    program.call(["exec", NAME, "--", "sh", "-s"], hostile::script_on_one_disk().unwrap().as_bytes());
    let words = ["reimage", NAME, "--strategy", "rebuild", "--timeout", "600"];
    let strong = program.call(words, b"");
    assert!(strong.code == 5 && strong.errors.contains("the assurance is provider-rebuilt"), "{}", strong.errors);
    let done = program.json(words.into_iter().chain(["--require-assurance", "provider-rebuilt"])).unwrap();
    let result = &done["machines"][0]["result"];
    assert_eq!((&result["assurance"], &result["strategy"]), (&"provider-rebuilt".into(), &"rebuild".into()), "{done}");
    let looked = program.call(["exec", NAME, "--", "sh", "-s"], hostile::checks().as_bytes());
    assert!(looked.code == 0 && !looked.output.contains("present"), "{}{}", looked.output, looked.errors);
    let verified = program.json(["verify", NAME, "--require-assurance", "provider-rebuilt"]).unwrap();
    assert_eq!(verified["machines"][0]["result"]["identity_checked"], true, "{verified}");
    assert_eq!(program.call(["verify", NAME, "--require-assurance", "provider-rooted"], b"").code, 5);
}

fn snapshots(cloud: &Cloud) -> usize {
    let reply = cloud.ask("GET /images?type=snapshot", &Value::Null).unwrap();
    reply.body["images"].as_array().unwrap().len()
}

/// Before anything is made.
fn what_cannot_be_is_refused(program: &Program, cloud: &Cloud, token: &std::path::Path) {
    let create = |more: &[&str]| {
        let words = ["create", NAME, "--driver", "hetzner", "--image", IMAGE];
        program.call(words.iter().chain(more).copied(), b"")
    };
    let before = servers(cloud).len();
    // No list is kept yet, so it is asked for.
    fs::write(token, "another-token").unwrap();
    let wrong = create(&[]);
    assert!(wrong.code == 1 && wrong.errors.contains("token"), "{}", wrong.errors);
    fs::write(token, cloud.token()).unwrap();
    sizes_are_the_providers(program);
    let large = create(&["--set", "resources.cpus=64"]);
    assert!(large.code == 3 && large.errors.contains("the nearest are"), "{}", large.errors);
    let bridge = create(&["--set", "resources.nic.network.bridge=br0", "--set", "require=[resources.nic]"]);
    assert!(bridge.code == 3 && bridge.errors.contains("does not honour"), "{}", bridge.errors);
    assert_eq!(servers(cloud).len(), before, "nothing was made");
    assert_eq!(program.call(["show", NAME], b"").code, 4, "nor recorded");
}

/// What `config audit` says of each size, by the provider's own list.
fn sizes_are_the_providers(program: &Program) {
    let audit = |cpus: &str, more: &[&str]| {
        let words = [
            "config",
            "audit",
            "--output",
            "json",
            "--set",
            "driver=hetzner",
            "--set",
            "resources.ram=3",
            "--set",
            cpus,
        ];
        program.call(words.iter().chain(more).copied(), b"")
    };
    let verdict = |audited: &str, key: &str| {
        let audited: Value = serde_json::from_str(audited).unwrap();
        let values = audited["value"]["values"].as_array().unwrap().clone();
        values.into_iter().find(|value| value["key"] == key).unwrap()
    };
    let audited = audit("resources.cpus=2", &[]);
    assert_eq!(audited.code, 0, "{}", audited.errors);
    let ram = verdict(&audited.output, "cloud-machine.resources.ram");
    let to = ram["to"].as_str().unwrap();
    assert!(to.starts_with("4GiB: server type ") && to.contains("list of less than an hour ago"), "{ram}");
    assert_eq!(verdict(&audited.output, "cloud-machine.resources.cpus")["verdict"], "exact");
    let large = audit("resources.cpus=64", &[]);
    assert_eq!(large.code, 0, "{}", large.errors);
    let cpus = verdict(&large.output, "cloud-machine.resources.cpus");
    assert!(cpus["verdict"] == "unavailable" && cpus["why"].as_str().unwrap().contains("the nearest are"), "{cpus}");
    let required = audit("resources.cpus=64", &["--set", "require=[resources.cpus]"]);
    assert!(required.code == 3 && required.errors.contains("does not honour the required"), "{}", required.errors);
}

fn servers(cloud: &Cloud) -> Vec<Value> {
    let reply = cloud.ask("GET /servers", &Value::Null).unwrap();
    reply.body["servers"].as_array().unwrap().clone()
}

fn only_server(cloud: &Cloud, name: &str) -> Value {
    let servers = servers(cloud);
    let found: Vec<&Value> = servers.iter().filter(|server| server["name"] == name).collect();
    let [server] = found.as_slice() else { panic!("{servers:?}") };
    (*server).clone()
}
