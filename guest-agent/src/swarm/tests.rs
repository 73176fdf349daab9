//! The files, and the scripts against a stand-in of docker: its daemon at a socket and its own program.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
};

use cloud_machine_config::{LayerKind, merge, parse, validate};
use tempfile::TempDir;

use super::*;

const TOKEN: &str = "SWMTKN-1-3pu6hszjas19xyp7ghgosyx9k8atbfcr8p2is99znpy26u2lkl-1awxwuwd3z9j1z3puu7rcgdbx";
const HAS: docker::Has = docker::Has { docker: true, unit: true };
const USES: Uses = Uses { program: true, sender: true };

fn swarm(settings: &str) -> Swarm {
    let text = format!("docker: {{swarm: {}}}", settings.replace('@', TOKEN));
    let document = parse(LayerKind::Project, "f", text.as_bytes()).unwrap();
    validate(&merge(&[document]).unwrap()).unwrap().swarm.unwrap()
}

fn handed(settings: &str) -> Vec<(String, u32, String)> {
    let files = files(&swarm(settings), HAS, USES).unwrap();
    files.into_iter().map(|file| (file.path, file.mode, String::from_utf8(file.content).unwrap())).collect()
}

#[test]
fn the_token_is_in_a_file_for_root_alone_and_in_no_other() {
    let files = handed("{role: worker, join: 192.0.2.7, token: @}");
    let found: Vec<(&str, u32, bool)> =
        files.iter().map(|(path, mode, content)| (path.as_str(), *mode, content.contains(TOKEN))).collect();
    let expected = [(REQUEST, 0o600, true), (JOIN, 0o644, false), (UNIT, 0o644, false), (START, 0o644, false)];
    assert_eq!(found, expected);
    assert!(
        files[2].2.contains("\nExecStart=/bin/sh /etc/docker/cloud-machine-swarm.sh join false\n"),
        "{}",
        files[2].2
    );
    assert_eq!(files[3].2, "[Unit]\nWants=cloud-machine-swarm.service\n");
}

#[test]
fn a_manager_takes_former_nodes_away_and_begins_a_swarm_unless_it_joins_one() {
    for (settings, words) in [("{role: manager}", "init true"), ("{role: manager, join: m, token: @}", "join true")] {
        let files = handed(settings);
        let paths: Vec<&str> = files.iter().map(|(path, ..)| path.as_str()).collect();
        assert_eq!(paths, [REQUEST, JOIN, UNIT, PRUNE, PRUNE_UNIT, TIMER, START]);
        assert!(files[2].2.contains(&format!("swarm.sh {words}\n")), "{}", files[2].2);
        assert_eq!(files[6].2, "[Unit]\nWants=cloud-machine-swarm.service cloud-machine-swarm-prune.timer\n");
        assert!(paths.iter().all(|path| OURS.contains(path)), "what is written can be removed");
    }
}

#[test]
fn an_image_in_which_nobody_would_join_is_refused() {
    let swarm = swarm("{role: manager}");
    for (has, uses) in [
        (docker::Has { docker: false, ..HAS }, USES),
        (docker::Has { unit: false, ..HAS }, USES),
        (HAS, Uses { program: false, ..USES }),
    ] {
        assert!(matches!(files(&swarm, has, uses), Err(AgentError::SwarmDockerAbsent)));
    }
    assert!(matches!(files(&swarm, HAS, Uses { sender: false, ..USES }), Err(AgentError::SwarmSenderAbsent)));
}

/// A folder with files of a docker that is a function of the shell, and with no other programs than those that a script is to find.
struct Stand {
    folder: TempDir,
    functions: String,
}

