//! Swarms of Debian's own docker, which are made by what a machine is handed: its request and its scripts.

use cloud_machine_config::{LayerKind, merge, parse, validate};
use cloud_machine_tests::dockers::Docker;

const JOIN: &str = include_str!("../../../guest-agent/src/swarm/join.sh");
/// There is no systemd, of which the script asks whether docker runs.
const PRUNE: &str = concat!("systemctl() { :; }\n", include_str!("../../../guest-agent/src/swarm/prune.sh"));
const REQUEST: &str = "/etc/docker/cloud-machine-swarm.json";
const NODES: &str = "docker node ls --format '{{.Hostname}} {{.Status}} {{.ManagerStatus}}' | sort";

/// What the machine is handed for these settings below `docker.swarm`.
fn hand(docker: &Docker, settings: &str) {
    let text = format!("docker: {{swarm: {settings}}}");
    let merged = merge(&[parse(LayerKind::Project, "f", text.as_bytes()).unwrap()]).unwrap();
    let swarm = validate(&merged).unwrap_or_else(|errors| panic!("{errors}")).swarm.unwrap();
    docker.write(REQUEST, &swarm.request());
}

/// The node that docker becomes by the script.
fn node(docker: &Docker, what: &str, manager: &str) -> String {
    let output = docker.script(JOIN, &[what, manager]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let node = said.trim_end().strip_prefix("docker is part of the swarm as node ");
    node.unwrap_or_else(|| panic!("{output:?}")).to_owned()
}

fn prune(docker: &Docker) -> String {
    let output = docker.script(PRUNE, &[]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_worker_that_comes_back_is_another_node_and_the_one_that_it_was_is_removed() {
    let manager = Docker::first("manager");
    hand(&manager, "{role: manager, advertise: 10.99.0.1}");
    let first = node(&manager, "init", "true");
    assert_eq!(node(&manager, "init", "true"), first, "a member stays one");
    // How long a node may be silent is a multiple of it.
    let _updated = manager.says("docker swarm update --dispatcher-heartbeat 1s");
    let token = manager.says("docker swarm join-token --quiet worker");

    let worker = Docker::beside(&manager, "worker", 2);
    let settings = format!("{{role: worker, join: 10.99.0.1, token: {token}, advertise: eth0}}");
    let secret = token.rsplit('-').next().unwrap();
    hand(&worker, &settings.replace(secret, &"a".repeat(secret.len())));
    let refused = worker.script(JOIN, &["join", "false"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        said.starts_with("cannot join the swarm, docker says: ") && said.contains("A valid join token is necessary"),
        "{said}"
    );
    assert!(!said.contains("SWMTKN") && refused.status.code() == Some(1), "{refused:?}");
    hand(&worker, &settings);
    let former = node(&worker, "join", "false");
    let other = Docker::beside(&manager, "other", 3);
    hand(&other, &settings);
    let gone = node(&other, "join", "false");
    assert_eq!(manager.says(NODES), "manager Ready Leader\nother Ready \nworker Ready");

    let mut events = manager.events();
    worker.stop();
    other.stop();
    let worker = Docker::beside(&manager, "worker", 2);
    hand(&worker, &settings);
    let present = node(&worker, "join", "false");
    events.wait_for(&[(&former, "down"), (&gone, "down"), (&present, "ready")]);
    assert_eq!(manager.says(NODES), "manager Ready Leader\nother Down \nworker Down \nworker Ready");
    assert_eq!(prune(&worker), "", "it is no manager");
    assert_eq!(prune(&manager), format!("node {former} is removed: its machine is another node now\n"));
    assert_eq!(manager.says(NODES), "manager Ready Leader\nother Down \nworker Ready", "nobody came for the other one");
    assert_eq!(node(&worker, "join", "false"), present);
}

#[test]
fn a_token_of_managers_makes_no_worker() {
    let manager = Docker::first("manager");
    hand(&manager, "{role: manager, advertise: 10.99.0.1}");
    node(&manager, "init", "true");
    let token = manager.says("docker swarm join-token --quiet manager");
    let worker = Docker::beside(&manager, "worker", 2);
    hand(&worker, &format!("{{role: worker, join: \"10.99.0.1:2377\", token: {token}, advertise: 10.99.0.2}}"));
    let joined = worker.script(JOIN, &["join", "false"]);
    assert_eq!(joined.status.code(), Some(78), "{joined:?}");
    assert!(String::from_utf8_lossy(&joined.stderr).contains("the token is one for the other role"), "{joined:?}");
}
