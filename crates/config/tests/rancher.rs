//! Settings of k3s and rke2: what is taken, what is refused and where, and what is not shown.
#![allow(clippy::unwrap_used, clippy::panic)]

use cloud_machine_config::{
    ConfigError, ConfigErrors, Disks, LayerKind, Merged, Presence, Programs, Rancher, Role, can_be_done, defaults,
    describe, merge, parse, validate,
};

fn of(settings: &str) -> Merged {
    let text = format!("rancher:\n  {settings}\n");
    merge(&[defaults(), parse(LayerKind::Project, "f.yaml", text.as_bytes()).unwrap()]).unwrap()
}

fn rancher(settings: &str) -> Rancher {
    let merged = of(settings);
    validate(&merged).unwrap_or_else(|errors| panic!("{settings}: {errors}")).rancher.unwrap()
}

fn only(errors: &ConfigErrors) -> &ConfigError {
    assert_eq!(errors.errors().len(), 1, "{errors}");
    &errors.errors()[0]
}

#[test]
fn what_is_stated_arrives_in_the_file_with_its_own_type_and_the_role_does_not() {
    let settings = "k3s: {role: server, cluster-init: true, tls-san: [a.example, b], disable: traefik, kubelet-arg: [\"max-pods=50\"], \
                    node-taint: [\"a=b:NoSchedule\"], write-kubeconfig-mode: \"0644\", https-listen-port: 6444, data-dir: /srv/k3s, \
                    debug: , new-key: [1, \"no\", true], \"no\": 1.5, node-label+: [c=d], etcd-arg: [], token: \"a: \\\"b\\\"#\"}";
    let error = validate(&of(settings)).unwrap_err();
    assert_eq!(only(&error).path, "rancher.k3s.token", "a blank in it would end it");
    let rancher = rancher(&settings.replace("a: \\\"b\\\"#", "a:\\\"b\\\"#"));
    let expected = r##"cluster-init: true
data-dir: "/srv/k3s"
disable: "traefik"
etcd-arg: []
https-listen-port: 6444
kubelet-arg:
  - "max-pods=50"
"new-key":
  - 1
  - "no"
  - true
"no": 1.5
"node-label+":
  - "c=d"
node-taint:
  - "a=b:NoSchedule"
tls-san:
  - "a.example"
  - "b"
token: "a:\"b\"#"
write-kubeconfig-mode: "0644"
"##;
    assert_eq!((rancher.config_yaml().as_str(), rancher.role), (expected, Role::Server));
    let nothing = of("k3s: {}");
    assert!(validate(&nothing).unwrap().rancher.is_none());
}

#[test]
fn what_yaml_takes_only_escaped_is_escaped() {
    let text = rancher("{k3s: {role: server, node-label: [\"a=\\u0085b\", \"c=\\u007f\", \"d=\\u2028\", \"e=ü😀\"]}}")
        .config_yaml();
    assert_eq!(text, "node-label:\n  - \"a=\\u0085b\"\n  - \"c=\\u007f\"\n  - \"d=\\u2028\"\n  - \"e=ü😀\"\n");
}

