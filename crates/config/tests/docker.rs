//! Settings of docker's engine: what is taken, what is refused and where, and what is not shown.
#![allow(clippy::unwrap_used, clippy::panic)]

use cloud_machine_config::{
    Config, ConfigError, ConfigErrors, Disks, LayerKind, Merged, Presence, Programs, can_be_done, defaults, describe,
    merge, parse, validate,
};

fn merged(layers: &[(LayerKind, &str)]) -> Merged {
    let parsed = layers.iter().map(|(layer, text)| parse(*layer, "f.yaml", text.as_bytes()).unwrap());
    let documents: Vec<_> = [defaults()].into_iter().chain(parsed).collect();
    merge(&documents).unwrap_or_else(|errors| panic!("{errors}"))
}

fn of(engine: &str) -> Merged {
    merged(&[(LayerKind::Project, &format!("docker:\n  engine:\n    {engine}\n"))])
}

fn config(engine: &str) -> Config {
    let merged = of(engine);
    validate(&merged).unwrap_or_else(|errors| panic!("{engine}: {errors}"))
}

fn only(errors: &ConfigErrors) -> &ConfigError {
    assert_eq!(errors.errors().len(), 1, "{errors}");
    &errors.errors()[0]
}

fn json(config: &Config) -> serde_json::Value {
    serde_json::from_str(&config.docker.daemon_json().unwrap()).unwrap()
}

#[test]
fn values_become_json_of_their_own_type_and_unknown_keys_arrive_as_they_are() {
    let engine = "{labels: [a=b, \"1\"], mtu: 1400, oom-score-adjust: -500, debug: true, log-opts: {max-file: \"3\"}, \
                  default-address-pools: [{base: 10.1.0.0/16, size: 24}], features: {containerd-snapshotter: true}, \
                  runtimes: {x: {path: /x, runtimeArgs: [-d]}}, new-key: {deep: [1, 1.5, ~, text, {a: yes}]}, bip: , env: {}}";
    let expected = serde_json::json!({
        "labels": ["a=b", "1"], "mtu": 1400, "oom-score-adjust": -500, "debug": true, "log-opts": {"max-file": "3"},
        "default-address-pools": [{"base": "10.1.0.0/16", "size": 24}], "features": {"containerd-snapshotter": true},
        "runtimes": {"x": {"path": "/x", "runtimeArgs": ["-d"]}},
        "new-key": {"deep": [1, 1.5, null, "text", {"a": "yes"}]},
    });
    assert_eq!(json(&config(engine)), expected);
    assert!(config("{}").docker.is_empty() && config("{bip: , env: {A: }}").docker.is_empty());
}

#[test]
fn a_value_of_another_type_is_refused_at_its_place_with_the_way_out() {
    for (engine, path, message, column) in [
        ("labels: role=ci", "labels", "found a text", 13),
        ("labels: [1]", "labels[0]", "found a number", 14),
        ("debug: \"true\"", "debug", "found a text", 12),
        ("mtu: 1.5", "mtu", "found a number", 10),
        ("log-opts: {max-file: 3}", "log-opts.max-file", "found a number", 26),
        ("log-opts: [a]", "log-opts", "found a list", 15),
        ("features: {x: 1}", "features.x", "found a number", 19),
        ("default-address-pools: [{base: a, size: b}]", "default-address-pools[0].size", "found a text", 45),
        ("registry_mirrors: []", "registry_mirrors", "docker has no key `registry_mirrors`", 5),
        ("new-key: [.inf]", "new-key[0]", "found a number", 15),
        ("env: [A=b]", "env", "found a list", 10),
        ("env: {A: 1}", "env.A", "found a number", 14),
        ("env: {1A: b}", "env.1A", "`1A` is no name of a variable", 11),
        ("env: {A: \"b\\nc\"}", "env.A", "found a text", 14),
    ] {
        let errors = validate(&of(engine)).unwrap_err();
        let error = only(&errors);
        assert_eq!((error.path.as_str(), error.message.as_str()), (&*format!("docker.engine.{path}"), message));
        assert_eq!((error.line, error.column), (3, column), "{errors}");
    }
    let errors = validate(&of("log-opts: {max-file: 3}")).unwrap_err();
    assert_eq!(only(&errors).suggestion.as_deref(), Some("write it in quotes, for the text"));
    let errors = validate(&of("registry_mirrors: []")).unwrap_err();
    assert_eq!(only(&errors).suggestion.as_deref(), Some("did you mean `registry-mirrors`?"));
}

