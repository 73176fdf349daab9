use std::{
    fs::File,
    io::Read,
    process::{Child, Command, Stdio},
};

use nix::{
    fcntl::{FcntlArg, fcntl},
    libc,
};

use super::*;

const UUID: &str = "7F0B7D6E-58c1-4b8e-9a6e-0c2f8f3ad1aa";

fn table() -> HostProcesses {
    HostProcesses::take(&Kernel::host()).unwrap()
}

/// Whether it is off within some looks: a child that another test of this process starts has all its files until it executes.
fn is_off(machine: &MachineIdentifiers<'_>) -> bool {
    (0..1000).any(|_| table().is_off(machine))
}

fn of<'a>(state: Option<&'a DriverState>, disks: &'a [(u64, u64)]) -> MachineIdentifiers<'a> {
    MachineIdentifiers { uuid: UUID, state, disks }
}

fn state(record: &ProcessRecord) -> DriverState {
    DriverState::of(record).unwrap()
}

struct Other(Child);

impl Other {
    fn start(script: &str, input: Stdio) -> Self {
        // The shell replaces itself: the child is the process that has the arguments.
        Self(Command::new("/bin/sh").args(["-c", script]).stdin(input).spawn().unwrap())
    }

    fn record(&self, kernel: &Kernel) -> ProcessRecord {
        let pid = i32::try_from(self.0.id()).unwrap();
        ProcessRecord {
            pid,
            started: kernel.started(pid).unwrap().unwrap(),
            boot_id: kernel.boot_id().unwrap(),
            namespace: kernel.namespace().unwrap(),
            disks: Vec::new(),
        }
    }

    fn end(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // Ended already, in most tests.
        let _ended = self.0.kill();
        let _waited = self.0.wait();
    }
}

fn disk() -> (tempfile::NamedTempFile, (u64, u64)) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let id = FileId::from(&file.as_file().metadata().unwrap());
    (file, (id.device, id.inode))
}

#[test]
fn a_machine_of_which_nothing_is_there_is_off() {
    let (_file, id) = disk();
    assert!(is_off(&of(None, &[])));
    assert!(is_off(&of(None, &[id])), "this process's own files say nothing");
}

#[test]
fn a_machine_that_is_not_recorded_is_known_by_its_uuid_in_any_spelling() {
    // A shell that waits for its input: the words behind the script are its own arguments.
    let uuid = UUID.to_ascii_uppercase();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "echo ready; read line; :", "sh", "-uuid", &uuid]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut other = Other(command.spawn().unwrap());
    // Until then its command line may not be in place yet.
    let mut ready = [0; 6];
    other.0.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    assert!(!table().is_off(&of(None, &[])));
    other.end();
    assert!(is_off(&of(None, &[])));
}

#[test]
fn a_disk_that_another_process_has_open_is_a_doubt_until_it_ends() {
    let (file, id) = disk();
    let mut other = Other::start("exec sleep 1000", File::open(file.path()).unwrap().into());
    assert!(!table().is_off(&of(None, &[id])));
    let record = ProcessRecord {
        boot_id: "of another boot".to_owned(),
        disks: vec![FileId { device: id.0, inode: id.1 }],
        ..other.record(&Kernel::host())
    };
    assert!(!table().is_off(&of(Some(&state(&record)), &[])), "also one that the machine had before");
    other.end();
    assert!(is_off(&of(None, &[id])));
}

#[test]
fn a_disk_with_a_lock_is_a_doubt_whoever_holds_it() {
    let (file, id) = disk();
    let lock = |kind: libc::c_int| {
        let asked = libc::flock { l_type: kind as libc::c_short, l_whence: 0, l_start: 100, l_len: 1, l_pid: 0 };
        fcntl(file.as_file(), FcntlArg::F_OFD_SETLK(&asked)).unwrap();
    };
    lock(libc::F_WRLCK);
    assert!(!table().is_off(&of(None, &[id])));
    lock(libc::F_UNLCK);
    assert!(is_off(&of(None, &[id])));
}

#[test]
fn a_recorded_process_is_gone_when_its_number_is_or_its_boot() {
    let kernel = Kernel::host();
    let mut other = Other::start("exec sleep 1000", Stdio::null());
    let record = other.record(&kernel);
    assert!(!table().is_off(&of(Some(&state(&record)), &[])));
    let before = ProcessRecord { boot_id: "of another boot".to_owned(), ..record.clone() };
    assert!(is_off(&of(Some(&state(&before)), &[])));
    other.end();
    assert!(is_off(&of(Some(&state(&record)), &[])));
    let elsewhere = ProcessRecord { namespace: record.namespace + 1, ..record };
    assert!(!table().is_off(&of(Some(&state(&elsewhere)), &[])), "a number of another namespace says nothing");
    let foreign = DriverState::of(&"of another driver").unwrap();
    assert!(!table().is_off(&of(Some(&foreign), &[])), "nor does a record that cannot be read");
}

#[test]
fn where_the_host_shows_nothing_there_is_no_process_table() {
    let empty = tempfile::tempdir().unwrap();
    assert!(HostProcesses::take(&Kernel::at(empty.path().to_owned())).is_err());
}