impl Stand {
    fn new(programs: &[&str], docker: &str) -> Self {
        let mut stand = Self { folder: TempDir::new().unwrap(), functions: String::new() };
        for name in programs {
            let found = Path::new("/usr/bin").join(name);
            assert!(found.exists(), "{name} is not there (setup/packages.txt)");
            std::os::unix::fs::symlink(found, stand.path(name)).unwrap();
        }
        stand.function("docker", docker);
        stand
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn function(&mut self, name: &str, text: &str) {
        self.functions += &format!("{name}() {{ (cd '{}'; {text}) }}\n", self.folder.path().display());
    }

    /// The script with its files here in place of those of a machine.
    fn run(&self, script: &str, arguments: &[&str]) -> Output {
        let here = self.folder.path().display();
        let script =
            script.replace("/run/docker.sock", &format!("{here}/socket")).replace(REQUEST, &format!("{here}/request"));
        let script = script.replace("/run/cloud-machine-swarm-sent", &format!("{here}/sent"));
        fs::write(self.path("script"), format!("{}{script}", self.functions)).unwrap();
        let mut command = Command::new("/bin/sh");
        command.arg(self.path("script")).args(arguments).env("PATH", self.folder.path());
        command.output().unwrap()
    }
}

/// Takes one request at `path` and gives `answer`; then the daemon's state is `state`.
fn daemon(stand: &Stand, answer: &'static str, state: &'static str) -> thread::JoinHandle<(String, String)> {
    let listener = UnixListener::bind(stand.path("socket")).unwrap();
    let file = stand.path("state");
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") {
            let start = head.len();
            reader.read_line(&mut head).unwrap();
            if let Some((_, value)) = head[start..].split_once("Content-Length: ") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        fs::write(file, state).unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
        (head, String::from_utf8(body).unwrap())
    })
}

/// Says that it is a worker, and what the file `state` says.
const DOCKER: &str = r#"
echo "$@" >>asked
case "$3" in
*LocalNodeState*) read -r state <state; echo "$state" ;;
*NodeID*) echo n1 false ;;
*Error*) echo "the certificate has expired" ;;
esac
"#;
const JOINED: &str = "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n";

