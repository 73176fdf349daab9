//! A network of a test's own: two network namespaces with a cable between them, a DHCP and DNS server and a web server
//! on one side. All of it is gone with the value, also when a test fails.

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    process::{self, Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use nix::sched::{CloneFlags, setns};
use serde_json::Value;

pub const MAC: &str = "52:54:00:c1:0d:01";
/// The DHCP and DNS server, and the router.
pub const SERVER: &str = "10.77.0.1";
/// The same of IPv6.
pub const SERVER6: &str = "2001:db8:77::1";
/// The router again, outside of the subnet.
pub const GATEWAY: &str = "10.88.0.1";
/// What is only reached through the router.
pub const BEYOND: &str = "192.0.2.0/24";
pub const DOCUMENT: &str = "#cloud-config\n";

static COUNT: AtomicU32 = AtomicU32::new(0);

pub struct Lan {
    server: String,
    client: String,
    folder: tempfile::TempDir,
    dnsmasq: Option<Child>,
}

/// The output of a program that must succeed.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program} (setup/packages.txt): {error}"));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?} (needs root): {text}");
    String::from_utf8(output.stdout).expect("text")
}

fn ip(arguments: &str) -> String {
    run("ip", &arguments.split_whitespace().collect::<Vec<_>>())
}

impl Lan {
    /// Two namespaces and, on the server's side, an address and those of [`BEYOND`]. The client has no interface yet.
    pub fn new() -> Self {
        let name = format!("cm-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = tempfile::tempdir().expect("a folder");
        // The guard before the first thing that it has to remove.
        let lan = Self { server: format!("{name}-s"), client: format!("{name}-c"), folder, dnsmasq: None };
        let (server, client) = (&lan.server, &lan.client);
        for namespace in [server, client] {
            ip(&format!("netns add {namespace}"));
        }
        ip(&format!("-n {server} link add port type veth peer name eth7 address {MAC} netns {server}"));
        ip(&format!("-n {server} address add {SERVER}/24 dev port"));
        ip(&format!("-n {server} address add {GATEWAY}/32 dev port"));
        ip(&format!("-n {server} address add {SERVER6}/64 dev port nodad"));
        ip(&format!("-n {server} link set lo up"));
        ip(&format!("-n {server} link set port up"));
        ip(&format!("-n {server} route add local {BEYOND} dev lo"));
        lan
    }

    /// As [`Lan::new`], with the cable plugged in, a web server, and dnsmasq with these options beside its own.
    pub fn served(options: &[&str], answer: &str) -> Self {
        let mut lan = Self::new();
        lan.plug();
        lan.start_web(answer);
        lan.start_dnsmasq(options);
        lan
    }

    /// Gives the client its interface.
    pub fn plug(&self) {
        ip(&format!("-n {} link set eth7 netns {}", self.server, self.client));
    }

    /// Names below `.test` are [`BEYOND`], `many.test` has more addresses there than a DNS packet has room for.
    pub fn start_dnsmasq(&mut self, options: &[&str]) {
        let leases = self.folder.path().join("leases");
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.server, "dnsmasq", "--keep-in-foreground", "--log-facility=-"])
            .args(["--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root", "--pid-file="])
            .args(["--interface=port", "--bind-interfaces", "--dhcp-authoritative", "--no-ping"])
            .args(["--dhcp-range=10.77.0.50,10.77.0.60,255.255.255.0,1h", "--address=/seed.test/192.0.2.7"])
            .args((1..=100).map(|last| format!("--host-record=many.test,192.0.2.{last}")))
            .arg("--edns-packet-max=512")
            .arg(format!("--dhcp-leasefile={}", leases.display()))
            .args(options);
        let mut dnsmasq = command.stderr(Stdio::piped()).spawn().expect("ip runs");
        let mut log = BufReader::new(dnsmasq.stderr.take().expect("a pipe")).lines();
        self.dnsmasq = Some(dnsmasq);
        // It says that it has started when its sockets are there.
        let mut said = Vec::new();
        let started = log.by_ref().map_while(Result::ok).any(|line| {
            said.push(line);
            said.last().is_some_and(|line| line.contains("DHCP, sockets bound exclusively"))
        });
        assert!(started, "dnsmasq (setup/packages.txt): {said:#?}");
        // Nobody reads the rest, but dnsmasq must be able to write it.
        thread::spawn(move || log.for_each(drop));
    }

    /// Gives every request the same answer, on port 80 of all addresses.
    pub fn start_web(&self, answer: &str) {
        let (namespace, answer) = (self.server.clone(), answer.to_owned());
        // A thread of its own: a socket stays where it was made, and only this thread goes there.
        let listener = thread::spawn(move || {
            let namespace = File::open(format!("/run/netns/{namespace}")).expect("the namespace");
            setns(namespace, CloneFlags::CLONE_NEWNET).expect("to enter the namespace");
            TcpListener::bind("[::]:80").expect("port 80")
        });
        let listener = listener.join().expect("a listener");
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let mut lines = BufReader::new(stream.try_clone().expect("a reader")).lines();
                while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
                stream.write_all(answer.as_bytes()).expect("to answer");
            }
        });
    }

    /// Starts the client on its side.
    pub fn client(&self, mac: &str, seconds: u32, url: &str) -> Child {
        self.command(mac, seconds, url).spawn().expect("ip runs")
    }

    fn command(&self, mac: &str, seconds: u32, url: &str) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.client, env!("CARGO_BIN_EXE_network-client"), mac, &seconds.to_string(), url])
            // Nobody listens there: the environment must not count.
            .env("http_proxy", "http://192.0.2.7:9")
            .env("HTTP_PROXY", "http://192.0.2.7:9")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// As [`Lan::fetch`], with an address, a router and a DNS server that are written.
    pub fn fetch_as(&self, own: [&str; 3], url: &str) -> Result<Value, String> {
        let mut command = self.command(MAC, 60, url);
        result(command.args(own).spawn().expect("ip runs"))
    }

    /// What the client found, or its error with all causes.
    pub fn fetch(&self, seconds: u32, url: &str) -> Result<Value, String> {
        result(self.client(MAC, seconds, url))
    }

    /// Nothing of the client is left: the link is down, without address and route.
    pub fn assert_untouched(&self) {
        let client = &self.client;
        let links: Value = serde_json::from_str(&ip(&format!("-n {client} -j address show dev eth7"))).expect("JSON");
        assert_eq!(links[0]["operstate"], "DOWN", "{links}");
        assert_eq!(links[0]["mtu"], 1500, "{links}");
        assert_eq!(links[0]["addr_info"].as_array().map(Vec::len), Some(0), "{links}");
        assert_eq!(ip(&format!("-n {client} route show table all")), "");
    }
}

pub fn result(client: Child) -> Result<Value, String> {
    let Output { status, stdout, stderr } = client.wait_with_output().expect("the client ends");
    let error = String::from_utf8_lossy(&stderr).trim_end().to_owned();
    if status.success() { Ok(serde_json::from_slice(&stdout).expect("JSON")) } else { Err(error) }
}

/// A whole answer of a web server.
pub fn good() -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{DOCUMENT}", DOCUMENT.len())
}

impl Drop for Lan {
    fn drop(&mut self) {
        if let Some(mut dnsmasq) = self.dnsmasq.take() {
            // It may have ended by itself.
            let _ended = dnsmasq.kill().and_then(|()| dnsmasq.wait());
        }
        for namespace in [&self.server, &self.client] {
            let removed = Command::new("ip").args(["netns", "delete", namespace]).status();
            if !removed.is_ok_and(|status| status.success()) {
                eprintln!("network namespace {namespace} is left");
            }
        }
    }
}

/// Long enough for the client to look and find nothing.
pub fn a_moment() {
    thread::sleep(Duration::from_secs(2));
}
