//! What others say of the cloud: the provider's own Python library, and a proxy that holds every request and every answer
//! against the published description.

use std::{
    fs,
    io::Read,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use cloud_machine_tests::{
    artifacts,
    cloud::{Fault, Injected},
    http::{Answer, Server},
};
use tempfile::TempDir;

use crate::{KEY, World};

/// What the library does, and what it says of it.
fn life(world: &World, endpoint: &str, more: &[&str]) -> (bool, String) {
    // Long enough for it to ask for another action meanwhile, which is refused.
    world.cloud.inject(Injected::once("POST", "/reset", Fault::ActionSlow(Duration::from_secs(3))));
    let python = artifacts::hcloud().unwrap_or_else(|missing| panic!("{missing}"));
    let mut command = Command::new(python);
    command.args(["-W", "ignore", "-c", include_str!("life.py"), endpoint, world.cloud.token(), KEY]).args(more);
    let output = command.stdin(Stdio::null()).output().expect("python starts");
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    (output.status.success() && said[0] == "the whole life\n", said.concat())
}

#[test]
fn the_providers_own_library_lives_a_whole_life() {
    let world = World::new();
    let (lived, said) = life(&world, &world.cloud.endpoint(), &[]);
    assert!(lived, "{said}\n{}", world.cloud.requests().join("\n"));
    assert!(world.machines.all().is_empty());
}

#[test]
fn the_providers_own_library_gets_over_what_it_calls_passing() {
    let world = World::new();
    let get = |spared, fault| Injected { spared, ..Injected::once("GET", "", fault) };
    world.cloud.inject(get(3, Fault::Status(502)));
    world.cloud.inject(get(5, Fault::TooMany(Duration::from_secs(1))));
    world.cloud.inject(get(9, Fault::Status(504)));
    let (lived, said) = life(&world, &world.cloud.endpoint(), &[]);
    assert!(lived, "{said}\n{}", world.cloud.requests().join("\n"));
    assert_eq!(world.cloud.faults_left(), 0);
}

#[test]
fn a_proxy_with_the_description_finds_no_fault_in_the_whole_life() {
    let world = World::new();
    let proxy = Proxy::start(&world.cloud.endpoint());
    let (lived, said) = life(&world, &proxy.endpoint, &["strict"]);
    let log = proxy.log();
    assert!(lived, "{said}\n{}\n{log}", world.cloud.requests().join("\n"));
    assert_eq!(proxy.violations(), 0, "{log}");
    assert_eq!(log.matches("Forwarding").count(), world.cloud.requests().len(), "it has seen all: {log}");
}

#[test]
fn the_proxy_finds_what_is_wrong_in_requests_and_in_answers() {
    let server = Server::start(Answer::Document(br#"{"servers": [{"id": "7"}]}"#.to_vec()));
    let port = server.root().trim_end_matches('/').rsplit(':').next().unwrap().to_owned();
    let proxy = Proxy::start(&format!("http://127.0.0.1:{port}"));
    let incomplete = proxy.ask("POST", "/servers", r#"{"name": "a", "server_type": "cx23"}"#);
    assert!(incomplete.starts_with("HTTP/1.1 422"), "{incomplete}");
    assert_eq!(server.requests(), 0, "it was not handed on");
    let answered = proxy.ask("GET", "/servers", "");
    assert!(answered.starts_with("HTTP/1.1 500"), "{answered}");
    assert_eq!(server.requests(), 1);
    assert!(proxy.violations() > 0, "{}", proxy.log());
}

/// The running proxy.
pub(crate) struct Proxy {
    child: Child,
    pub(crate) endpoint: String,
    port: u16,
    folder: TempDir,
}

impl Proxy {
    pub(crate) fn start(upstream: &str) -> Self {
        let prism = artifacts::prism().unwrap_or_else(|missing| panic!("{missing}"));
        let folder = TempDir::new().unwrap();
        let description = unpacked(folder.path());
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        // Also when the test is killed.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(prism).args(["proxy", "--errors", "--host", "127.0.0.1", "--port"]);
        command.arg(port.to_string()).arg(description).arg(upstream).stdin(Stdio::null());
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().expect("setpriv starts");
        let mut proxy = Self { child, endpoint: format!("http://127.0.0.1:{port}"), port, folder };
        let began = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            let ended = proxy.child.try_wait().unwrap();
            assert!(ended.is_none() && began.elapsed() < Duration::from_secs(120), "prism: {}", proxy.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        proxy
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// What it has found so far.
    pub(crate) fn violations(&self) -> usize {
        let log = self.log();
        log.lines().filter(|line| line.contains("Violation") || line.contains("error ")).count()
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer word\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        std::io::Write::write_all(&mut stream, (head + body).as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let ended = self.child.kill().and_then(|()| self.child.wait());
        assert!(ended.is_ok() || std::thread::panicking(), "prism was not ended");
    }
}

/// The description as it was published, but for the names of its errors: OpenAPI has capital letters there, and the proxy would hold
/// no error against it otherwise.
fn unpacked(folder: &Path) -> PathBuf {
    let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/cloud/hcloud.json.zst");
    let output = Command::new("zstd").args(["-q", "-d", "-c"]).arg(&packed).output();
    let output = output.expect("zstd starts, which setup/install brings");
    assert!(output.status.success(), "{}: {}", packed.display(), String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let text = text.replace("\"4xx\":", "\"4XX\":").replace("\"5xx\":", "\"5XX\":");
    let description = folder.join("hcloud.json");
    fs::write(&description, text).unwrap();
    description
}
