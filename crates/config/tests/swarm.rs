//! Settings of docker's swarm: what is taken, what is refused and where, and what is not shown.
#![allow(clippy::unwrap_used, clippy::panic)]

use cloud_machine_config::{
    ConfigError, ConfigErrors, Disks, LayerKind, Merged, Presence, Programs, Swarm, SwarmRole, can_be_done, defaults,
    describe, merge, parse, validate,
};

/// Of docker's own documentation.
const TOKEN: &str = "SWMTKN-1-3pu6hszjas19xyp7ghgosyx9k8atbfcr8p2is99znpy26u2lkl-1awxwuwd3z9j1z3puu7rcgdbx";

/// `@` is a token.
fn document(text: &str) -> Merged {
    let text = text.replace('@', TOKEN);
    merge(&[defaults(), parse(LayerKind::Project, "f.yaml", text.as_bytes()).unwrap()]).unwrap()
}

fn of(swarm: &str) -> Merged {
    document(&format!("docker:\n  swarm: {swarm}\n"))
}

fn swarm(settings: &str) -> Swarm {
    let merged = of(settings);
    validate(&merged).unwrap_or_else(|errors| panic!("{settings}: {errors}")).swarm.unwrap()
}

fn only(errors: &ConfigErrors) -> &ConfigError {
    assert_eq!(errors.errors().len(), 1, "{errors}");
    &errors.errors()[0]
}

fn request(swarm: &Swarm) -> serde_json::Value {
    serde_json::from_str(&swarm.request()).unwrap()
}

#[test]
fn a_request_has_all_that_docker_would_be_told_by_hand() {
    let worker = swarm(
        "{role: worker, join: m.example, token: @, advertise: eth0, listen: \"192.0.2.8:4000\", data-path-addr: eth1, \
         availability: drain}",
    );
    let expected = serde_json::json!({
        "ListenAddr": "192.0.2.8:4000", "AdvertiseAddr": "eth0", "DataPathAddr": "eth1", "Availability": "drain",
        "RemoteAddrs": ["m.example:2377"], "JoinToken": TOKEN,
    });
    assert_eq!((request(&worker), worker.role, worker.joins()), (expected, SwarmRole::Worker, true));
    let first = swarm("{role: manager, join: , token: , advertise: 192.0.2.7}");
    let expected = serde_json::json!({
        "ListenAddr": "0.0.0.0:2377", "AdvertiseAddr": "192.0.2.7", "DataPathAddr": "", "Availability": "active",
    });
    assert_eq!((request(&first), first.role, first.joins()), (expected, SwarmRole::Manager, false));
    assert!(swarm("{role: manager, join: m, token: @}").joins());
    assert!(validate(&of("{role: , join: }")).unwrap().swarm.is_none(), "nothing is stated");
}

#[test]
fn what_cannot_be_a_part_of_a_swarm_is_refused_at_its_place() {
    for (settings, path, message) in [
        ("{join: m, token: @}", "", "nothing says which part of the swarm it is"),
        ("{role: leader}", ".role", "invalid value `leader`, a text"),
        ("{role: worker}", "", "a worker needs `join`, the address of a manager"),
        ("{role: worker, token: @}", "", "a worker needs `join`, the address of a manager"),
        ("{role: worker, join: m}", ".join", "a worker needs `token`"),
        ("{role: manager, join: m}", ".join", "a manager that joins others needs `token`"),
        (
            "{role: manager, token: @}",
            ".token",
            "a manager without `join` begins a swarm, and nobody asks it for a token",
        ),
        ("{role: worker, join: m, token: hunter2}", ".token", "this is no token of a swarm"),
        ("{role: worker, join: m, token: 771177}", ".token", "found a number"),
        ("{role: worker, join: m, token: [771177]}", ".token", "found a list"),
        ("{role: worker, join: \"0.0.0.0:2377\", token: @}", ".join", "invalid value `\"0.0.0.0:2377\"`, a text"),
        ("{role: worker, join: \"m:0\", token: @}", ".join", "invalid value `\"m:0\"`, a text"),
        ("{role: worker, join: [m], token: @}", ".join", "found a list"),
        ("{role: manager, advertise: 300.1.1.1}", ".advertise", "invalid value `\"300.1.1.1\"`, a text"),
        ("{role: manager, advertise: 0.0.0.0}", ".advertise", "invalid value `\"0.0.0.0\"`, a text"),
        ("{role: manager, listen: no/interface}", ".listen", "invalid value `no/interface`, a text"),
        ("{role: manager, data-path-addr: \"eth0:4789\"}", ".data-path-addr", "invalid value `\"eth0:4789\"`, a text"),
        ("{role: manager, availability: full}", ".availability", "invalid value `full`, a text"),
        ("{role: worker, join: m, tokn: @}", ".tokn", "unknown key `tokn`"),
        ("{role: manager, role+: 1}", ".\"role+\"", "unknown key `role+`"),
        ("{role: manager, advertise: !!binary AAAA}", ".advertise", "found a text"),
    ] {
        let errors = validate(&of(settings)).unwrap_err();
        let error = only(&errors);
        assert_eq!(
            (error.path.as_str(), error.message.as_str()),
            (&*format!("docker.swarm{path}"), message),
            "{settings}"
        );
        assert_eq!(error.line, 2, "{errors}");
        for secret in ["hunter2", "771177", TOKEN] {
            assert!(!errors.to_string().contains(secret), "{errors}");
        }
    }
    let errors = validate(&document("docker: {swarm: [worker]}")).unwrap_err();
    assert_eq!(only(&errors).path, "docker.swarm");
    let errors = validate(&document("docker: {swarm: {}}")).unwrap_err();
    assert_eq!(only(&errors).suggestion.as_deref(), Some("`role: manager` or `role: worker`"));
    assert!(validate(&document("docker: {swarm: }")).unwrap().swarm.is_none());
}

