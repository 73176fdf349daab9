//! A boot head that starts a recovery partition which may not be used.

use cloud_machine_image::WriteBlocks;

use crate::{
    BOOT_CODE, Control, GivenBack, Head, PLACE, RecoveryError, RecoveryPartition, State, Stray, UNIT,
    ends::Ends,
    give_back, prepare,
    stage_tests::control,
    table::Table,
    tests::{Memory, with_recovery},
};

/// A disk whose reimage is in `state`, by a BIOS with the boot code that counts or by UEFI, and the head of before.
fn under_way(state: State, bios: bool) -> (Memory, RecoveryPartition, Head) {
    let (disk, partition) = with_recovery();
    let system = Head::read(&disk).unwrap();
    partition.keep_head(&disk, &system).unwrap();
    Control { state, ..control() }.write_over(&disk, partition).unwrap();
    let mut code = [0xcc; BOOT_CODE];
    code[0x34..0x38].copy_from_slice(b"CMRS");
    system.interim(bios.then_some(&code)).unwrap().start_recovery(&disk).unwrap();
    (disk, partition, system)
}

/// As somebody does who follows the advice of an error.
fn without_entry(disk: &Memory) {
    let mut ends = Ends::read(disk).unwrap();
    let mut table = Table::read(&ends).unwrap();
    table.entries_mut().nth(1).unwrap().fill(0);
    table.write(&mut ends);
    Head::of(ends).start_recovery(disk).unwrap();
}

fn grown(disk: &Memory) -> Memory {
    let mut bytes = disk.bytes();
    bytes.resize(bytes.len() + (80 << 20) + 512, 0);
    Memory::new(bytes)
}

#[test]
fn no_partition_is_made_while_the_boot_head_starts_another_one() {
    let (disk, partition, system) = under_way(State::Armed, true);
    without_entry(&disk);
    let (by_uefi, ..) = under_way(State::Armed, false);
    for disk in [disk, grown(&by_uefi)] {
        let before = disk.bytes();
        let error = prepare(&disk, 64 * UNIT, [8; 16]).unwrap_err();
        assert!(matches!(error, RecoveryError::UnderWay { kept } if kept == partition.head_at()), "{error}");
        assert!(disk.bytes() == before, "something was written");
        // With the head of before one is made again, and the system's own EFI system partition is listed.
        let stray = Stray::of(&disk).unwrap().unwrap();
        assert!(stray.is_whole());
        assert_eq!(give_back(&disk).unwrap(), GivenBack::Back);
        assert_eq!(give_back(&disk).unwrap(), GivenBack::NotStarted);
        let (made, _) = prepare(&disk, 64 * UNIT, [8; 16]).unwrap();
        assert_eq!(RecoveryPartition::of(&disk).unwrap(), Some(made));
        let [now, then] = [Head::read(&disk).unwrap(), system.clone()].map(|head| head.bytes(0, 512).unwrap().to_vec());
        assert_eq!(now[..446], then[..446]);
        let table = Table::read(&Ends::read(&disk).unwrap()).unwrap();
        assert_eq!(table.entries().filter(|entry| entry[..16] != [0; 16]).count(), 4);
    }
}

#[test]
fn a_head_astray_is_told_with_its_request_and_only_a_whole_system_has_its_head_kept() {
    assert_eq!(Stray::of(&with_recovery().0).unwrap(), None);
    for (state, whole) in [(State::Armed, true), (State::Begun, false), (State::Reported, true), (State::Failed, false)]
    {
        for bios in [true, false] {
            let (disk, partition, system) = under_way(state, bios);
            // Refused as one that the agent did not make.
            disk.zero(partition.reserved(PLACE), 4096).unwrap();
            assert!(matches!(prepare(&disk, 64 * UNIT, [8; 16]), Err(RecoveryError::Unplaced)));
            let stray = Stray::of(&disk).unwrap().unwrap();
            assert_eq!((stray.request.clone(), stray.is_whole()), (Some((state, control().token)), whole));
            assert!(stray.kept_head(&disk).unwrap() == system);
            if !whole {
                assert_eq!(give_back(&disk).unwrap(), GivenBack::NotWhole);
                assert!(Head::read(&disk).unwrap() != system);
            }
            // What cannot be read is no whole system, and no head.
            disk.zero(partition.end() - UNIT, UNIT).unwrap();
            let unknown = Stray::of(&disk).unwrap().unwrap();
            assert_eq!((unknown.request.clone(), unknown.is_whole()), (None, false));
            partition.keep_head(&disk, &Head::read(&disk).unwrap()).unwrap();
            let error = unknown.kept_head(&disk).map(drop).unwrap_err();
            assert!(error.to_string().contains("starts the recovery partition, too"), "{error}");
            disk.zero(partition.head_at(), 65536).unwrap();
            assert!(matches!(unknown.kept_head(&disk), Err(RecoveryError::Table { .. })));
        }
    }
}
