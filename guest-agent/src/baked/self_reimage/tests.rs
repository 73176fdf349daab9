//! Disks, as files, whose boot head starts a recovery partition, seen by the agent of the system.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use cloud_machine_protocol::{Algorithm, Digest};
use cloud_machine_recovery::{Area, State, UNIT};
use cloud_machine_system::channel::Channel;

use super::*;
use crate::running_in::RunningIn;

const SIZE: u64 = 100 * UNIT;

/// A host that is told everything and says nothing.
#[derive(Debug)]
struct Nobody;

impl Channel for Nobody {
    fn send(&self, _: &[u8]) -> Result<(), SystemError> {
        Ok(())
    }

    fn receive(&self, _: usize, _: Instant) -> Result<Vec<u8>, SystemError> {
        Ok(Vec::new())
    }

    fn receive_bytes(&self, _: usize, _: Instant) -> Result<Vec<u8>, SystemError> {
        Ok(Vec::new())
    }
}

struct Scene {
    _folder: tempfile::TempDir,
    path: PathBuf,
    partition: RecoveryPartition,
    system: Head,
    host: Host,
}

impl Scene {
    /// A disk on which a request for another machine is armed, whose control has `state` then.
    fn new(state: State) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let mut file = fs::OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
        file.set_len(SIZE).unwrap();
        gptman::GPT::new_from(&mut file, 512, [7; 16]).unwrap().write_into(&mut file).unwrap();
        drop(file);
        let disk = Disk::open(&path, Access::Write).unwrap();
        let (partition, _) = prepare(&disk, 64 * UNIT, [9; 16]).unwrap();
        let system = Head::read(&disk).unwrap();
        let mut control = control(partition);
        control.write_over(&disk, partition).unwrap();
        partition.arm(&disk, &system, &mut control).unwrap();
        Control { state, ..control }.write_over(&disk, partition).unwrap();
        system.interim(None).unwrap().start_recovery(&disk).unwrap();
        drop(disk);
        let host = Host::new(RunningIn::Recovery, Box::new(Nobody), Instant::now() - Duration::from_secs(1));
        Self { _folder: folder, path, partition, system, host }
    }

    /// The kernel name of an absolute path is that path.
    fn device(&self) -> String {
        self.path.display().to_string()
    }

    fn disk(&self) -> Disk {
        Disk::open(&self.path, Access::Write).unwrap()
    }

    fn is_back(&self) -> bool {
        Head::read(&self.disk()).unwrap() == self.system
    }
}

fn control(partition: RecoveryPartition) -> Control {
    let area = |offset| Area { offset: offset * UNIT, length: 4096 };
    Control {
        version: Control::VERSION,
        state: State::Staged,
        token: "ab".repeat(32),
        machine: "another".to_owned(),
        disk_size: SIZE,
        place: partition.extent(),
        attempts: 0,
        failures: 0,
        used: Vec::new(),
        reason: None,
        boot_code: None,
        boot: area(0),
        volume: area(1),
        pin: Digest::new(Algorithm::Sha256, [1; 32]),
        image: area(2),
        nonce: "11".repeat(32).parse().unwrap(),
        secrets: None,
    }
}

#[test]
fn no_boot_goes_on_under_the_head_of_a_recovery_partition_that_cannot_be_used() {
    let mut whole = Scene::new(State::Armed);
    assert!(!whole.is_back());
    without_partition(&whole.device(), &mut whole.host).unwrap();
    assert!(whole.is_back());
    let mut half = Scene::new(State::Begun);
    let error = without_partition(&half.device(), &mut half.host).unwrap_err();
    assert!(matches!(error, AgentError::HalfRewritten { .. }), "{error}");
    assert!(!half.is_back());
}

#[test]
fn the_recovery_gives_the_head_of_a_request_that_is_for_another_machine_back() {
    let token = "ab".repeat(32);
    for (state, gives_back) in [(State::Armed, true), (State::Begun, false)] {
        let scene = Scene::new(state);
        assert!(recovery::Recovery::is_elsewhere(&scene.device(), &token));
        assert!(!recovery::Recovery::is_elsewhere(&scene.device(), &"cd".repeat(32)));
        assert_eq!(crate::recovery_worker::is_given_back(&scene.device()), gives_back, "{state:?}");
        assert_eq!(scene.is_back(), gives_back, "{state:?}");
    }
}

#[test]
fn a_request_that_was_given_back_for_another_machine_is_not_armed_again() {
    let mut scene = Scene::new(State::Armed);
    scene.system.start_system(&scene.disk()).unwrap();
    let (device, disk, partition) = (scene.device(), scene.disk(), scene.partition);
    let own = Own { device, disk, partition, made: false };
    let control = Control::read(&own.disk, partition).unwrap().unwrap();
    let outcome = own.advance(control, &mut scene.host).unwrap();
    assert!(matches!(&outcome, Outcome::GivenUp(_, reason) if reason.contains("it is for machine another")));
}
