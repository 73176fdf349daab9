//! Images behind an address, without a machine: the engine over servers that break, and the program's verbs over real
//! servers.

use std::{
    io,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use cloud_machine_fetch::{Names, RangeLimits, Ranges};
use cloud_machine_image::{
    CompareMode, Manifest, Options, ReadBlocks, WriteBlocks, read_manifest, rewrite, verify_packed,
};
use cloud_machine_protocol::{Tier, causes};
use cloud_machine_tests::{
    artifacts::Artifacts,
    fixture::{Fixture, IMAGE, dirty, fixture},
    image_server::{Behaviour, ImageServer},
    program::{Called, Program},
};

/// A disk in memory.
struct MemoryDisk(Mutex<Vec<u8>>);

impl MemoryDisk {
    fn new(bytes: Vec<u8>) -> Self {
        Self(Mutex::new(bytes))
    }

    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().expect("the disk")
    }
}

impl ReadBlocks for MemoryDisk {
    fn size(&self) -> u64 {
        self.bytes().len() as u64
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let start = offset as usize;
        buffer.copy_from_slice(&self.bytes()[start..start + buffer.len()]);
        Ok(())
    }
}

impl WriteBlocks for MemoryDisk {
    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<()> {
        let start = offset as usize;
        self.bytes()[start..start + buffer.len()].copy_from_slice(buffer);
        Ok(())
    }

    fn zero(&self, offset: u64, length: u64) -> io::Result<()> {
        self.bytes()[offset as usize..(offset + length) as usize].fill(0);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

fn packed(fixture: &Fixture) -> Vec<u8> {
    std::fs::read(fixture.image().packed()).expect("the packed image")
}

fn open(server: &ImageServer) -> Ranges<'static> {
    let limits = RangeLimits { attempts: 40, ..RangeLimits::default() };
    Ranges::open(&server.url(), None, limits, &Names::System, &|_, _| {}).expect("an image")
}

fn write(
    manifest: &Manifest,
    ranges: &Ranges<'_>,
    disk: &MemoryDisk,
    compare_mode: CompareMode<'_>,
) -> Result<Tier, String> {
    rewrite(manifest, ranges, disk, Options { threads: 4, compare_mode }, &|_, _| {})
        .map(|done| done.tier)
        .map_err(|error| causes(&error))
}

#[test]
fn a_server_that_breaks_connections_at_random_gives_the_exact_image() {
    let (fixture, _turn) = fixture();
    let raw = fixture.raw();
    for (seed, compare_mode) in [(1, CompareMode::Stream), (2, CompareMode::Scan), (3, CompareMode::Auto)] {
        let server = ImageServer::start(packed(&fixture), Behaviour::Breaks { seed, broken: 40 });
        let ranges = open(&server);
        let manifest = read_manifest(&ranges).expect("a manifest");
        let disk = MemoryDisk::new(dirty(&raw));
        write(&manifest, &ranges, &disk, compare_mode).unwrap();
        assert!(*disk.bytes() == raw, "seed {seed}: the disk is not the image");
        assert!(server.broken() > 3, "seed {seed}: nothing broke");
        assert!(ranges.requests() >= server.requests(), "a request was not counted");
    }
}

#[test]
fn only_dirty_frames_are_fetched() {
    let (fixture, _turn) = fixture();
    let (raw, packed) = (fixture.raw(), packed(&fixture));
    let whole = packed.len() as u64;
    let server = ImageServer::start(packed, Behaviour::Good);
    let ranges = open(&server);
    let manifest = read_manifest(&ranges).expect("a manifest");
    let served = |disk: &MemoryDisk, compare_mode| {
        let before = server.bytes();
        write(&manifest, &ranges, disk, compare_mode).unwrap();
        assert!(*disk.bytes() == raw);
        server.bytes() - before
    };
    // The boot head belongs to what is always looked at.
    let clean = served(&MemoryDisk::new(raw.clone()), CompareMode::Scan);
    assert!(clean < 64 << 10, "{clean} bytes for a clean disk");
    // One byte in each of three frames that lie apart and hold noise.
    let mut changed = raw.clone();
    for frame in [5, 7, 9] {
        changed[(frame << 20) + 500_000] ^= 1;
    }
    let three = served(&MemoryDisk::new(changed), CompareMode::Scan);
    assert!((1..=(3 << 20) + (128 << 10)).contains(&(three - clean)), "{three} bytes for three frames");
    let all = served(&MemoryDisk::new(raw.clone()), CompareMode::Stream);
    assert!(all > 3 * three && all < 2 * whole, "{all} bytes of {whole} for all frames");
    // One for each thread, and one that opened the file.
    assert!(server.connections() <= 5, "{} connections", server.connections());
}

#[test]
fn data_of_another_image_is_never_written() {
    let (fixture, _turn) = fixture();
    let packed = packed(&fixture);
    let server = ImageServer::start(packed.clone(), Behaviour::Good);
    let manifest = read_manifest(&open(&server)).expect("a manifest");
    let other = ImageServer::start(packed.iter().map(|byte| byte ^ 0x55).collect(), Behaviour::Good);
    let before = dirty(&fixture.raw());
    let disk = MemoryDisk::new(before.clone());
    let text = write(&manifest, &open(&other), &disk, CompareMode::Scan).unwrap_err();
    assert!(text.contains("cannot decompress frame"), "{text}");
    // At most the boot head was made invalid.
    assert!(disk.bytes()[1 << 20..] == before[1 << 20..], "data was written");
    assert!(disk.bytes()[510..512] != [0x55, 0xaa] || *disk.bytes() == before, "the disk boots");
}

#[test]
fn an_image_is_verified_where_it_is() {
    let (fixture, _turn) = fixture();
    let server = ImageServer::start(packed(&fixture), Behaviour::Breaks { seed: 9, broken: 20 });
    let ranges = open(&server);
    let manifest = read_manifest(&ranges).expect("a manifest");
    verify_packed(&manifest, &ranges, &|_, _| {}).unwrap();
}

/// A server that anybody may run, ended with the test.
struct Peer(Child, String, tempfile::TempDir);

impl Drop for Peer {
    fn drop(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).expect("the server ends");
    }
}

