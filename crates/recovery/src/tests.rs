//! A disk in memory that remembers every write, and a firmware that looks at what a cut leaves of them.

use std::{
    collections::BTreeSet,
    io::{self, Cursor},
    sync::{Mutex, PoisonError},
};

use cloud_machine_image::{ReadBlocks, WriteBlocks};
use cloud_machine_protocol::{HostKeySeed, Secrets};

use crate::{
    Area, BOOT_CODE, Control, Head, LEAF, RecoveryError, RecoveryPartition, ShieldedDisk, State, UNIT, ends::Ends,
    prepare, table::Table,
};

pub(crate) const SIZE: u64 = 100 << 20;
const SECTOR: usize = 512;
pub(crate) const CODE: [u8; BOOT_CODE] = [0xcc; BOOT_CODE];
const EFI: [u8; 16] = [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];

pub(crate) struct Memory {
    bytes: Mutex<Vec<u8>>,
    writes: Mutex<Vec<(u64, Vec<u8>)>>,
}

impl Memory {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes: Mutex::new(bytes), writes: Mutex::default() }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ReadBlocks for Memory {
    fn size(&self) -> u64 {
        self.bytes.lock().unwrap().len() as u64
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let at = usize::try_from(offset).unwrap();
        buffer.copy_from_slice(&self.bytes.lock().unwrap()[at..at + buffer.len()]);
        Ok(())
    }
}

/// What a cut left.
struct Left<'a>(&'a [u8]);

impl ReadBlocks for Left<'_> {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let at = usize::try_from(offset).unwrap();
        buffer.copy_from_slice(&self.0[at..at + buffer.len()]);
        Ok(())
    }
}

impl WriteBlocks for Memory {
    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<()> {
        let at = usize::try_from(offset).unwrap();
        self.bytes.lock().unwrap()[at..at + buffer.len()].copy_from_slice(buffer);
        self.writes.lock().unwrap().push((offset, buffer.to_vec()));
        Ok(())
    }

