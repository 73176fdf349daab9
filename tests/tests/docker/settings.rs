//! What docker's own daemon says of the file that is made from `docker.engine`. The daemon is started as a user who may not run
//! it: it reads its settings, says what is wrong with them or that it needs root, and ends before it has made anything.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    process::Command,
};

use cloud_machine_config::{LayerKind, merge, parse, validate};
use cloud_machine_tests::{artifacts, loop_device::run};
use nix::unistd::geteuid;
use tempfile::TempDir;

/// What a daemon says whose settings are right.
const NEEDS_ROOT: &str = "dockerd needs to be started with root";
/// Somebody without privileges.
const NOBODY: u32 = 65_534;

/// The daemon, where others than its owner may start it.
struct Daemon(TempDir);

impl Daemon {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let program = artifacts::dockerd().unwrap_or_else(|missing| panic!("{missing}"));
        // Another test that starts a program would keep a file open that was written here, and nobody could start it.
        run(Command::new("cp").arg(program).arg(folder.path()));
        Self(folder)
    }

    /// What it says of the settings below `docker.engine`, started as Debian's unit starts it.
    fn says(&self, engine: &str) -> String {
        let text = format!("docker:\n  engine:\n    {engine}\n");
        let merged = merge(&[parse(LayerKind::Project, "f", text.as_bytes()).unwrap()]).unwrap();
        let settings = validate(&merged).unwrap_or_else(|errors| panic!("{errors}")).docker.daemon_json().unwrap();
        let file = self.0.path().join("daemon.json");
        fs::write(&file, settings).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let mut command = Command::new(self.0.path().join("dockerd"));
        command.args(["-H", "fd://", "--config-file"]).arg(&file).current_dir("/").env_clear();
        if geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let output = command.output().unwrap();
        assert!(!output.status.success(), "it does not run");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

#[test]
fn dockerd_takes_every_kind_of_setting_that_is_taken_here() {
    let daemon = Daemon::new();
    for engine in [
        "labels: [role=ci, rack=7]",
        "registry-mirrors: [\"https://mirror.example\", \"http://ada:words@10.0.0.1:5000\"]",
        "insecure-registries: [10.0.0.0/8, \"registry.example:5000\"]",
        "{storage-driver: overlay2, data-root: /srv/docker, exec-opts: [native.cgroupdriver=systemd]}",
        "{log-driver: json-file, log-opts: {max-size: 10m, max-file: \"3\", compress: \"true\"}}",
        "default-address-pools: [{base: 10.200.0.0/16, size: 24}]",
        "{dns: [9.9.9.9], dns-search: [example], dns-opts: [ndots:1], mtu: 1400, bip: 10.201.0.1/24}",
        "{live-restore: true, debug: true, icc: false, iptables: true, userland-proxy: false, features: {buildkit: true}}",
        "{max-concurrent-downloads: 3, shutdown-timeout: 20, oom-score-adjust: -500}",
        "{default-ulimits: {nofile: {Name: nofile, Hard: 64000, Soft: 64000}}, runtimes: {x: {path: /x, runtimeArgs: [-d]}}}",
        "{builder: {gc: {enabled: true, defaultKeepStorage: 10GB}}, default-shm-size: 64M, log-level: warn}",
    ] {
        let said = daemon.says(engine);
        assert!(said.contains(NEEDS_ROOT), "{engine}: {said}");
    }
}

#[test]
fn dockerd_itself_judges_keys_that_are_not_known_here_and_what_contradicts_its_unit() {
    let daemon = Daemon::new();
    let said = daemon.says("{certainly-not: 1, debug: true}");
    assert!(said.contains("directives don't match any configuration option: certainly-not"), "{said}");
    let said = daemon.says("hosts: [\"tcp://127.0.0.1:2375\"]");
    assert!(said.contains("specified both as a flag and in the configuration file: hosts"), "{said}");
}