impl Peer {
    /// Starts `command`, which serves `folder` on `port`, and waits until it does.
    fn start(mut command: Command, port: u16, folder: tempfile::TempDir) -> Self {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the server starts");
        let peer = Self(child, format!("http://127.0.0.1:{port}"), folder);
        let end = Instant::now() + Duration::from_secs(60);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "the server does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        peer
    }

    fn apache(packed: &[u8]) -> Self {
        let (folder, port) = served(packed);
        let root = folder.path().display();
        let modules = "/usr/lib/apache2/modules";
        let settings = format!(
            "ServerName localhost\nListen 127.0.0.1:{port}\nServerRoot {root}\nPidFile {root}/pid\nErrorLog /dev/stderr\n\
             LoadModule mpm_event_module {modules}/mod_mpm_event.so\nLoadModule authz_core_module {modules}/mod_authz_core.so\n\
             DocumentRoot {root}/www\n<Directory {root}/www>\n Require all granted\n</Directory>\n\
             Mutex file:{root} default\nUser daemon\nGroup daemon\n"
        );
        std::fs::write(folder.path().join("settings"), settings).expect("settings");
        let mut command = Command::new("apache2");
        // One process alone: workers would outlive a parent that is killed.
        command.args(["-X", "-f"]).arg(folder.path().join("settings"));
        Self::start(command, port, folder)
    }

    fn python(packed: &[u8]) -> Self {
        let (folder, port) = served(packed);
        let mut command = Command::new("python3");
        command.args(["-m", "http.server", "--bind", "127.0.0.1", &port.to_string(), "--directory"]);
        command.arg(folder.path().join("www"));
        Self::start(command, port, folder)
    }
}

/// A folder with the image in `www`, which everybody may read, and a port that was free a moment ago.
fn served(packed: &[u8]) -> (tempfile::TempDir, u16) {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let www = folder.path().join("www");
    std::fs::create_dir(&www).expect("a folder");
    std::fs::write(www.join("small.image"), packed).expect("an image");
    for path in [folder.path(), &www] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("permissions");
    }
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|found| found.local_addr()).expect("a port").port();
    (folder, port)
}

