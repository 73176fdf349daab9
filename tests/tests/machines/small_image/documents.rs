//! Documents that the machine reads for itself: an address and drives, applied in a real boot, and every way in which
//! they can be wrong. A wrong one needs a reason on the host's port, a machine that is off and an untouched disk.

use std::process::{Child, Command, Stdio};

use cloud_machine_plan::{ExpectedUrl, verify};
use cloud_machine_protocol::{ReportResult, Role, volume};
use cloud_machine_tests::{
    fixture::fixture,
    http::{Answer, Server},
    vm::Boot,
};
use cloud_machine_volume::write::{build, pin};

/// The host keeps a data disk; documents of the machine may say that it is wiped.
const KEEPS_DATA: &str = "\
cloud-machine:
  resources:
    disks:
      system: {boot-partition: true}
      data: {on-reimage: keep}
";
const WIPES_DATA: &str = "cloud-machine: {resources: {disks: {data: {on-reimage: wipe}}}}\n";

/// The host's configuration with an address.
fn with_url(url: &str) -> String {
    format!("{KEEPS_DATA}  cloud-init-url: {url}\n")
}

/// A pinned address of a server.
fn pinned(server: &Server, document: &[u8]) -> String {
    with_url(&format!("{{url: \"{}\", sha256: \"{}\"}}", server.url(), pin(document).hex()))
}

/// A volume of FAT as a person would make one.
fn vfat(user_data: &str) -> Vec<u8> {
    build(&[(volume::USER_DATA, user_data.as_bytes()), (volume::META_DATA, b"")]).expect("a volume")
}

/// A volume of ISO 9660, as `genisoimage` and its kin make them for NoCloud.
fn iso9660(user_data: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("user-data"), user_data).expect("a file");
    std::fs::write(folder.path().join("meta-data"), "instance-id: x\n").expect("a file");
    std::fs::write(folder.path().join("network-config"), "version: 2\n").expect("a file");
    let mut xorriso = Command::new("xorriso");
    xorriso.args(["-as", "mkisofs", "-quiet", "-volid", "CLOUD-INIT", "-joliet", "-rock", "-output", "drive.iso"]);
    let output = xorriso
        .args(["user-data", "meta-data", "network-config"])
        .current_dir(folder.path())
        .output()
        .expect("xorriso runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(folder.path().join("drive.iso")).expect("an image")
}

fn data_disk() -> (String, Vec<u8>) {
    ("data".to_owned(), vec![0x77; 1 << 20])
}

/// Boots with a document that is wrong: the causes contain all of `texts`, and no disk was written.
fn refused(texts: &[&str], break_it: impl FnOnce(&mut Boot)) {
    let (fixture, _turn) = fixture();
    let mut boot = Boot::good(&fixture);
    boot.user_data = KEEPS_DATA.to_owned();
    boot.more.push(data_disk());
    break_it(&mut boot);
    let before = boot.system.clone();
    let end = boot.run();
    let causes = end.causes();
    for text in texts {
        assert!(causes.contains(text), "expected {text:?} in {causes:?}\n{}", end.console);
    }
    assert!(end.powered_off, "the machine must be off\n{}", end.console);
    assert!(end.system == before, "the system disk was written");
}