#[test]
fn the_request_reaches_docker_by_either_program_and_the_token_is_on_no_command_line() {
    for sender in ["perl", "curl"] {
        let mut stand = Stand::new(&[], DOCKER);
        // Notes how it was called, and is the real one.
        stand.function(sender, &format!("echo \"$@\" >>asked; /usr/bin/{sender} \"$@\""));
        fs::write(stand.path("state"), "inactive\n").unwrap();
        let request = swarm("{role: worker, join: 192.0.2.7, token: @}").request();
        fs::write(stand.path("request"), &request).unwrap();
        let daemon = daemon(&stand, JOINED, "active\n");
        let output = stand.run(include_str!("join.sh"), &["join", "false"]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(said, "docker is part of the swarm as node n1\n", "{sender}: {output:?}");
        let (head, body) = daemon.join().unwrap();
        assert!(
            head.starts_with("POST /swarm/join HTTP/1.") && head.contains("Content-Type: application/json\r\n"),
            "{head}"
        );
        assert_eq!(body, request, "{sender}");
        let asked = fs::read_to_string(stand.path("asked")).unwrap();
        assert!(asked.contains("/swarm/join") && !asked.contains("SWMTKN"), "{asked}");
    }
}

#[test]
fn a_member_asks_for_nothing_and_what_docker_refuses_is_said_without_the_token() {
    let member = Stand::new(&[], DOCKER);
    fs::write(member.path("state"), "active\n").unwrap();
    let output = member.run(include_str!("join.sh"), &["join", "true"]);
    assert!(output.status.success(), "a node that was demoted since stays as it is: {output:?}");

    let refused = Stand::new(&["perl", "tail"], DOCKER);
    fs::write(refused.path("state"), "inactive\n").unwrap();
    fs::write(refused.path("request"), swarm("{role: worker, join: m, token: @}").request()).unwrap();
    let answer = "HTTP/1.0 500 Internal Server Error\r\n\r\n{\"message\":\"remote CA does not match fingerprint\"}\n";
    let asked = daemon(&refused, answer, "inactive\n");
    let output = refused.run(include_str!("join.sh"), &["join", "false"]);
    asked.join().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(said, "cannot join the swarm, docker says: {\"message\":\"remote CA does not match fingerprint\"}\n");
    assert_eq!(output.status.code(), Some(1), "systemd tries again");

    let broken = Stand::new(&[], DOCKER);
    fs::write(broken.path("state"), "error\n").unwrap();
    let output = broken.run(include_str!("join.sh"), &["join", "false"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(said, "docker's part in its swarm is in the state error: the certificate has expired\n");
}

#[test]
fn a_token_of_the_other_role_is_an_error_that_is_not_tried_again() {
    let mut stand = Stand::new(&["perl"], DOCKER);
    stand.function("sleep", "true");
    fs::write(stand.path("state"), "inactive\n").unwrap();
    fs::write(stand.path("request"), swarm("{role: manager, join: m, token: @}").request()).unwrap();
    let asked = daemon(&stand, JOINED, "active\n");
    let output = stand.run(include_str!("join.sh"), &["join", "true"]);
    asked.join().unwrap();
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    let output = stand.run(include_str!("join.sh"), &["join", "true"]);
    assert_eq!(output.status.code(), Some(78), "a script that is started again has not forgotten it: {output:?}");

    let gone = Stand::new(&[], &DOCKER.replace("echo n1 false", "echo ' false'"));
    fs::write(gone.path("state"), "active\n").unwrap();
    let output = gone.run(include_str!("join.sh"), &["join", "true"]);
    assert_eq!(output.status.code(), Some(1), "a daemon that is gone has no role: {output:?}");
    assert!(include_str!("join.service").contains("\nRestartPreventExitStatus=78\n"));
}

/// Answers from files: whether it leads, and its nodes. What it is to remove is noted.
const MANAGER: &str = r#"
case "$1 $2" in
"node ls") echo all ;;
"node rm") echo "$@" >>removed; echo "$3" ;;
"node inspect") case "$3" in self) cat leads ;; *) cat nodes ;; esac ;;
esac
"#;
/// Each: ID, state, role, when it was made, address and host name.
const NODES: &str = r#"ready1 ready manager 1 10.0.0.1 "m"
former down worker 1795000000000000000 10.0.0.2 "w"
second-former down worker 1795000001000000000 10.0.0.2 "w"
present ready worker 1795000002000000000 10.0.0.2 "w"
older ready worker 1795000000000000000 10.0.0.3 "stopped"
younger down worker 1795000002000000000 10.0.0.3 "stopped"
elsewhere down worker 1795000000000000000 10.0.0.4 "w"
alone down worker 1795000000000000000 10.0.0.5 "alone"
counts down manager 1795000000000000000 10.0.0.6 "second"
again ready manager 1795000002000000000 10.0.0.6 "second"
waits down worker 1795000000000000000 10.0.0.7 "starts"
starts unknown worker 1795000002000000000 10.0.0.7 "starts"
blank down worker 1795000000000000000 10.0.0.8 "a b"
blank2 ready worker 1795000002000000000 10.0.0.8 "a c"
nowhere down worker 1795000000000000000 - "w"
nowhere2 ready worker 1795000002000000000 - "w"
manages down worker 1795000000000000000 10.0.0.9 "m2"
manages2 ready manager 1795000002000000000 10.0.0.9 "m2"
"#;

fn removed(leads: &str, docker_runs: bool) -> String {
    let mut stand = Stand::new(&["awk", "cat"], MANAGER);
    stand.function("systemctl", if docker_runs { "exit 0" } else { "exit 3" });
    fs::write(stand.path("leads"), leads).unwrap();
    fs::write(stand.path("nodes"), NODES).unwrap();
    let output = stand.run(include_str!("prune.sh"), &[]);
    assert!(output.status.success(), "{output:?}");
    let mut removed: Vec<String> =
        fs::read_to_string(stand.path("removed")).unwrap_or_default().lines().map(str::to_owned).collect();
    removed.sort();
    removed.join(", ")
}

#[test]
fn only_a_worker_that_is_down_and_is_another_node_now_is_removed_and_never_by_force() {
    assert_eq!(removed("true\n", true), "node rm former, node rm second-former");
    assert_eq!(removed("false\n", true), "", "the leader does it");
    assert_eq!(removed("true\n", false), "", "and no docker is started for it");
}
