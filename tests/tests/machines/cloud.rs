//! The emulated cloud with real machines: they boot through firmware and GRUB, and into a rescue system that no job can have
//! written.

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use cloud_machine_driver::ssh::generate_key;
use cloud_machine_tests::{
    artifacts,
    cloud::{
        Cloud, Fault, Injected, Settings,
        qemu::{Parts, Qemu},
    },
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long to wait for something that a machine does.
pub(super) const PATIENCE: Duration = Duration::from_secs(300);

/// A server of the cloud, and somebody who has a key for it.
pub(super) struct World {
    pub(super) machines: Arc<Qemu>,
    pub(super) cloud: Cloud,
    pub(super) folder: TempDir,
    pub(super) server: u64,
    pub(super) address: String,
    pub(super) began: Instant,
}

impl World {
    fn new() -> Self {
        let image = artifacts::cloud_image().unwrap_or_else(|missing| panic!("{missing}"));
        let images = BTreeMap::from([("debian-12".to_owned(), image.clone())]);
        let machines = Qemu::new(Parts { images, rescue: image, disk_size: 0, memory: 512, ssh_port: 22 }).unwrap();
        let machines = Arc::new(machines);
        let cloud = Cloud::start(Settings::default(), machines.clone());
        let folder = TempDir::new().unwrap();
        let public = generate_key(&folder.path().join("key"), "operator").unwrap();
        let key = json!({"name": "operator", "public_key": public});
        assert_eq!(cloud.ask("POST /ssh_keys", &key).unwrap().status, 201);
        let body = json!({"name": "ci-1", "server_type": "cx23", "image": "debian-12", "ssh_keys": ["operator"]});
        let made = cloud.ask("POST /servers", &body).unwrap();
        assert!(cloud.succeeds(&made), "{made:?}");
        let start = made.body["next_actions"][0]["id"].as_u64().unwrap();
        assert!(cloud.wait_for(start), "{:?}", cloud.ask(&format!("GET /actions/{start}"), &Value::Null));
        let server = made.body["server"]["id"].as_u64().unwrap();
        let address = made.body["server"]["public_net"]["ipv4"]["ip"].as_str().unwrap().to_owned();
        Self { machines, cloud, folder, server, address, began: Instant::now() }
    }

    fn act(&mut self, name: &str, body: &Value) -> Value {
        self.began = Instant::now();
        let reply = self.cloud.ask(&format!("POST /servers/{}/actions/{name}", self.server), body).unwrap();
        assert_eq!(reply.status, 201, "{name}: {reply:?}");
        let done = self.cloud.succeeds(&reply);
        let action = self.cloud.ask(&format!("GET /actions/{}", reply.body["action"]["id"]), &Value::Null);
        assert!(done, "{name}: {action:?}");
        reply.body
    }

    /// Has the system on it shut down.
    pub(super) fn shut_down(&mut self) {
        self.act("shutdown", &Value::Null);
        while self.field("status") != "off" {
            assert!(self.began.elapsed() < PATIENCE, "{}", self.console());
            thread::sleep(Duration::from_millis(100));
        }
        println!("shut down: {:.1} s", self.began.elapsed().as_secs_f64());
    }

    /// The next rescue system is enabled, as the provider says, and the machine boots its disk all the same.
    pub(super) fn ignore_rescue(&self) {
        self.cloud.inject(Injected::once("POST", "/actions/enable_rescue", Fault::RescueIgnored));
    }

    /// What tells whether anything of a disk was changed; its server is off.
    pub(super) fn disk_sum(&self, server: u64) -> Vec<u8> {
        let output = Command::new("b2sum").arg(self.machines.disk(server)).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    }

    pub(super) fn field(&self, field: &str) -> Value {
        let reply = self.cloud.ask(&format!("GET /servers/{}", self.server), &Value::Null).unwrap();
        reply.body["server"][field].clone()
    }

    fn known_hosts(&self) -> PathBuf {
        self.folder.path().join("known_hosts")
    }

    /// What a command prints there, if it can be run.
    fn try_ssh(&self, command: &str) -> Result<String, String> {
        let mut ssh = self.client();
        ssh.arg("-oBatchMode=yes").arg("-i").arg(self.folder.path().join("key"));
        self.run(ssh, command)
    }

    /// The same for somebody who has a password and no key.
    fn try_password(&self, password: &str, command: &str) -> Result<String, String> {
        let program = self.folder.path().join("password");
        fs::write(&program, format!("#!/bin/sh\necho '{password}'\n")).unwrap();
        fs::set_permissions(&program, Permissions::from_mode(0o700)).unwrap();
        let mut ssh = self.client();
        ssh.args(["-oPubkeyAuthentication=no", "-oNumberOfPasswordPrompts=1"]);
        ssh.env("SSH_ASKPASS", program).env("SSH_ASKPASS_REQUIRE", "force");
        self.run(ssh, command)
    }

    fn client(&self) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none", "-oConnectTimeout=20", "-oLogLevel=ERROR", "-oHashKnownHosts=no"]);
        // The first connection writes the host's key down; every other one must find it.
        ssh.arg("-oStrictHostKeyChecking=accept-new");
        ssh.arg(format!("-oUserKnownHostsFile={}", self.known_hosts().display()));
        ssh
    }

    fn run(&self, mut ssh: Command, command: &str) -> Result<String, String> {
        let output = ssh.arg(format!("root@{}", self.address)).arg(command).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() { Ok(said) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    }

    /// Runs a command there with `input` for it.
    pub(super) fn feed(&self, command: &str, input: &[u8]) {
        let mut ssh = self.client();
        ssh.arg("-oBatchMode=yes").arg("-i").arg(self.folder.path().join("key"));
        ssh.arg(format!("root@{}", self.address)).arg(command).stdin(Stdio::piped());
        let mut child = ssh.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        assert!(child.wait().unwrap().success(), "{command}\n{}", self.console());
    }

    pub(super) fn ssh(&self, command: &str) -> String {
        self.try_ssh(command).unwrap_or_else(|error| panic!("{command}: {error}\n{}", self.console()))
    }

    fn console(&self) -> String {
        self.machines.console(self.server)
    }

    /// Waits until somebody can log in to what was booted, which has another host key than what was before.
    pub(super) fn comes_up(&self, what: &str) {
        fs::remove_file(self.known_hosts()).unwrap_or_default();
        loop {
            match self.try_ssh("true") {
                Ok(_) => break,
                Err(error) => {
                    assert!(self.began.elapsed() < PATIENCE, "{what}: {error}\n{}", self.console());
                    thread::sleep(Duration::from_millis(200));
                }
            }
        }
        println!("{what}: {:.1} s", self.began.elapsed().as_secs_f64());
    }

    /// The host key that was written down, without its address.
    pub(super) fn host_key(&self) -> String {
        let line = fs::read_to_string(self.known_hosts()).unwrap();
        line.split(' ').skip(1).collect::<Vec<_>>().join(" ").trim().to_owned()
    }
}

#[test]
fn a_server_boots_its_own_disk_and_a_rescue_system_that_uses_none_of_it() {
    let mut world = World::new();
    world.comes_up("created");
    assert_eq!(world.field("status"), "running");
    assert_eq!(world.ssh("hostname"), "ci-1\n");
    let mac = world.ssh("cat /sys/class/net/eth0/address");
    assert!(world.ssh("cat /proc/cmdline").contains("BOOT_IMAGE=/vmlinuz"), "GRUB has loaded the kernel");
    let first = world.host_key();
    // A job that makes the machine unable to boot.
    world.ssh("echo mine > /etc/mine && head -c 440 /dev/vda > /root/boot && dd if=/dev/zero of=/dev/vda bs=440 count=1 && sync");

    let keys = world.cloud.ask("GET /ssh_keys", &Value::Null).unwrap().body["ssh_keys"][0]["id"].clone();
    let password = world.act("enable_rescue", &json!({"ssh_keys": [keys]}));
    let password = password["root_password"].as_str().unwrap();
    assert_eq!(world.field("rescue_enabled"), true);
    world.act("reset", &Value::Null);
    world.comes_up("rescue");
    assert_eq!(world.field("rescue_enabled"), false);
    assert_eq!(world.ssh("cat /proc/sys/kernel/hostname"), "rescue\n");
    assert_eq!(world.ssh("cat /sys/class/net/eth0/address"), mac);
    let rescue = world.host_key();
    assert!(world.console().contains(&format!("rescue: host key {rescue}")), "{}", world.console());
    assert_eq!(world.ssh("grep -c /dev/vd /proc/mounts /proc/swaps || true"), "/proc/mounts:0\n/proc/swaps:0\n");
    assert_eq!(world.ssh("ls /sys/block/vda/vda2/holders /sys/block/vda/holders | grep -v : | xargs"), "\n");
    assert_eq!(world.ssh("head -c 440 /dev/vda | tr -d '\\0' | wc -c"), "0\n", "it sees what the job did");
    assert!(world.ssh("cat /sys/block/vda/serial").starts_with("cloud-"));
    assert_eq!(world.try_password(password, "echo in").as_deref(), Ok("in\n"));
    world.try_password("another", "echo in").unwrap_err();
    world.ssh("debugfs -R 'dump /root/boot /tmp/boot' /dev/vda2 && dd if=/tmp/boot of=/dev/vda && sync");

    a_snapshot_makes_another_server(&world);

    // The system in it begins the next boot, not the provider.
    world.began = Instant::now();
    world.try_ssh("reboot").unwrap_err();
    world.comes_up("rebooted from inside");
    assert_eq!(world.ssh("cat /etc/mine"), "mine\n", "one boot uses the rescue system up");
    assert_eq!(world.host_key(), first);
    assert_ne!(rescue, first, "each makes its own");

    super::adopted::life(&mut world);
    super::rented::life(&world);
}

/// It is made and not started: its disk is looked at from here.
fn a_snapshot_makes_another_server(world: &World) {
    let path = format!("POST /servers/{}/actions/create_image", world.server);
    let snapshot = world.cloud.ask(&path, &json!({"description": "of a job"})).unwrap();
    assert!(world.cloud.succeeds(&snapshot), "{snapshot:?}");
    let image = snapshot.body["image"]["id"].to_string();
    let body = json!({"name": "ci-2", "server_type": "cx23", "image": image, "start_after_create": false});
    let made = world.cloud.ask("POST /servers", &body).unwrap();
    assert!(world.cloud.succeeds(&made), "{made:?}");
    let server = &made.body["server"];
    assert_ne!(server["public_net"]["ipv4"]["ip"], world.address.as_str());
    let id = server["id"].as_u64().unwrap();
    let disk = world.machines.disk(id);
    for (file, text) in [("/etc/hostname", "ci-2\n"), ("/etc/mine", "mine\n"), ("/root/.ssh/authorized_keys", "")] {
        assert_eq!(contents(&disk, file), text, "{file}");
    }
    let deleted = world.cloud.ask(&format!("DELETE /servers/{id}"), &Value::Null).unwrap();
    assert!(world.cloud.succeeds(&deleted));
    assert!(!disk.exists());
    assert_eq!(world.cloud.ask(&format!("DELETE /images/{image}"), &Value::Null).unwrap().status, 204);
}

/// A file of a disk's root filesystem, which nobody has mounted.
fn contents(disk: &Path, file: &str) -> String {
    let filesystem = format!("{}?offset={}", disk.display(), 198_656 * 512);
    let output = Command::new("debugfs").args(["-R", &format!("cat {file}"), &filesystem]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}