    fn zero(&self, offset: u64, length: u64) -> io::Result<()> {
        self.write_at(&vec![0; usize::try_from(length).unwrap()], offset)
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A disk with a table that was made for `made_for` bytes: a boot partition for a BIOS, an EFI system partition, a root.
fn system_disk(made_for: u64) -> Memory {
    system_disk_with(made_for, 15)
}

/// The same, whose EFI system partition has this number.
fn system_disk_with(made_for: u64, efi: u32) -> Memory {
    let mut bytes = vec![0; usize::try_from(made_for).unwrap()];
    let mut cursor = Cursor::new(&mut bytes[..]);
    let mut gpt = gptman::GPT::new_from(&mut cursor, 512, [7; 16]).unwrap();
    let partition = |kind: [u8; 16], unique: u8, first: u64, last: u64| gptman::GPTPartitionEntry {
        partition_type_guid: kind,
        unique_partition_guid: [unique; 16],
        starting_lba: first,
        ending_lba: last,
        attribute_bits: 0,
        partition_name: "x".into(),
    };
    gpt[1] = partition([1; 16], 1, 8192, 40_959);
    gpt[14] = partition([2; 16], 14, 2048, 4095);
    gpt[efi] = partition(EFI, 15, 4096, 8191);
    gpt.write_into(&mut cursor).unwrap();
    gptman::GPT::write_protective_mbr_into(&mut cursor, 512).unwrap();
    bytes[..BOOT_CODE].fill(0x11);
    bytes.resize(usize::try_from(SIZE).unwrap(), 0);
    Memory::new(bytes)
}

/// What a firmware starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Starts {
    Recovery,
    System,
}

fn uefi(bytes: &[u8]) -> Starts {
    let head = Head::read(&Left(bytes)).unwrap();
    let table = Table::read(&Ends::read(&Left(bytes)).unwrap()).expect("one of both copies is whole");
    let systems: Vec<u64> = table
        .entries()
        .filter(|entry| entry[..16] == EFI)
        .map(|entry| u64::from_le_bytes(entry[32..40].try_into().unwrap()) * 512)
        .collect();
    match systems[..] {
        [offset] if offset == head.recovery().unwrap().unwrap().offset => Starts::Recovery,
        [offset] if offset == 4096 * 512 => Starts::System,
        _ => panic!("{systems:?} are to be started"),
    }
}

fn bios(bytes: &[u8]) -> Starts {
    match bytes[..BOOT_CODE] {
        [0x11, ..] if bytes[..BOOT_CODE] == [0x11; BOOT_CODE] => Starts::System,
        _ if bytes[..BOOT_CODE] == CODE => Starts::Recovery,
        _ => panic!("boot code of both"),
    }
}

/// Shows `look` every disk that a cut may leave while `act` works on `before`: after each write, and with each sector of it alone or
/// all but it, and with all before or all behind it. Gives the disk at the end, and how many were shown.
fn cuts(before: Vec<u8>, act: impl FnOnce(&Memory), mut look: impl FnMut(&[u8])) -> (Vec<u8>, usize) {
    let disk = Memory::new(before.clone());
    act(&disk);
    let mut now = before;
    look(&now);
    let mut shown = 1;
    for (offset, bytes) in disk.writes.into_inner().unwrap() {
        let at = usize::try_from(offset).unwrap();
        let range = |sector: usize| sector * SECTOR..(sector + 1) * SECTOR;
        // Only sectors that change matter.
        let changed = |sector: &usize| now[at..][range(*sector)] != bytes[range(*sector)];
        let sectors: Vec<usize> = (0..bytes.len() / SECTOR).filter(changed).collect();
        let torn: [&dyn Fn(usize, usize) -> bool; 4] =
            [&|one, this| one == this, &|one, this| one != this, &|one, this| one < this, &|one, this| one > this];
        let whole = now[at..at + bytes.len()].to_vec();
        for (this, keep) in sectors.iter().flat_map(|this| torn.iter().map(move |keep| (*this, keep))) {
            for one in sectors.iter().copied().filter(|one| keep(*one, this)) {
                now[at..][range(one)].copy_from_slice(&bytes[range(one)]);
            }
            look(&now);
            shown += 1;
            now[at..at + whole.len()].copy_from_slice(&whole);
        }
        now[at..at + bytes.len()].copy_from_slice(&bytes);
        look(&now);
        shown += 1;
    }
    (now, shown)
}

pub(crate) fn with_recovery() -> (Memory, RecoveryPartition) {
    let disk = system_disk(32 << 20);
    let (partition, made) = prepare(&disk, 64 * UNIT, [9; 16]).unwrap();
    assert!(made);
    (disk, partition)
}

#[test]
fn a_partition_is_made_at_the_end_and_every_other_reader_sees_the_same_table() {
    let (disk, partition) = with_recovery();
    assert_eq!(partition.length, 64 * UNIT);
    assert_eq!(prepare(&disk, 64 * UNIT, [8; 16]).unwrap(), (partition, false));
    let bytes = disk.bytes();
    let gpt = gptman::GPT::find_from(&mut Cursor::new(&bytes)).unwrap();
    let used: Vec<(u32, u64)> =
        gpt.iter().filter(|(_, p)| p.is_used()).map(|(i, p)| (i, p.starting_lba * 512)).collect();
    assert_eq!(used, [(1, 8192 * 512), (2, partition.offset), (14, 2048 * 512), (15, 4096 * 512)]);
    assert_eq!(gpt.header.backup_lba, SIZE / 512 - 1);
    assert_eq!(gpt[2].partition_name.as_str(), "cloud-machine-recovery");
    // The backup alone says the same.
    let mut lost = bytes.clone();
    lost[512..1024].fill(0);
    let backup = gptman::GPT::find_from(&mut Cursor::new(&lost)).unwrap();
    assert_eq!(backup[2], gpt[2]);
    assert_eq!(uefi(&bytes), Starts::System);
    assert_eq!(
        u32::from_le_bytes(bytes[446 + 12..446 + 16].try_into().unwrap()),
        u32::try_from(SIZE / 512 - 1).unwrap()
    );
}

#[test]
fn whoever_is_in_the_way_of_the_partition_is_named() {
    let error = prepare(&system_disk(SIZE), 90 * UNIT, [9; 16]).unwrap_err().to_string();
    assert!(error.contains("partition 1 ends at byte 20971520"), "{error}");
    let error = prepare(&system_disk(SIZE), 1 << 40, [9; 16]).unwrap_err();
    assert!(matches!(error, RecoveryError::DiskTooSmall { wanted: 1_099_511_627_776, .. }), "{error}");
    let error = prepare(&Memory::new(vec![0; 8 << 20]), 64 * UNIT, [9; 16]).unwrap_err();
    assert!(matches!(error, RecoveryError::Table { .. }), "{error}");
}

#[test]
fn while_the_partition_is_made_every_cut_leaves_one_of_both_tables() {
    let act = |disk: &Memory| assert!(prepare(disk, 64 * UNIT, [9; 16]).unwrap().1);
    let mut tables = BTreeSet::new();
    let (_, shown) = cuts(system_disk(32 << 20).bytes(), act, |cut| {
        let table = Table::read(&Ends::read(&Left(cut)).unwrap()).unwrap();
        tables.insert(table.entries().filter(|entry| entry[..16] != [0; 16]).count());
        assert_eq!(bios(cut), Starts::System);
    });
    assert_eq!(Vec::from_iter(tables), [3, 4]);
    assert!(shown > 15, "{shown}");
}

#[test]
fn every_cut_on_the_way_there_and_back_starts_the_one_or_the_other() {
    // The last entry lies behind the block of the header.
    for efi in [15, 128] {
        let disk = system_disk_with(32 << 20, efi);
        prepare(&disk, 64 * UNIT, [9; 16]).unwrap();
        there_and_back(&disk);
    }
}

fn there_and_back(disk: &Memory) {
    let system = Head::read(disk).unwrap();
    let interim = system.interim(Some(&CODE)).unwrap();
    let before = disk.bytes();
    let mut seen = BTreeSet::new();
    let mut look = |cut: &[u8]| {
        seen.insert((uefi(cut), bios(cut)));
        // GRUB of the system reads the primary table, and no checksum of it.
        let grub = bios(cut) == Starts::System && cut[512..17_408] != before[512..17_408];
        assert!(!grub || uefi(cut) == Starts::System, "GRUB of the system would read a table that is not the system's");
    };
    let (armed, _) = cuts(before.clone(), |disk| interim.start_recovery(disk).unwrap(), &mut look);
    assert_eq!((uefi(&armed), bios(&armed)), (Starts::Recovery, Starts::Recovery));
    let (back, _) = cuts(armed, |disk| system.start_system(disk).unwrap(), &mut look);
    assert!(back == before);
    use Starts::{Recovery, System};
    let expected = [(Recovery, Recovery), (System, Recovery), (System, System)];
    assert_eq!(Vec::from_iter(seen), expected);
}

#[test]
fn a_request_goes_from_state_to_state_and_every_cut_leaves_the_one_or_the_other() {
    let (disk, partition) = with_recovery();
    assert_eq!(Control::read(&disk, partition).unwrap(), None);
    let staged = crate::stage_tests::control();
    staged.write(&disk, partition).unwrap();
    assert_eq!(Control::read(&disk, partition).unwrap().as_ref(), Some(&staged));
    assert_eq!(staged.boot_code().unwrap(), Some(CODE));
    let armed = Control { state: State::Armed, attempts: 1, ..staged.clone() };
    let mut seen = BTreeSet::new();
    cuts(
        disk.bytes(),
        |disk| armed.write(disk, partition).unwrap(),
        |cut| {
            let found = Control::read(&Left(cut), partition).unwrap().unwrap();
            assert!(found == staged || found == armed);
            seen.insert(found.attempts);
        },
    );
    assert_eq!(Vec::from_iter(seen), [0, 1]);
    armed.write(&disk, partition).unwrap();
    assert_eq!(Control::read(&disk, partition).unwrap(), Some(armed));
    let outside = Control { image: Area { offset: 61 * UNIT, length: 1 }, ..staged.clone() };
    assert!(matches!(outside.write(&disk, partition), Err(RecoveryError::Place { name: "image", .. })));
}

#[test]
fn nothing_of_a_request_that_is_over_is_left_but_what_it_was() {
    let (disk, partition) = with_recovery();
    let text = |disk: &Memory| String::from_utf8_lossy(&disk.bytes()).into_owned();
    let mut control = crate::stage_tests::control();
    // Longer than a block, and what is secret comes last.
    control.reason = Some("why ".repeat(3000));
    control.secrets = Some(Secrets { host_key: Some(HostKeySeed::new([0x5a; 32])), ..Secrets::default() });
    control.write_over(&disk, partition).unwrap();
    disk.write_at(&[7; 4096], partition.offset + 5 * UNIT).unwrap();
    assert!(text(&disk).contains(&"5a".repeat(32)));
    control.give_up("short".to_owned());
    control.write_last(&disk, partition).unwrap();
    assert!(!text(&disk).contains("5a5a") && !text(&disk).contains("why why"));
    assert_eq!(Control::read(&disk, partition).unwrap().unwrap().reason.as_deref(), Some("short"));
    let mut found = vec![1; 4096];
    disk.read_at(&mut found, partition.offset + 5 * UNIT).unwrap();
    assert!(found.iter().all(|byte| *byte == 0));
}

#[test]
fn a_disk_that_has_grown_gets_a_partition_at_its_new_end() {
    let (disk, before) = with_recovery();
    let mut bytes = disk.bytes();
    bytes.resize(bytes.len() + (80 << 20), 0);
    let disk = Memory::new(bytes);
    let error = RecoveryPartition::of(&disk).unwrap_err().to_string();
    assert!(error.contains("entry 2 of the partition table") && error.contains("makes a new one"), "{error}");
    let (after, made) = prepare(&disk, 64 * UNIT, [9; 16]).unwrap();
    assert!(made && after.offset > before.offset);
    assert_eq!(RecoveryPartition::of(&disk).unwrap(), Some(after));
    let bytes = disk.bytes();
    let used = gptman::GPT::find_from(&mut Cursor::new(&bytes)).unwrap().iter().filter(|(_, p)| p.is_used()).count();
    assert_eq!(used, 4);
}

#[test]
fn a_table_that_is_not_where_it_says_is_none() {
    let (disk, _) = with_recovery();
    let sound = disk.bytes();
    // Fields of both headers: where they are, and where their entries are.
    for field in [24, 72] {
        let mut bytes = sound.clone();
        for header in [512, bytes.len() - 512] {
            bytes[header + field] ^= 1;
            bytes[header + 16..header + 20].fill(0);
            let checksum = crc32fast::hash(&bytes[header..header + 92]);
            bytes[header + 16..header + 20].copy_from_slice(&checksum.to_le_bytes());
        }
        let error = Head::read(&Left(&bytes)).unwrap().recovery().unwrap_err();
        assert!(matches!(error, RecoveryError::Table { .. }), "{field}: {error}");
    }
}

#[test]
fn a_record_that_was_damaged_is_none_and_one_that_is_another_is_refused() {
    let (disk, partition) = with_recovery();
    partition.keep_report(&disk, b"report").unwrap();
    assert_eq!(partition.report(&disk).unwrap().as_deref(), Some(&b"report"[..]));
    let at = usize::try_from(partition.end() - 2 * UNIT).unwrap();
    for byte in [0, 16, 24, 30, 32, 63, 64, 69] {
        let mut bytes = disk.bytes();
        bytes[at + byte] ^= 0x80;
        assert_eq!(partition.report(&Memory::new(bytes)).unwrap(), None, "{byte}");
    }
    assert!(matches!(partition.keep_report(&disk, &vec![1; 1 << 20]), Err(RecoveryError::TooLong { .. })));
    let system = Head::read(&disk).unwrap();
    partition.keep_head(&disk, &system).unwrap();
    system.interim(None).unwrap().start_recovery(&disk).unwrap();
    assert!(partition.kept_head(&disk).unwrap() == system);
}

#[test]
fn the_rewrite_sees_zeros_in_place_of_the_partition_and_leaves_the_interim_head() {
    let (disk, partition) = with_recovery();
    let before = Head::read(&disk).unwrap();
    let interim = before.interim(Some(&CODE)).unwrap();
    interim.start_recovery(&disk).unwrap();
    disk.write_at(&[5; 4096], partition.offset).unwrap();
    let shielded = ShieldedDisk::new(&disk).unwrap();
    let mut found = vec![1; 8192];
    shielded.read_at(&mut found, partition.offset - 4096).unwrap();
    assert!(found.iter().all(|byte| *byte == 0));
    // All of the disk, as an image that is smaller leaves it, then another system's head.
    shielded.zero(0, SIZE).unwrap();
    let other = system_disk(32 << 20).bytes();
    for piece in [0..LEAF, (8192 * SECTOR)..(8192 * SECTOR + 4096)] {
        shielded.write_at(&other[piece.clone()], piece.start as u64).unwrap();
    }
    let error = shielded.write_at(&[1; 4096], partition.offset).unwrap_err().to_string();
    assert!(error.contains("reaches into the recovery partition"), "{error}");
    let system = shielded.prepared(Some(&CODE)).unwrap();
    let bytes = disk.bytes();
    assert_eq!((uefi(&bytes), bios(&bytes)), (Starts::Recovery, Starts::Recovery));
    let at = usize::try_from(partition.offset).unwrap();
    assert_eq!(bytes[at..at + 4096], [5; 4096]);
    assert!(bytes[LEAF..8192 * SECTOR].iter().all(|byte| *byte == 0));
    system.start_system(&disk).unwrap();
    let bytes = disk.bytes();
    assert_eq!((uefi(&bytes), bios(&bytes)), (Starts::System, Starts::System));
    assert_eq!(Head::read(&disk).unwrap().recovery().unwrap(), Some(partition));
}
