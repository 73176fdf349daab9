//! Tables of data disks: read by a reader that shares no code with the writer, and cut off at every write.

use std::io::Cursor;

use cloud_machine_image::{ImageError, write_table};
use cloud_machine_protocol::{NewPartition, NewTable};
use gptman::GPT;
use uuid::Uuid;

use crate::{
    disk::{Disk, Faults, Lie},
    epoch::Survival,
    fixture::MIB,
};

const SIZE: usize = 12 * MIB;
/// A disk that can be written thousands of times.
const SMALL: usize = 4 * MIB;
const LINUX: Uuid = uuid::uuid!("0fc63daf-8483-4772-8e79-3d69d8477de4");

/// Two partitions, of which the second has no neighbour in the list, and a gap behind them.
fn table(size: usize, sector_size: u32, disk: u8) -> NewTable {
    let lengths = if size == SMALL { [1, 1] } else { [4, 5] };
    let partition = |number: u32, name: &str, first: usize, mebibytes: usize| NewPartition {
        number,
        name: name.to_owned(),
        r#type: LINUX,
        uuid: Uuid::from_bytes([disk ^ number as u8; 16]),
        offset: (first * MIB) as u64,
        length: (mebibytes * MIB) as u64,
    };
    NewTable {
        disk_size: size as u64,
        sector_size,
        uuid: Uuid::from_bytes([disk; 16]),
        partitions: vec![partition(1, "one", 1, lengths[0]), partition(7, "seven", 1 + lengths[0], lengths[1])],
    }
}

/// GUID of the disk; number, name, offset, length, type and GUID of each partition.
type Listed = (Uuid, Vec<(u32, String, u64, u64, Uuid, Uuid)>);
/// What breaks a table, and what is said of it.
type Wrong<'a> = (&'a dyn Fn(&mut NewTable), &'a str);

/// The GUID of the disk and its partitions, as `gptman` reads either copy; `None` when neither can be read.
fn read(bytes: &[u8], sector_size: u32) -> Option<Listed> {
    let sector = u64::from(sector_size);
    let found = GPT::read_from(&mut Cursor::new(bytes), sector).ok()?;
    let partitions = found.iter().filter(|(_, partition)| partition.is_used()).map(|(number, partition)| {
        let length = (partition.ending_lba - partition.starting_lba + 1) * sector;
        let guid = |bytes: [u8; 16]| Uuid::from_bytes_le(bytes);
        let (kind, own) = (guid(partition.partition_type_guid), guid(partition.unique_partition_guid));
        (number, partition.partition_name.to_string(), partition.starting_lba * sector, length, kind, own)
    });
    Some((Uuid::from_bytes_le(found.header.disk_guid), partitions.collect()))
}

fn expected(table: &NewTable) -> Listed {
    let partition = |new: &NewPartition| (new.number, new.name.clone(), new.offset, new.length, new.r#type, new.uuid);
    (table.uuid, table.partitions.iter().map(partition).collect())
}

fn has_mbr(bytes: &[u8]) -> bool {
    bytes[510..512] == [0x55, 0xaa]
}

/// Bytes that are no table, no zeros, and everywhere.
fn noise(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at % 251) as u8 | 1).collect()
}

fn written(before: Vec<u8>, table: &NewTable) -> Vec<u8> {
    let disk = Disk::with_sectors(before, u64::from(table.sector_size));
    write_table(&disk, table).unwrap();
    disk.bytes()
}

#[test]
fn another_reader_finds_the_partitions_in_both_copies() {
    for (sector, size) in [(512, SIZE), (512, SIZE + 512), (512, SIZE + 7 * 512), (4096, SIZE), (4096, SIZE + 4096)] {
        let table = table(size, sector, 9);
        let bytes = written(noise(size), &table);
        assert!(has_mbr(&bytes));
        assert_eq!(read(&bytes, sector).unwrap(), expected(&table), "{sector} {size}");
        // Without either copy the other one is read.
        for damaged in [sector as usize, size - sector as usize] {
            let mut bytes = bytes.clone();
            bytes[damaged..damaged + 92].fill(0);
            assert_eq!(read(&bytes, sector).unwrap(), expected(&table), "{sector} {size}, damaged at {damaged}");
        }
        // What is no table, no end of a partition and no MBR is as it was.
        let (head, tail) = (2 * sector as usize + 16_384, size - sector as usize - 16_384);
        let before = noise(size);
        assert!(bytes[head..MIB] == before[head..MIB] && bytes[10 * MIB..tail] == before[10 * MIB..tail]);
        assert!(bytes[2 * MIB..4 * MIB] == before[2 * MIB..4 * MIB]);
        for end in [1, 4, 5, 9] {
            assert!(bytes[end * MIB..(end + 1) * MIB].iter().all(|byte| *byte == 0), "{end}");
        }
    }
}

