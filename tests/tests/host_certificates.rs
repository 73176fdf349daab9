//! One line of `known_hosts` for all host keys that a machine ever has: with the real ssh and sshd, the certificates that the program
//! makes, and what clients are told of keys that no machine has any more.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use cloud_machine_driver::ssh::{HostCa, generate_key};
use cloud_machine_store::{Certified, Store};
use cloud_machine_tests::{artifacts::Artifacts, fabricated, program::Program, sshd::Sshd};

const MACHINE: &str = "there";
const DAY: u64 = 86_400;

/// A machine with a certified host key, and the server that answers with both.
struct Machine {
    program: Program,
    sshd: Sshd,
    key: String,
    folder: tempfile::TempDir,
}

/// `age`: how many seconds ago the certificate was made, which counts for 30 days.
fn machine(age: u64) -> Machine {
    let program = Program::new(&Artifacts::from_environment_without_image().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let key = generate_key(&at("host"), MACHINE).unwrap();
    let store = Store::open(program.state()).unwrap();
    let issued = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() - age;
    let machine = MACHINE.parse().unwrap();
    let certified = Certified { machine, key: key.clone(), serial: 1, issued, until: issued + 30 * DAY };
    store.note_certified(&certified).unwrap();
    let certificate = HostCa::read_or_make(&store.host_ca()).unwrap().certify(&certified, MACHINE).unwrap();
    fs::write(at("host-cert.pub"), certificate + "\n").unwrap();
    let (private, public) = (at("host"), at("host-cert.pub"));
    let lines = format!("HostKey {}\nHostCertificate {}", private.display(), public.display());
    let sshd = Sshd::start(&program.state().join("machines").join(MACHINE), &lines);
    let machine = Machine { program, sshd, key, folder };
    machine.has(Some(&machine.key));
    machine
}

impl Machine {
    /// What the record says of its host key.
    fn has(&self, key: Option<&str>) {
        fabricated::machine(&self.program, MACHINE, self.sshd.target.port, |record| {
            record["driver_state"] = fabricated::process(self.sshd.pid());
            record["host_key"] = key.into();
        });
    }

    /// What clients are told, in a file of theirs.
    fn told(&self, arguments: &[&str]) -> PathBuf {
        let path = self.folder.path().join("told");
        fs::write(&path, self.program.done(&[&["known-hosts"], arguments].concat())).unwrap();
        path
    }

    /// Whether a client that was told so believes the server to be `name`; otherwise why not.
    fn is_believed(&self, told: &Path, name: &str) -> Result<(), String> {
        let target = &self.sshd.target;
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes"])
            .args(["-o", "GlobalKnownHostsFile=/dev/null", "-o", "IdentityAgent=none"])
            .args(["-o", &format!("UserKnownHostsFile={}", told.display()), "-o", &format!("HostKeyAlias={name}")])
            .args(["-p", &target.port.to_string(), "-i", &self.sshd.key.display().to_string()])
            .args(["root@127.0.0.1", "true"]);
        let output = ssh.output().unwrap();
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    }
}

#[test]
fn one_line_names_the_authority_and_is_good_for_the_machines_own_name_only() {
    let machine = machine(0);
    let told = machine.told(&[]);
    let text = fs::read_to_string(&told).unwrap();
    assert!(text.starts_with("@cert-authority there ssh-ed25519 ") && text.lines().count() == 1, "{text}");
    machine.is_believed(&told, MACHINE).unwrap();
    let told = machine.told(&["--hosts", "*"]);
    machine.is_believed(&told, MACHINE).unwrap();
    let refused = machine.is_believed(&told, "other").unwrap_err();
    assert!(refused.contains("name is not a listed principal"), "{refused}");
}

#[test]
fn a_key_of_before_is_revoked_while_its_certificate_lasts() {
    let machine = machine(0);
    let revoked = format!("@revoked * {}\n", machine.key);
    let old = machine.told(&[]);
    let other = generate_key(&machine.folder.path().join("other"), MACHINE).unwrap();
    machine.has(Some(&other));
    machine.is_believed(&old, MACHINE).expect("who was told before does not know");
    let told = machine.told(&[]);
    assert!(fs::read_to_string(&told).unwrap().ends_with(&revoked));
    let refused = machine.is_believed(&told, MACHINE).unwrap_err();
    assert!(refused.contains("REVOKED"), "{refused}");
    fs::remove_dir_all(machine.program.state().join("machines").join(MACHINE)).unwrap();
    let told = machine.told(&["--hosts", MACHINE]);
    assert!(fs::read_to_string(&told).unwrap().ends_with(&revoked), "also of a machine that is no more");
}

#[test]
fn a_certificate_ends_after_thirty_days() {
    let machine = machine(30 * DAY);
    let told = machine.told(&[]);
    assert_eq!(fs::read_to_string(&told).unwrap().lines().count(), 1);
    let refused = machine.is_believed(&told, MACHINE).unwrap_err();
    assert!(refused.contains("Certificate invalid: expired"), "{refused}");
}

#[test]
fn what_cannot_be_said_is_refused() {
    let program = Program::new(&Artifacts::from_environment_without_image().unwrap());
    let store = Store::open(program.state()).unwrap();
    let called = program.call(["known-hosts"], b"");
    assert_eq!(called.code, 4, "{}", called.errors);
    assert!(called.errors.contains("no host key was certified yet"), "{}", called.errors);
    HostCa::read_or_make(&store.host_ca()).unwrap();
    for hosts in ["", "a b", "a\nb", "#a"] {
        let called = program.call(["known-hosts", "--hosts", hosts], b"");
        assert_eq!(called.code, 3, "{hosts:?}: {}", called.errors);
    }
    // There is no machine, and so nobody for whom the authority could speak.
    let told = program.done(&["known-hosts"]);
    assert!(!told.contains("@cert-authority"), "{told}");
}