fn program() -> Program {
    Program::new(&Artifacts::from_environment().expect("artifacts"))
}

fn call(arguments: &[&str]) -> Called {
    program().call(arguments, b"")
}

fn good(arguments: &[&str]) -> String {
    let called = call(arguments);
    assert_eq!(called.code, 0, "{arguments:?}: {}", called.errors);
    called.output
}

fn refused(arguments: &[&str], code: i32, texts: &[&str]) {
    let called = call(arguments);
    assert_eq!(called.code, code, "{arguments:?}: {}", called.errors);
    for text in texts {
        assert!(called.errors.contains(text), "{arguments:?}: expected {text:?} in {}", called.errors);
    }
}

#[test]
fn every_verb_takes_an_address_of_a_server_that_many_use() {
    let (fixture, _turn) = fixture();
    let fixture: Arc<Fixture> = fixture;
    let peer = Peer::apache(&packed(&fixture));
    let url = format!("{}/small.image", peer.1);
    let inspected = good(&["image", "inspect", &url, "--output", "json"]);
    let inspected: serde_json::Value = serde_json::from_str(&inspected).expect("JSON");
    assert_eq!(inspected["value"]["name"], IMAGE);
    let digest = inspected["value"]["digest"].as_str().expect("a digest").to_owned();
    assert!(good(&["image", "verify", &url, "--digest", &digest]).contains("every block has its digest"));

    let disk = peer.2.path().join("disk.raw");
    let path = disk.display().to_string();
    std::fs::write(&disk, dirty(&fixture.raw())).expect("a disk");
    let write = ["image", "write", &url, "--disk", &path, "--yes"];
    refused(&write, 2, &["is not encrypted, and nothing else says which image is meant", "--digest blake3:"]);
    good(&[&write[..], &["--digest", &digest]].concat());
    assert!(std::fs::read(&disk).expect("the disk") == fixture.raw(), "the disk is not the image");
    good(&["image", "verify", &url, "--disk", &path]);

    let zeros = format!("blake3:{}", "0".repeat(64));
    refused(&["image", "verify", &url, "--digest", &zeros], 5, &["has digest blake3:", &format!("expected {zeros}")]);
    let sha256 = format!("sha256:{}", "0".repeat(64));
    refused(&["image", "inspect", &url, "--digest", &sha256], 2, &["is no digest of an image", "b3sum"]);
    refused(&["image", "inspect", &url, "--digest", "0"], 2, &["--digest"]);
    refused(&["image", "inspect", &format!("{}/none", peer.1)], 4, &["answered with status 404"]);
}

#[test]
fn a_server_that_ignores_ranges_is_named_with_a_way_out() {
    let (fixture, _turn) = fixture();
    let peer = Peer::python(&packed(&fixture));
    let url = format!("{}/small.image", peer.1);
    for verb in ["inspect", "verify"] {
        refused(
            &["image", verb, &format!("{url}?token=secret")],
            1,
            &[
                &format!("{url} does not serve ranges: it answered with the whole file"),
                "hint: put the image on a server",
            ],
        );
    }
    refused(&["image", "inspect", &format!("{}/", peer.1)], 1, &["answered with a web page"]);
}

#[test]
fn addresses_and_options_that_cannot_be_meant() {
    let ca = tempfile::NamedTempFile::new().expect("a file");
    let ca = ca.path().display().to_string();
    refused(&["image", "inspect", "ftp://images.example/x"], 1, &["ftp://images.example/x is not a URL to fetch from"]);
    refused(&["image", "inspect", "debian-12", "--ca", &ca], 2, &["--ca is for an image behind an https address"]);
    refused(&["image", "inspect", "https://127.0.0.1:1/x", "--ca", &ca], 1, &["no certificate is in them"]);
    refused(&["image", "inspect", "https://127.0.0.1:1/x", "--ca", "/none.pem"], 4, &["/none.pem"]);
    for url in ["ftp://images.example/x", "debian-12"] {
        refused(
            &["create", "x", "--image", "y", "--image-url", url],
            2,
            &["read --image-url", "is not a URL to fetch from"],
        );
    }
    refused(&["create", "x", "--image", "y", "--image-ca", &ca], 2, &["--image-url"]);
}