/// Every prefix of the writes, and of what was not flushed every kind of remains.
#[test]
fn a_cut_leaves_the_old_table_or_the_new_one_and_never_half_of_one() {
    let survivals = (0..8).flat_map(|seed| [Survival::Torn(seed), Survival::Reordered(seed)]);
    let survivals: Vec<Survival> = [Survival::Nothing, Survival::All].into_iter().chain(survivals).collect();
    let (mut olds, mut backups, mut news) = (0, 0, 0);
    for sector in [512_u32, 4096] {
        let new = table(SMALL, sector, 9);
        let old = written(vec![0; SMALL], &table(SMALL, sector, 3));
        for before in [vec![0; SMALL], noise(SMALL), old] {
            let was = read(&before, sector);
            let rehearsal = Disk::with_sectors(before.clone(), u64::from(sector));
            write_table(&rehearsal, &new).unwrap();
            let done = rehearsal.bytes();
            for cut in 0..rehearsal.changes() {
                for survival in &survivals {
                    let disk = Disk::with_sectors(before.clone(), u64::from(sector));
                    disk.set(Faults { cut_after: Some(cut), ..Faults::default() });
                    write_table(&disk, &new).unwrap_err();
                    disk.lose_power(*survival);
                    let left = disk.bytes();
                    let case = format!("{sector}, {was:?}, cut {cut}, {survival:?}");
                    match (read(&left, sector), &was) {
                        (Some(found), _) if found == expected(&new) => {
                            let primary = &left[sector as usize..sector as usize + 8] == b"EFI PART";
                            *if primary { &mut news } else { &mut backups } += 1;
                            // Readers that look for an MBR first see nothing or all of it.
                            let whole = left[..MIB] == done[..MIB];
                            assert!(was.is_some() || !has_mbr(&left) || whole, "{case}");
                        }
                        (found, was) => {
                            assert_eq!(&found, was, "{case}");
                            assert_eq!(has_mbr(&left), has_mbr(&before), "{case}");
                            olds += 1;
                        }
                    }
                    write_table(&disk, &new).unwrap();
                    assert!(disk.bytes() == done, "{case}");
                }
            }
        }
    }
    println!("{olds} cuts left what was there, {backups} the backup alone, {news} the new table");
    assert!(olds > 0 && backups > 0 && news > 0);
}

#[test]
fn a_disk_that_lies_is_found_out() {
    let new = table(SIZE, 512, 9);
    let rehearsal = Disk::new(noise(SIZE));
    write_table(&rehearsal, &new).unwrap();
    let (done, mut refused) = (rehearsal.bytes(), 0);
    let losses = (0..rehearsal.changes()).map(|lost| Faults { lose: Some(lost), ..Faults::default() });
    let flushes = (0..rehearsal.flushes()).map(|lie| Faults { lie: Some((lie, Lie::Vanish)), ..Faults::default() });
    let failures = (0..rehearsal.log().len() as u64).map(|fail| Faults { fail: Some(fail), ..Faults::default() });
    for faults in losses.chain(flushes).chain(failures) {
        let disk = Disk::new(noise(SIZE));
        disk.set(faults.clone());
        match write_table(&disk, &new) {
            // What is lost may be written again later by itself.
            Ok(_) => assert!(disk.bytes() == done, "{faults:?}"),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 20, "{refused}");
}

#[test]
fn a_table_that_cannot_be_is_refused_untouched() {
    let good = || table(SIZE, 512, 9);
    let cases: [Wrong<'_>; 9] = [
        (&|table| table.disk_size += 512, "the disk has 12582912 bytes in sectors of 512"),
        (&|table| table.sector_size = 4096, "the disk has 12582912 bytes in sectors of 512"),
        (&|table| table.sector_size = 520, "sectors of 520 bytes"),
        (&|table| table.partitions[1].number = 1, "two partitions have one number"),
        (&|table| table.partitions[1].number = 129, "partition 129"),
        (&|table| table.partitions[0].number = 0, "partition 0"),
        (&|table| table.partitions[1].offset -= 512, "partition 7 with 5242880 bytes at 5242368 has no room"),
        (&|table| table.partitions[1].length = 7 << 20, "partition 7"),
        (&|table| table.partitions[0].length -= 1, "partition 1 with 4194303 bytes at 1048576 cannot be listed"),
    ];
    for (wrong, text) in cases {
        let disk = Disk::new(noise(SIZE));
        let mut table = good();
        wrong(&mut table);
        let error = write_table(&disk, &table).unwrap_err();
        assert!(matches!(error, ImageError::TableUnfit { .. }) && error.to_string().contains(text), "{error}");
        assert_eq!(disk.changes(), 0, "{text}");
    }
}