#[test]
fn all_layers_are_applied_in_their_order_and_told_with_their_origins() {
    let (fixture, _turn) = fixture();
    let key = |owner: &str| {
        format!("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE1lY2hhbmljYWwgZXhhbXBsZSBrZXkgMDAwMDAwMDAw {owner}")
    };
    let document = format!("{WIPES_DATA}ssh_authorized_keys:\n  - {}\n", key("of-url"));
    let server = Server::start(Answer::Document(document.clone().into_bytes()));
    let mut boot = Boot::good(&fixture);
    boot.user_data = format!("{}ssh_authorized_keys:\n  - {}\n", pinned(&server, document.as_bytes()), key("of-host"));
    boot.expected_url = Some(ExpectedUrl { url: server.url(), document: Some(pin(document.as_bytes())) });
    let more = |owner: &str| format!("#cloud-config\nssh_authorized_keys: !append\n  - {}\n", key(owner));
    boot.drives = vec![(vfat(&more("of-vfat")), true), (iso9660(&more("of-iso9660")), true)];
    // A volume that a job could have written, on a disk of its own.
    let planted = vfat(&format!("ssh_authorized_keys: [{}]\n", key("of-job")));
    boot.more.push(("data".to_owned(), planted));
    let end = boot.run();
    let report = end.report.as_ref().unwrap_or_else(|| panic!("no report\n{}", end.console));
    assert_eq!(report.result, ReportResult::Done, "{}", end.console);
    let steps: Vec<&str> = report.steps.iter().map(|step| step.id.0.as_str()).collect();
    assert_eq!(steps, ["wipe-data", "reimage-system", "mount-root", "write-identity"]);

    let config = report.config.as_ref().expect("a configuration");
    let url = config.url.as_ref().expect("an address");
    assert_eq!((url.requests, url.address.as_deref()), (1, Some("10.0.2.15/24")));
    let origin = |key: &str| config.origins[&format!("cloud-machine.{key}")].clone();
    assert_eq!(origin("resources.disks.data.on-reimage"), format!("cloud-init URL {}:1:56", server.url()));
    assert_eq!(origin("resources.disks.system.boot-partition"), "project case.yaml:4:32");
    assert_eq!(config.origins["ssh_authorized_keys"], "volume serial:cm-drive1/user-data:2:22");
    let keys = report.identity.iter().find(|item| item.name == "authorized-keys").expect("keys");
    let owners: Vec<&str> = keys.public.lines().filter_map(|line| line.split(' ').nth(2)).collect();
    assert_eq!(owners, ["of-url", "of-vfat", "of-iso9660"]);
    let roles = report.devices.iter().filter(|device| device.role == Role::Drive).count();
    assert_eq!(roles, 2);
    let ignored = &report.ignored_volumes;
    assert_eq!(ignored.len(), 2, "{ignored:?}");
    assert!(ignored.iter().any(|one| one.reason.contains("the host did not attach it as a drive")), "{ignored:?}");
    assert!(ignored.iter().any(|one| one.reason.starts_with("network-config is not read: ")), "{ignored:?}");

    // What the document made stricter is accepted, since it is proved; what the host did not name is not.
    let mut expected = end.expected.clone();
    for disk in expected.disks.iter_mut().filter(|disk| disk.serial == "data") {
        disk.role = Role::Declared { name: "data".to_owned() };
    }
    verify(&expected, report).unwrap_or_else(|rejection| panic!("{rejection}\n{report:#?}"));
    expected.url = None;
    assert!(verify(&expected, report).is_err());
}

#[test]
fn a_server_that_is_down() {
    // The first port of all, on which nobody listens; one that was free a moment ago could be another test's by now.
    let url = "http://10.0.2.2:1/machine.yaml".to_owned();
    let (document, told) = (b"a: 1".to_vec(), url.clone());
    refused(&["the document of cloud-init-url was not fetched", &told, "5 attempts"], |boot| {
        boot.user_data = with_url(&format!("{{url: \"{url}\", sha256: \"{}\"}}", pin(&document).hex()));
    });
}

#[test]
fn a_server_that_is_too_slow() {
    let document = vec![b'#'; 1000];
    let server = Server::start(Answer::Slowly(document.clone()));
    refused(&["the document of cloud-init-url was not fetched", &server.url()], |boot| {
        boot.user_data = pinned(&server, &document);
    });
    assert!(server.requests() > 1, "it was asked once");
}

#[test]
fn a_document_that_is_cut_off() {
    let server = Server::start(Answer::Half(WIPES_DATA.into()));
    refused(&["the document of cloud-init-url was not fetched", &server.url()], |boot| {
        boot.user_data = pinned(&server, WIPES_DATA.as_bytes());
    });
    assert_eq!(server.requests(), 5);
}

#[test]
fn a_document_with_another_digest() {
    let server = Server::start(Answer::Document(WIPES_DATA.into()));
    let (found, expected) = (pin(WIPES_DATA.as_bytes()).to_string(), pin(b"another").to_string());
    refused(&["the document of cloud-init-url was not fetched", &found, &expected], |boot| {
        boot.user_data = pinned(&server, b"another");
    });
    assert_eq!(server.requests(), 1, "another digest is no reason to ask again");
}

#[test]
fn a_document_of_an_address_that_loosens_a_safety_key() {
    let document = b"cloud-machine: {disks-undeclared: ignore}\n";
    let server = Server::start(Answer::Document(document.to_vec()));
    let origin = format!("{}:1:35", server.url());
    refused(&["a safety key may only be tightened", "cannot become `ignore`", "built-in default", &origin], |boot| {
        boot.user_data = pinned(&server, document);
    });
}

/// `openssl s_server`, which ends with its test.
struct Tls(Child);

impl Drop for Tls {
    fn drop(&mut self) {
        let ended = self.0.kill().and_then(|()| self.0.wait());
        assert!(ended.is_ok() || std::thread::panicking(), "openssl is left behind: {ended:?}");
    }
}

