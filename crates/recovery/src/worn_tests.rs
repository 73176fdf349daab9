//! Disks with sectors that cannot be read, or not be changed.

use std::io;

use cloud_machine_image::{ReadBlocks, WriteBlocks};

use crate::{
    Control, Head, RecoveryError, RecoveryPartition, Starts, State, UNIT,
    stage_tests::control,
    tests::{Memory, with_recovery},
};

/// A disk that lost the block at a place: it can be read again when it was written, unless it is `stuck`.
struct Worn {
    disk: Memory,
    lost: std::sync::Mutex<Option<u64>>,
    errno: i32,
    stuck: bool,
}

impl Worn {
    fn new(disk: Memory, lost: u64, errno: i32, stuck: bool) -> Self {
        Self { disk, lost: Some(lost).into(), errno, stuck }
    }

    fn is_lost(&self, offset: u64, length: usize) -> bool {
        self.lost.lock().unwrap().is_some_and(|lost| (offset..offset + length as u64).contains(&lost))
    }
}

impl ReadBlocks for Worn {
    fn size(&self) -> u64 {
        self.disk.size()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if self.is_lost(offset, buffer.len()) {
            return Err(io::Error::from_raw_os_error(self.errno));
        }
        self.disk.read_at(buffer, offset)
    }
}

impl WriteBlocks for Worn {
    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<()> {
        if self.is_lost(offset, buffer.len()) {
            if self.stuck {
                return Err(io::Error::from_raw_os_error(self.errno));
            }
            *self.lost.lock().unwrap() = None;
        }
        self.disk.write_at(buffer, offset)
    }

    fn zero(&self, offset: u64, length: u64) -> io::Result<()> {
        self.write_at(&vec![0; usize::try_from(length).unwrap()], offset)
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

fn armed() -> (Memory, RecoveryPartition, Control) {
    let (disk, partition) = with_recovery();
    let mut control = control();
    control.write_over(&disk, partition).unwrap();
    let head = Head::read(&disk).unwrap();
    partition.arm(&disk, &head, &mut control).unwrap();
    (disk, partition, control)
}

#[test]
fn a_request_is_over_also_where_what_was_staged_cannot_be_made_zero() {
    let (disk, partition, mut control) = armed();
    let worn = Worn::new(disk, partition.offset + UNIT, 5, true);
    control.give_up("why".to_owned());
    let error = control.write_last(&worn, partition).unwrap_err();
    assert!(matches!(error, RecoveryError::Wipe { .. }), "{error}");
    assert_eq!(Control::read(&worn, partition).unwrap(), Some(control));
}

#[test]
fn starts_are_counted_from_none_also_when_a_request_is_armed() {
    let (disk, partition) = with_recovery();
    let mut control = control();
    control.write_over(&disk, partition).unwrap();
    // As a job leaves it: half rewritten, and no start left.
    disk.write_at(b"CMRS\x05\x01", partition.starts_at()).unwrap();
    let head = Head::read(&disk).unwrap();
    partition.arm(&disk, &head, &mut control).unwrap();
    assert_eq!(partition.starts(&disk).unwrap(), Some(Starts { count: 0, begun: false }));
    assert!(partition.kept_head(&disk).unwrap() == head);
    assert_eq!(Control::read(&disk, partition).unwrap().unwrap().state, State::Armed);
}

#[test]
fn one_lost_place_of_the_control_neither_hides_the_other_nor_brings_an_older_state_back() {
    for (place, errno) in [(UNIT, 5), (UNIT / 2, 61)] {
        let (disk, partition, control) = armed();
        let worn = Worn::new(disk, partition.end() - place, errno, false);
        assert_eq!(Control::read(&worn, partition).unwrap(), Some(control.clone()));
        // Written, it is there again.
        let begun = Control { state: State::Begun, ..control };
        begun.write_over(&worn, partition).unwrap();
        assert_eq!(Control::read(&worn, partition).unwrap(), Some(begun));
        assert_eq!(*worn.lost.lock().unwrap(), None);
    }
    // Any other error says nothing of what lies there, and two places that are lost are no empty ones.
    let (disk, partition, control) = armed();
    let worn = Worn::new(disk, partition.end() - UNIT, 6, false);
    assert!(matches!(Control::read(&worn, partition), Err(RecoveryError::Io { .. })));
    assert!(control.write_over(&worn, partition).is_err());
    worn.disk.zero(partition.end() - UNIT / 2, UNIT / 2).unwrap();
    let worn = Worn { errno: 5, ..worn };
    assert!(matches!(Control::read(&worn, partition), Err(RecoveryError::Io { .. })));
}