#[test]
fn a_swarm_at_the_top_is_no_key_of_cloud_init() {
    let errors = validate(&document(&format!("swarm: {{role: worker, join: m, token: {TOKEN}}}\n"))).unwrap_err();
    let error = only(&errors);
    assert_eq!((error.path.as_str(), error.message.as_str()), ("swarm", "unknown key `swarm`"));
    assert_eq!(error.suggestion.as_deref(), Some("indent it below `docker:`"));
    assert!(!errors.to_string().contains("SWMTKN"), "{errors}");
    for (key, way_out) in [("engine", "docker"), ("k3s", "rancher"), ("rke2", "rancher")] {
        let errors = validate(&document(&format!("{key}: {{}}\n"))).unwrap_err();
        assert_eq!(only(&errors).suggestion, Some(format!("indent it below `{way_out}:`")));
    }
}

#[test]
fn dockers_own_words_lead_to_the_keys() {
    for (key, way_out) in [
        ("advertise-addr", "did you mean `advertise`?"),
        ("listen_addr", "did you mean `listen`?"),
        ("data-path", "write `data-path-addr`"),
        ("manager", "write `role: manager`"),
        ("avialability", "did you mean `availability`?"),
    ] {
        let errors = validate(&of(&format!("{{role: manager, {key}: eth0}}"))).unwrap_err();
        assert_eq!(only(&errors).suggestion.as_deref(), Some(way_out), "{key}");
    }
}

#[test]
fn live_restore_keeps_docker_out_of_a_swarm() {
    let with = |live: &str| {
        validate(&document(&format!("docker:\n  engine:\n    live-restore: {live}\n  swarm: {{role: manager}}\n")))
    };
    let errors = with("true").unwrap_err();
    let error = only(&errors);
    assert_eq!((error.path.as_str(), error.line), ("docker.engine.live-restore", 3));
    assert_eq!(error.message, "docker is part of no swarm with this, and docker.swarm is stated at line 4");
    assert!(with("false").unwrap().swarm.is_some());
}

#[test]
fn a_node_is_no_other_after_its_reimage_than_before_so_a_kept_disk_does_not_hold_it() {
    let disks =
        "cloud-machine: {resources: {disks: {cache: {filesystem: ext4, mountpoint: /var/lib/docker, on-reimage: ";
    let errors =
        validate(&document(&format!("{disks}keep}}}}}}}}\ndocker: {{swarm: {{role: manager}}}}\n"))).unwrap_err();
    let error = only(&errors);
    assert_eq!((error.path.as_str(), error.line), ("docker.swarm", 2));
    assert!(error.message.contains("on disk `cache`, which a reimage keeps"), "{}", error.message);
    validate(&document(&format!("{disks}wipe}}}}}}}}\ndocker: {{swarm: {{role: manager}}}}\n"))).unwrap();
}

#[test]
fn an_image_without_docker_is_told_at_the_settings() {
    let programs = Programs { docker: Presence::Absent, cloud_init: Presence::Absent, ..Programs::default() };
    let errors = can_be_done(&of("{role: manager}"), &Disks::new(), programs).unwrap_err();
    let error = only(&errors);
    assert_eq!((error.path.as_str(), error.message.as_str()), ("docker.swarm", "the image is without docker"));
    can_be_done(&of("{role: }"), &Disks::new(), programs).unwrap();
    can_be_done(&of("{role: manager}"), &Disks::new(), Programs::default()).unwrap();
}

#[test]
fn a_token_is_not_shown() {
    let merged = of("{role: worker, join: m, token: @}");
    let text = merged.redacted(&|_| "[redacted]".to_owned()).to_yaml();
    assert!(!text.contains("SWMTKN") && text.contains("[redacted]"), "{text}");
    let debug = format!("{:?}", validate(&merged).unwrap());
    assert!(debug.contains("role: Worker") && !debug.contains("JoinToken"), "{debug}");
    // What is not understood is not shown either.
    for misplaced in
        [format!("docker: {{swarm: {TOKEN}}}\n"), format!("docker: {{swarm: {{role: worker, join: m, {TOKEN}: x}}}}\n")]
    {
        let merged = merge(&[defaults(), parse(LayerKind::Project, "f.yaml", misplaced.as_bytes()).unwrap()]).unwrap();
        let said = validate(&merged).unwrap_err().to_string();
        assert!(!said.contains("SWMTKN"), "{said}");
    }
}

#[test]
fn the_example_of_a_swarm_is_taken_and_editors_know_its_keys() {
    let example = describe::example();
    let lines = example.lines().skip_while(|line| *line != "#docker:").take_while(|line| line.starts_with('#'));
    let text: String = lines.map(|line| format!("{}\n", &line[1..])).collect();
    assert!(validate(&document(&text)).unwrap().swarm.unwrap().joins(), "{text}");
    let schema: serde_json::Value = serde_json::from_str(&describe::schema()).unwrap();
    let swarm = &schema["properties"]["docker"]["properties"]["swarm"];
    assert_eq!(swarm["properties"]["role"]["enum"], serde_json::json!(["manager", "worker", null]));
    assert_eq!(swarm["additionalProperties"], false);
}