#[test]
fn what_cannot_become_a_part_of_a_cluster_is_refused_at_its_place() {
    const AGENT: &str = "role: agent, server: \"https://s:6443\", token: t";
    for (settings, path, message) in [
        ("k3s: {debug: true}".to_owned(), "k3s", "nothing says which part of the cluster it is"),
        ("k3s: {role: worker}".to_owned(), "k3s.role", "found a text"),
        ("k3s: {role: agent, token: t}".to_owned(), "k3s", "an agent needs `server`"),
        (
            "rke2: {role: agent, server: \"https://s:9345\"}".to_owned(),
            "rke2",
            "an agent needs `token`, or `token-file`",
        ),
        (
            "rke2: {role: server, server: \"https://s:9345\"}".to_owned(),
            "rke2",
            "a server that joins another one needs `token`, or `token-file`",
        ),
        ("k3s: {role: agent, server: \"s:6443\", token: t}".to_owned(), "k3s.server", "found a text"),
        (format!("k3s: {{{AGENT}, cluster-init: true}}"), "k3s.cluster-init", "only a server has this"),
        (format!("k3s: {{{AGENT}, t: hunter2}}"), "k3s.t", "keys of one letter are not taken"),
        (format!("k3s: {{{AGENT}, node_label: [a]}}"), "k3s.node_label", "there is no key `node_label`"),
        (format!("k3s: {{{AGENT}, node-label+: {{a: b}}}}"), "k3s.\"node-label+\"", "found a map"),
        (format!("k3s: {{{AGENT}, token+: 771177}}"), "k3s.\"token+\"", "only to a list something can be added"),
        (format!("k3s: {{{AGENT}, new-key: {{a: b}}}}"), "k3s.new-key", "found a map"),
        (format!("k3s: {{{AGENT}, node-name: 1}}"), "k3s.node-name", "found a number"),
        (format!("k3s: {{{AGENT}, data-dir: /run/k3s}}"), "k3s.data-dir", "k3s cannot keep its data there"),
        ("k3s: {role: server, token: 771177}".to_owned(), "k3s.token", "found a number"),
    ] {
        let errors = validate(&of(&settings)).unwrap_err();
        let error = only(&errors);
        assert_eq!((error.path.as_str(), error.message.as_str()), (&*format!("rancher.{path}"), message), "{settings}");
        assert_eq!(error.line, 2, "{settings}");
        assert!(!errors.to_string().contains("771177"), "{errors}");
    }
    let both = validate(&of("{k3s: {role: server}, rke2: {role: server}}")).unwrap_err();
    assert_eq!(only(&both).message, "a machine runs k3s or rke2, not both");
    rancher("rke2: {role: agent, server: \"https://s:9345\", token-file: /etc/rancher/token}");
}

#[test]
fn a_disk_that_a_reimage_keeps_holds_no_containers() {
    let document = |place: &str, policy: &str| {
        let text = format!(
            "cloud-machine: {{resources: {{disks: {{d: {{filesystem: ext4, mountpoint: {place}, on-reimage: {policy}}}}}}}}}\n\
             rancher: {{k3s: {{role: server}}}}\n"
        );
        validate(&merge(&[defaults(), parse(LayerKind::Project, "f", text.as_bytes()).unwrap()]).unwrap())
    };
    let errors = document("/var/lib/rancher", "keep").unwrap_err();
    assert!(only(&errors).message.contains("/var/lib/rancher/k3s is on disk `d`, which a reimage keeps"), "{errors}");
    document("/var/lib/rancher", "wipe").unwrap();
    document("/srv", "keep").unwrap();
}

#[test]
fn tokens_are_shown_neither_in_a_configuration_nor_with_a_short_name() {
    let settings = "k3s: {role: server, token: hunter2, agent-token: hunter2, etcd-s3-secret-key: hunter2, \
                    etcd-s3-access-key: hunter2, datastore-endpoint: \"mysql://ada:hunter2@tcp(db:3306)/k3s\", vpn-auth: \"joinKey=hunter2\"}";
    let text = of(settings).redacted(&|_| "[redacted]".to_owned()).to_yaml();
    assert!(!text.contains("hunter2") && text.matches("[redacted]").count() == 6, "{text}");
    assert_eq!(rancher(settings).config_yaml().matches("hunter2").count(), 6, "the program itself gets them");
}

#[test]
fn an_image_without_the_program_is_told_at_the_settings() {
    let settings = of("rke2: {role: server}");
    let errors =
        can_be_done(&settings, &Disks::new(), Programs { rke2: Presence::Absent, ..Programs::default() }).unwrap_err();
    let error = only(&errors);
    assert_eq!((error.path.as_str(), error.message.as_str()), ("rancher.rke2", "the image is without rke2"));
    can_be_done(&settings, &Disks::new(), Programs { k3s: Presence::Absent, ..Programs::default() }).unwrap();
}

#[test]
fn the_example_is_taken_and_editors_know_the_keys() {
    let example = describe::example();
    let lines = example.lines().skip_while(|line| *line != "#rancher:").take_while(|line| line.starts_with('#'));
    let document: String = lines.map(|line| format!("{}\n", &line[1..])).collect();
    let merged = merge(&[defaults(), parse(LayerKind::Project, "f", document.as_bytes()).unwrap()]).unwrap();
    assert_eq!(validate(&merged).unwrap().rancher.unwrap().role, Role::Agent, "{document}");
    let schema: serde_json::Value = serde_json::from_str(&describe::schema()).unwrap();
    let k3s = &schema["properties"]["rancher"]["properties"]["k3s"];
    assert_eq!(k3s["properties"]["tls-san"]["type"], serde_json::json!(["string", "array", "null"]));
    assert!(k3s["additionalProperties"].is_null(), "others may stand");
}
