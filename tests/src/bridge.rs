//! A host of a test's own as far as networks go: a network namespace with two bridges, a DHCP server and a web server, in which
//! programs run and see those alone. All of it is gone with the value, also when a test fails.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

/// The bridge.
pub const BRIDGE: &str = "br0";
/// A tap that is a port of it.
pub const TAP: &str = "tap0";
/// The host's address on it, also of the DHCP, DNS and web server.
pub const HOST: &str = "10.78.0.1";
/// The other bridge, with a DHCP server that names a router and a DNS server.
pub const OTHER_BRIDGE: &str = "br1";
/// The host's address on it beside that of the DHCP server.
pub const OTHER_HOST: &str = "10.79.0.1";

static COUNT: AtomicU32 = AtomicU32::new(0);

/// The namespace.
pub struct Bridged {
    namespace: String,
    folder: tempfile::TempDir,
    servers: Vec<Child>,
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().expect("ip (package iproute2)");
    assert!(output.status.success(), "ip {arguments} (needs root): {}", String::from_utf8_lossy(&output.stderr));
}

impl Bridged {
    /// With a DHCP server that has more than one address to give, and a web server for the files of [`Bridged::web`].
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new() -> Self {
        let namespace = format!("cm-bridge-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = tempfile::tempdir().expect("a folder");
        // The guard before the first thing that it has to remove.
        let mut bridged = Self { namespace, folder, servers: Vec::new() };
        let name = &bridged.namespace;
        ip(&format!("netns add {name}"));
        ip(&format!("-n {name} link set lo up"));
        ip(&format!("-n {name} link add {BRIDGE} type bridge"));
        ip(&format!("-n {name} address add {HOST}/24 dev {BRIDGE}"));
        ip(&format!("-n {name} link set {BRIDGE} up"));
        ip(&format!("-n {name} tuntap add {TAP} mode tap"));
        ip(&format!("-n {name} link set {TAP} master {BRIDGE} up"));
        ip(&format!("-n {name} link add {OTHER_BRIDGE} type bridge"));
        ip(&format!("-n {name} address add 10.80.0.1/24 dev {OTHER_BRIDGE}"));
        ip(&format!("-n {name} link set {OTHER_BRIDGE} up"));
        ip(&format!("-n {name} address add {OTHER_HOST}/24 dev {OTHER_BRIDGE}"));
        for folder in ["web", "etc/qemu"] {
            fs::create_dir_all(bridged.folder.path().join(folder)).expect("a folder");
        }
        // Whom QEMU's helper connects, for those who run inside alone.
        let rules = bridged.folder.path().join("etc/qemu/bridge.conf");
        fs::write(rules, format!("allow {BRIDGE}\nallow {OTHER_BRIDGE}\n")).expect("a file");
        bridged.start_dnsmasq();
        bridged.start_web();
        bridged
    }

    /// The folder of the web server.
    #[must_use]
    pub fn web(&self) -> PathBuf {
        self.folder.path().join("web")
    }

    /// A program that runs `program` inside.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn inside(&self, program: &Path) -> PathBuf {
        let path = self.folder.path().join("inside");
        let (name, etc) = (&self.namespace, self.folder.path().join("etc"));
        let layer = format!("mount -t overlay -o ro,lowerdir={}:/etc overlay /etc", etc.display());
        let script = format!(
            "#!/bin/sh\nexec ip netns exec {name} unshare --mount sh -euc '{layer}; exec \"$@\"' sh '{}' \"$@\"\n",
            program.display()
        );
        fs::write(&path, script).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a program");
        path
    }

    /// The addresses that the DHCP server gave so far, each with the client identifier that asked for it.
    ///
    /// # Panics
    /// When its file is not what dnsmasq writes.
    #[must_use]
    pub fn leases(&self) -> Vec<(String, String)> {
        let text = fs::read_to_string(self.folder.path().join("leases")).expect("the file of leases");
        let lease = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            assert_eq!(words.len(), 5, "{line}");
            (words[2].to_owned(), words[4].to_owned())
        };
        text.lines().map(lease).collect()
    }

    fn start_dnsmasq(&mut self) {
        let leases = self.folder.path().join("leases");
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.namespace, "dnsmasq", "--keep-in-foreground", "--log-facility=-"])
            .args(["--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root", "--pid-file=", "--no-ping"])
            .args([&format!("--interface={BRIDGE}"), &format!("--interface={OTHER_BRIDGE}")])
            .args(["--bind-interfaces", "--dhcp-authoritative"])
            // Each new client gets the next address: another client is another address.
            .args(["--dhcp-range=10.78.0.50,10.78.0.150,255.255.255.0,1h", "--dhcp-sequential-ip"])
            .arg("--dhcp-range=10.80.0.50,10.80.0.150,255.255.255.0,1h")
            .arg(format!("--dhcp-leasefile={}", leases.display()));
        let mut dnsmasq = command.stderr(Stdio::piped()).spawn().expect("ip runs");
        let log = dnsmasq.stderr.take().expect("a pipe");
        self.servers.push(dnsmasq);
        wait_for(log, "cleared cache");
    }

    fn start_web(&mut self) {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.namespace, "python3", "-u", "-m", "http.server", "--bind", HOST])
            .arg("--directory")
            .arg(self.web())
            .arg("80");
        let mut web = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("ip runs");
        let log = web.stdout.take().expect("a pipe");
        self.servers.push(web);
        wait_for(log, "Serving HTTP");
    }
}

/// Reads what a server says until it says that it has started; the rest is read by nobody, but it must be able to write it.
fn wait_for(log: impl Read + Send + 'static, words: &str) {
    let mut log = BufReader::new(log).lines();
    let mut said = Vec::new();
    let started = log.by_ref().map_while(Result::ok).any(|line| {
        said.push(line);
        said.last().is_some_and(|line| line.contains(words))
    });
    assert!(started, "a server (setup/packages.txt): {said:#?}");
    thread::spawn(move || log.for_each(drop));
}

impl Default for Bridged {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Bridged {
    fn drop(&mut self) {
        for server in &mut self.servers {
            // It may have ended by itself.
            let _ended = server.kill().and_then(|()| server.wait());
        }
        let removed = Command::new("ip").args(["netns", "delete", &self.namespace]).status();
        if !removed.is_ok_and(|status| status.success()) {
            eprintln!("network namespace {} is left", self.namespace);
        }
    }
}