#[test]
fn bytes_are_no_setting() {
    for engine in ["new-key: !!binary AAAA", "data-root: !!binary AAAA", "env: {A: !!binary AAAA}"] {
        validate(&of(engine)).unwrap_err();
    }
}

fn errors_on(disk: &str, engine: &str) -> Vec<(String, String, usize)> {
    let text =
        format!("cloud-machine: {{resources: {{disks: {{cache: {{{disk}}}}}}}}}\ndocker: {{engine: {engine}}}\n");
    let Err(errors) = validate(&merged(&[(LayerKind::Project, &text)])) else { return Vec::new() };
    errors.errors().iter().map(|one| (one.path.clone(), one.message.clone(), one.line)).collect()
}

#[test]
fn dockers_folder_is_on_the_root_or_on_a_disk_that_can_hold_it_and_is_cleared_by_a_reimage() {
    for (disk, engine) in [
        ("filesystem: ext4", "{debug: true}"),
        ("filesystem: ext4, on-reimage: keep", "{debug: true, data-root: /srv/docker}"),
        ("filesystem: ext4, on-reimage: keep, mountpoint: /srv", "{data-root: /srv-of-docker}"),
        ("filesystem: ext4", "{data-root: /mnt/cache}"),
        ("filesystem: xfs, on-reimage: recreate, mountpoint: /srv", "{data-root: /srv/a/b}"),
        ("filesystem: ext4, on-reimage: keep, wipe-on-boot: true", "{data-root: /mnt/cache}"),
        ("partitions: {a: {size: 1GiB, filesystem: ext4}}", "{data-root: /mnt/cache-a/docker}"),
        ("filesystem: ext4, on-reimage: keep, mountpoint: /var/lib/docker", "{}"),
    ] {
        assert_eq!(errors_on(disk, engine), [], "{disk} {engine}");
    }
    for (disk, engine, words) in [
        (
            "filesystem: ext4, on-reimage: keep",
            "{data-root: /mnt/cache/docker}",
            "on disk `cache`, which a reimage keeps: docker would start",
        ),
        (
            "filesystem: ext4, on-reimage: keep, mountpoint: /var/lib/docker",
            "{data-root: /var/lib/docker}",
            "which a reimage keeps",
        ),
        (
            "filesystem: vfat",
            "{data-root: /mnt/cache/docker}",
            "on disk `cache`, and vfat knows neither owners nor links",
        ),
        ("filesystem: squashfs, readonly: true", "{data-root: /mnt/cache}", "`cache`, which is read-only"),
        (
            "filesystem: ext4, mountpoint: /srv/docker/overlay2",
            "{data-root: /srv/docker}",
            "disk `cache` is mounted in docker's own folder /srv/docker, at /srv/docker/overlay2",
        ),
        ("filesystem: ext4", "{data-root: /run/docker}", "docker cannot keep its data there"),
        ("filesystem: ext4", "{data-root: /}", "docker cannot keep its data there"),
        ("filesystem: ext4", "{data-root: /etc}", "docker cannot keep its data there"),
        ("filesystem: ext4", "{data-root: srv}", "docker cannot keep its data there"),
        ("filesystem: ext4", "{data-root: /srv/../etc}", "docker cannot keep its data there"),
        (
            "partitions: {a: {size: 1GiB, filesystem: ext4}}, on-reimage: keep",
            "{data-root: /mnt/cache-a/docker}",
            "which a reimage keeps",
        ),
    ] {
        let errors = errors_on(disk, engine);
        let [(path, message, 2)] = errors.as_slice() else { panic!("{disk} {engine}: {errors:?}") };
        assert_eq!(path, "docker.engine.data-root");
        assert!(message.contains(words), "{message}");
    }
    let errors = errors_on("filesystem: ext4, on-reimage: keep, mountpoint: /var/lib/docker", "{debug: true}");
    assert_eq!((errors.len(), errors[0].0.as_str()), (1, "docker.engine"), "where docker keeps it without being told");
    let errors = errors_on("filesystem: ext4, on-reimage: keep, mountpoint: /var/lib/containerd", "{debug: true}");
    assert_eq!((errors.len(), errors[0].0.as_str()), (1, "cloud-machine.resources.disks.cache"), "{errors:?}");
}

