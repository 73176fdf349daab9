//! Debian's docker out of the image with cloud-init, each in namespaces of its own as a machine of its own, all on one network. All of
//! it is gone with the value, also when a test fails. Must not know a swarm.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdout, Command, Output, Stdio},
    thread,
};

use tempfile::TempDir;

use crate::{
    artifacts::{CLOUD_INIT_ROOT_AT, cloud_init_image},
    loop_device::run,
};

/// What the daemon says when it can be asked.
const STARTED: &str = "API listen on";
const PATH: &str = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
/// The image's root below a layer in memory, and in it the daemons. No container is started, so nothing of the host's is needed.
const MACHINE: &str = "
    hostname \"$1\"; mount -t tmpfs tmpfs \"$2\"; cd \"$2\"; mkdir image upper work root
    mount -o \"ro,noload,loop,offset=$4\" \"$3\" image
    mount -t overlay -o lowerdir=image,upperdir=upper,workdir=work overlay root
    mount -t proc proc root/proc; mount --rbind /sys root/sys; mount --rbind /dev root/dev; mount -t tmpfs tmpfs root/run
    exec chroot root /bin/sh -c 'mkdir -p /etc/docker; containerd & exec dockerd --bridge=none --iptables=false --ip-masq=false \\
        --storage-driver=vfs --containerd=/run/containerd/containerd.sock --host=unix:///run/docker.sock'";

/// One of them.
pub struct Docker {
    process: Child,
    /// The daemon, in whose namespaces the machine is.
    daemon: String,
    _folder: TempDir,
}

impl Docker {
    /// With a network of its own, `10.99.0.1/24`, into which others come.
    ///
    /// # Panics
    /// When it cannot be started: it needs root and the image.
    #[must_use]
    pub fn first(name: &str) -> Self {
        let docker = Self::start(name);
        docker.ip("link add br0 type bridge");
        docker.ip("address add 10.99.0.1/24 dev br0");
        docker.ip("link set br0 up");
        docker
    }

    /// On the network of `first`, with this last part of its address.
    ///
    /// # Panics
    /// As [`Docker::first`].
    #[must_use]
    pub fn beside(first: &Self, name: &str, last: u8) -> Self {
        let docker = Self::start(name);
        let (port, daemon) = (format!("port{}", docker.daemon), &docker.daemon);
        // As a machine that comes back has it.
        let mac = format!("02:00:00:00:00:{last:02x}");
        first.ip(&format!("link add {port} type veth peer name eth0 address {mac} netns {daemon}"));
        first.ip(&format!("link set {port} master br0 up"));
        docker.ip(&format!("address add 10.99.0.{last}/24 dev eth0"));
        docker.ip("link set eth0 up");
        docker
    }

    fn start(name: &str) -> Self {
        let image = cloud_init_image().unwrap_or_else(|missing| panic!("{missing}"));
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "--uts",
            "--ipc",
            "--net",
            "--pid",
            "--fork",
            "--kill-child",
            "sh",
            "-euc",
            MACHINE,
            "sh",
            name,
        ]);
        command.arg(folder.path()).arg(image.join("disk.raw")).arg(CLOUD_INIT_ROOT_AT.to_string());
        let mut process = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("unshare (util-linux)");
        let log = BufReader::new(process.stderr.take().expect("a pipe"));
        // The guard before anything that can fail.
        let mut docker = Self { process, daemon: String::new(), _folder: folder };
        let mut said = Vec::new();
        let mut lines = log.lines().map_while(Result::ok);
        let started = lines.by_ref().any(|line| {
            said.push(line);
            said.last().is_some_and(|line| line.contains(STARTED))
        });
        assert!(started, "dockerd (needs root and cgroups): {said:#?}");
        // It must be able to go on.
        thread::spawn(move || lines.for_each(drop));
        let id = docker.process.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).expect("children of unshare");
        docker.daemon = children.split_whitespace().next().expect("a daemon").to_owned();
        docker.ip("link set lo up");
        docker
    }

    fn ip(&self, arguments: &str) {
        let mut command = Command::new("nsenter");
        run(command.args(["--target", &self.daemon, "--net", "ip"]).args(arguments.split(' ')));
    }

    /// Ends it as a machine does that is stopped: its swarm hears of it.
    ///
    /// # Panics
    /// When it does not end.
    pub fn stop(mut self) {
        run(Command::new("kill").arg(&self.daemon));
        // Its own exit code is none of anybody's business.
        let _code = self.process.wait().expect("an end");
    }

    /// A program in the machine.
    #[must_use]
    pub fn inside(&self, program: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args([
            "--target",
            &self.daemon,
            "--mount",
            "--uts",
            "--ipc",
            "--net",
            "--pid",
            "--root",
            "--wd",
            "env",
            PATH,
        ]);
        command.args(program);
        command
    }

    /// What a script of the shell says, which has to succeed.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn says(&self, script: &str) -> String {
        let output = run(&mut self.inside(&["sh", "-ec", script]));
        String::from_utf8(output.stdout).expect("text").trim_end().to_owned()
    }

    /// A script with arguments.
    ///
    /// # Panics
    /// When nothing can be started there.
    #[must_use]
    pub fn script(&self, script: &str, arguments: &[&str]) -> Output {
        self.inside(&["sh", "-c", script, "sh"]).args(arguments).output().expect("nsenter (util-linux)")
    }

    /// Writes a file in the machine.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, path: &str, content: &str) {
        let mut command = self.inside(&["sh", "-c", "cat >\"$0\"", path]);
        let mut writer = command.stdin(Stdio::piped()).spawn().expect("nsenter (util-linux)");
        writer.stdin.take().expect("a pipe").write_all(content.as_bytes()).expect("written");
        assert!(writer.wait().expect("an end").success(), "{path}");
    }

    /// What happens to nodes from now on, each line one's ID and state.
    ///
    /// # Panics
    /// When docker cannot be asked.
    #[must_use]
    pub fn events(&self) -> Events {
        let format = r#"{{.Actor.ID}} {{index .Actor.Attributes "state.new"}}"#;
        let mut command =
            self.inside(&["docker", "events", "--since", "1s", "--filter", "type=node", "--format", format]);
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("nsenter (util-linux)");
        let lines = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        Events { process, lines }
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.process.kill().and_then(|()| self.process.wait());
    }
}

/// What happens to nodes.
pub struct Events {
    process: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Events {
    /// Waits until each of these nodes is in the state that stands beside it.
    ///
    /// # Panics
    /// When docker tells no more.
    pub fn wait_for(&mut self, nodes: &[(&str, &str)]) {
        let mut waiting: Vec<String> = nodes.iter().map(|(id, state)| format!("{id} {state}")).collect();
        while !waiting.is_empty() {
            let line = self.lines.next().expect("docker goes on").expect("text");
            waiting.retain(|one| *one != line);
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let _ended = self.process.kill().and_then(|()| self.process.wait());
    }
}