fn openssl(folder: &std::path::Path, arguments: &str) {
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output().expect("openssl runs");
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A document over TLS from a server with a certificate of one's own authority.
#[test]
fn an_authority_of_ones_own_is_trusted_and_the_public_ones_do_not_know_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    std::fs::write(path.join("machine.yaml"), WIPES_DATA).expect("a file");
    std::fs::write(path.join("server.ext"), "subjectAltName=IP:10.0.2.2\n").expect("a file");
    openssl(
        path,
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -subj /CN=ca -days 2",
    );
    openssl(
        path,
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout server.key -out server.csr -subj /CN=server",
    );
    openssl(
        path,
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -days 2 -extfile server.ext",
    );
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
    let accept = format!("127.0.0.1:{port}");
    let mut server = Command::new("openssl");
    server.args(["s_server", "-accept", &accept, "-cert", "server.pem", "-key", "server.key", "-WWW", "-quiet"]);
    let server = server.current_dir(path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let _server = Tls(server.expect("openssl starts"));

    let url = format!("https://10.0.2.2:{port}/machine.yaml");
    refused(&["the document of cloud-init-url was not fetched", &url, "UnknownIssuer"], |boot| {
        boot.user_data = with_url(&url);
    });

    let (fixture, _turn) = fixture();
    let mut boot = Boot::good(&fixture);
    let ca = std::fs::read_to_string(path.join("ca.pem")).expect("a certificate").replace('\n', "\\n");
    boot.user_data = with_url(&format!("{{url: \"{url}\", ca: \"{ca}\"}}"));
    boot.more.push(data_disk());
    let end = boot.run();
    let report = end.report.as_ref().unwrap_or_else(|| panic!("no report\n{}", end.console));
    assert_eq!(report.result, ReportResult::Done, "{}", end.console);
    assert_eq!(report.steps[0].id.0, "wipe-data");
}

#[test]
fn a_file_of_the_host_comes_with_the_volume() {
    let (fixture, _turn) = fixture();
    let mut boot = Boot::good(&fixture);
    boot.user_data = with_url("file:///srv/machine.yaml");
    boot.url_document = Some(WIPES_DATA.into());
    boot.more.push(data_disk());
    let end = boot.run();
    let report = end.report.as_ref().unwrap_or_else(|| panic!("no report\n{}", end.console));
    assert_eq!(report.result, ReportResult::Done, "{}", end.console);
    assert_eq!(report.steps[0].id.0, "wipe-data");
    let config = report.config.as_ref().expect("a configuration");
    let url = config.url.as_ref().expect("an address");
    assert_eq!((url.url.as_str(), url.requests, &url.address), ("file:///srv/machine.yaml", 0, &None));
    assert!(!end.console.contains("bring up the network"), "{}", end.console);
}

#[test]
fn a_drive_that_loosens_a_safety_key() {
    let wipes = KEEPS_DATA.replace("keep", "wipe");
    let places = ["(project case.yaml:5:26)", "serial:cm-drive0/user-data:1:"];
    refused(&["a safety key may only be tightened: `wipe`", "cannot become `keep`", places[0], places[1]], |boot| {
        boot.user_data = wipes;
        boot.drives = vec![(vfat("cloud-machine: {resources: {disks: {data: {on-reimage: keep}}}}\n"), true)];
    });
}

#[test]
fn a_drive_that_is_not_the_one_of_the_request() {
    refused(&["cannot be used as a drive: its digest is"], |boot| {
        boot.drives = vec![(vfat(WIPES_DATA), true)];
        let device = serde_json::json!({"device": "serial:cm-drive0", "digest": pin(b"another").to_string()});
        boot.request["drives"] = serde_json::json!([device]);
    });
}

#[test]
fn a_drive_that_can_be_written() {
    refused(&["cannot be used as a drive: its device can be written"], |boot| {
        boot.drives = vec![(vfat(WIPES_DATA), false)];
    });
}

#[test]
fn a_drive_without_a_document() {
    refused(&["cannot read the drive", "user-data"], |boot| {
        boot.drives = vec![(build(&[(volume::META_DATA, b"x")]).expect("a volume"), true)];
    });
}

#[test]
fn a_volume_of_a_job_counts_only_when_drives_are_trusted() {
    let (fixture, _turn) = fixture();
    let mut boot = Boot::good(&fixture);
    boot.user_data = format!("{KEEPS_DATA}  drives: trusted\n");
    boot.drives_trusted = true;
    boot.more.push(("data".to_owned(), vfat(WIPES_DATA)));
    let end = boot.run();
    let report = end.report.as_ref().unwrap_or_else(|| panic!("no report\n{}", end.console));
    assert_eq!(report.result, ReportResult::Done, "{}", end.console);
    assert_eq!(report.steps[0].id.0, "wipe-data");
    let config = report.config.as_ref().expect("a configuration");
    assert_eq!(config.drives.len(), 1);
    assert!(report.ignored_volumes.is_empty(), "{:?}", report.ignored_volumes);
}

#[test]
fn layers_and_user_data_that_differ() {
    refused(&["user-data and cloud-machine/layers.json on the volume say different things"], |boot| {
        boot.other_user_data = Some("#cloud-init\nhostname: other\n");
    });
}