#[test]
fn the_old_name_of_the_data_root_is_refused_since_nobody_would_look_at_its_disk() {
    let errors = validate(&of("graph: /data/x")).unwrap_err();
    let error = only(&errors);
    assert_eq!(
        (error.path.as_str(), error.message.as_str()),
        ("docker.engine.graph", "`graph` is docker's old name of `data-root`")
    );
    assert_eq!(error.suggestion.as_deref(), Some("write `data-root`"));
}

#[test]
fn passwords_are_shown_neither_in_a_configuration_nor_in_an_error() {
    let engine = "{env: {HTTP_PROXY: \"http://ada:hunter2@proxy:3128\", https_proxy: \"ada:hunter2@proxy:3128\", \
                  REGISTRY_TOKEN: hunter2}, registry-mirrors: [\"https://ada:hunter2@mirror\"], log-opts: {splunk-token: hunter2}}";
    let shown = of(engine).redacted(&|_| "[redacted]".to_owned());
    let text = shown.to_yaml();
    assert!(!text.contains("hunter2") && !text.contains("ada") && text.matches("[redacted]").count() == 5, "{text}");
    assert!(config(engine).docker.environment()["HTTP_PROXY"].contains("hunter2"), "docker itself gets it");
    for engine in [
        "env: {REGISTRY_TOKEN: 771177}",
        "env: {A_PROXY: [\"u:771177@h\"]}",
        "log-opts: {splunk-token: 771177}",
        "env: {A_PROXY:\n    [\"u:771177@h\"]}",
    ] {
        let errors = validate(&of(engine)).unwrap_err().to_string();
        assert!(!errors.contains("771177"), "{errors}");
    }
}

#[test]
fn layers_merge_key_by_key_and_the_machines_own_documents_may_change_each() {
    let merged = merged(&[
        (LayerKind::Project, "docker: {engine: {labels: [a], log-opts: {max-size: 1m}, mtu: 1400}}"),
        (
            LayerKind::Volume,
            "docker: {engine: {labels: !append [b], log-opts: {max-file: \"2\"}, mtu: !reset , dns: [9.9.9.9]}}",
        ),
    ]);
    let expected =
        serde_json::json!({"labels": ["a", "b"], "log-opts": {"max-size": "1m", "max-file": "2"}, "dns": ["9.9.9.9"]});
    assert_eq!(json(&validate(&merged).unwrap()), expected);
}

#[test]
fn an_image_without_docker_is_told_at_the_settings() {
    let programs = Programs { docker: Presence::Absent, cloud_init: Presence::Absent, ..Programs::default() };
    let errors = can_be_done(&of("debug: true"), &Disks::new(), programs).unwrap_err();
    let error = only(&errors);
    assert_eq!((error.path.as_str(), error.message.as_str()), ("docker.engine", "the image is without docker"));
    assert_eq!((error.line, error.column), (3, 5));
    can_be_done(&of("debug:"), &Disks::new(), programs).unwrap();
    can_be_done(&of("debug: true"), &Disks::new(), Programs::default()).unwrap();
}

#[test]
fn the_example_of_the_engine_is_taken_and_editors_know_its_keys() {
    let example = describe::example();
    let lines = example.lines().skip_while(|line| *line != "#docker:").take_while(|line| line.starts_with('#'));
    let document: String = lines.map(|line| format!("{}\n", &line[1..])).collect();
    let merged = merged(&[(LayerKind::Project, &document)]);
    assert!(validate(&merged).unwrap().docker.daemon_json().unwrap().contains("role=ci"), "{document}");
    let schema: serde_json::Value = serde_json::from_str(&describe::schema()).unwrap();
    let engine = &schema["properties"]["docker"]["properties"]["engine"];
    assert_eq!(engine["properties"]["labels"]["items"]["type"], "string");
    assert!(engine["additionalProperties"].is_null(), "others may stand");
}
