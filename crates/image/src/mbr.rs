//! The first sector of a disk with a GPT: the entry that protects the table, and what else an image keeps beside it (UEFI
//! 2.10, section 5.2). Owns what becomes of these entries on a disk of another size; must not touch any other byte.

const RECORDS: usize = 446;
const RECORD: usize = 16;
const SIGNATURE: usize = 510;
/// Type of the entry that protects a GPT.
const PROTECTIVE: u8 = 0xee;

/// A used entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record {
    /// First byte of the entry in the sector.
    at: usize,
    kind: u8,
    first: u32,
    sectors: u32,
}

impl Record {
    /// Whether it covers the disk from behind the MBR, as firmware and kernel ask before they look for a GPT.
    fn protects(&self) -> bool {
        self.kind == PROTECTIVE && self.first == 1
    }

    /// The first sector behind it.
    fn end(&self) -> u64 {
        u64::from(self.first) + u64::from(self.sectors)
    }
}

fn number(sector: &[u8], at: usize) -> u32 {
    sector.get(at..at + 4).unwrap_or_default().iter().rev().fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}

/// All used entries; none when the sector is no MBR.
fn records(sector: &[u8]) -> Vec<Record> {
    if sector.get(SIGNATURE..SIGNATURE + 2) != Some(&[0x55, 0xaa]) {
        return Vec::new();
    }
    let record = |index| {
        let at = RECORDS + index * RECORD;
        let kind = sector.get(at + 4).copied().unwrap_or_default();
        Record { at, kind, first: number(sector, at + 8), sectors: number(sector, at + 12) }
    };
    (0..4).map(record).filter(|record| record.kind != 0).collect()
}

/// Whether the sector says that a GPT follows.
pub(crate) fn is_protective(sector: &[u8]) -> bool {
    records(sector).iter().any(Record::protects)
}

/// Whether the sector is the table of a disk that has no GPT: used entries, each with a flag and a place that are possible.
pub(crate) fn is_dos_table(sector: &[u8]) -> bool {
    let flags = (0..4).map(|index| sector.get(RECORDS + index * RECORD).copied().unwrap_or_default());
    let records = records(sector);
    !records.is_empty()
        && !is_protective(sector)
        && flags.into_iter().all(|flag| matches!(flag, 0 | 0x80))
        && records.iter().all(|record| record.first > 0 && record.sectors > 0)
}

/// Makes the first sector of an image of `image` sectors of 512 bytes that of a disk of `disk` sectors of `sector` bytes:
/// an entry that protects the image to its end protects the disk to its end, and everything else stays, such as the flag
/// by which a BIOS boots it, and the other entries of a hybrid MBR. The error is the reason.
pub(crate) fn fit(sector: &mut [u8], image: u64, disk: u64, sector_bytes: u64) -> Result<(), String> {
    let records = records(sector);
    let others = records.iter().filter(|record| !record.protects()).count();
    if others > 0 && sector_bytes != crate::SECTOR_SIZE {
        return Err(format!(
            "the image has a hybrid MBR, whose other entries count in sectors of {} bytes, and the disk has sectors of \
             {sector_bytes} bytes",
            crate::SECTOR_SIZE
        ));
    }
    let reaches_end = |record: &&Record| {
        record.kind == PROTECTIVE && (others == 0 || record.sectors == u32::MAX || record.end() >= image)
    };
    for record in records.iter().filter(reaches_end) {
        let rest = u32::try_from(disk.saturating_sub(u64::from(record.first))).unwrap_or(u32::MAX);
        if let Some(place) = sector.get_mut(record.at + 12..record.at + 16) {
            place.copy_from_slice(&rest.to_le_bytes());
        }
    }
    if records.iter().any(Record::protects) {
        return Ok(());
    }
    // Images that were packed before this was asked of them.
    let rest = u32::try_from(disk.saturating_sub(1)).unwrap_or(u32::MAX);
    let plain = gpt::mbr::ProtectiveMBR::with_lb_size(rest).to_bytes();
    if let (Some(place), Some(plain)) = (sector.get_mut(RECORDS..SIGNATURE + 2), plain.get(RECORDS..SIGNATURE + 2)) {
        place.copy_from_slice(plain);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sector with these entries: flag, type, first sector, sectors.
    fn sector(records: &[(u8, u8, u32, u32)]) -> Vec<u8> {
        let mut sector = vec![7; 512];
        sector[RECORDS..SIGNATURE].fill(0);
        for (record, (flag, kind, first, sectors)) in sector[RECORDS..].chunks_mut(RECORD).zip(records) {
            record[0] = *flag;
            record[4] = *kind;
            record[8..12].copy_from_slice(&first.to_le_bytes());
            record[12..16].copy_from_slice(&sectors.to_le_bytes());
        }
        sector[SIGNATURE..].copy_from_slice(&[0x55, 0xaa]);
        sector
    }

    fn fitted(records: &[(u8, u8, u32, u32)], disk: u64) -> Vec<u8> {
        let mut bytes = sector(records);
        fit(&mut bytes, 8192, disk, 512).unwrap();
        bytes
    }

    #[test]
    fn flag_and_other_entries_stay_and_what_reaches_the_end_of_the_image_reaches_that_of_the_disk() {
        let boot = (0x80, 0xee, 1, 8191);
        assert_eq!(fitted(&[boot], 10_000), sector(&[(0x80, 0xee, 1, 9999)]));
        assert_eq!(fitted(&[boot], 1 << 40), sector(&[(0x80, 0xee, 1, u32::MAX)]));
        assert_eq!(fitted(&[(0, 0xee, 1, 100)], 10_000), sector(&[(0, 0xee, 1, 9999)]));
        let hybrid = [(0, 0xee, 1, 2047), (0x80, 0x83, 2048, 4096)];
        assert_eq!(fitted(&hybrid, 10_000), sector(&hybrid));
        let between = [(0, 0x83, 2048, 4096), (0, 0xee, 1, 2047), (0, 0xee, 6144, 2048)];
        let grown = [(0, 0x83, 2048, 4096), (0, 0xee, 1, 2047), (0, 0xee, 6144, 10_000 - 6144)];
        assert_eq!(fitted(&between, 10_000), sector(&grown));
    }

    #[test]
    fn other_sectors_change_a_plain_one_and_refuse_a_hybrid_one() {
        let mut plain = sector(&[(0x80, 0xee, 1, 8191)]);
        fit(&mut plain, 8192, 2048, 4096).unwrap();
        assert_eq!(plain, sector(&[(0x80, 0xee, 1, 2047)]));
        let reason = fit(&mut sector(&[(0, 0xee, 1, 2047), (0, 0x83, 2048, 4096)]), 8192, 2048, 4096).unwrap_err();
        assert!(reason.contains("hybrid MBR") && reason.contains("sectors of 4096 bytes"), "{reason}");
    }

    #[test]
    fn an_image_without_protection_gets_a_plain_one_and_keeps_its_boot_code() {
        let mut bytes = sector(&[]);
        fit(&mut bytes, 8192, 10_000, 512).unwrap();
        assert!(is_protective(&bytes) && bytes[..RECORDS].iter().all(|byte| *byte == 7));
    }

    #[test]
    fn a_dos_table_is_told_from_a_protective_one_and_from_boot_code() {
        assert!(is_dos_table(&sector(&[(0x80, 0x83, 2048, 4096)])));
        assert!(!is_dos_table(&sector(&[(0, 0xee, 1, 8191), (0, 0x83, 2048, 4096)])));
        assert!(!is_dos_table(&sector(&[])) && !is_dos_table(&[0; 512]) && !is_dos_table(&[]));
        // A boot sector of FAT has code where the entries would be.
        assert!(!is_dos_table(&sector(&[(0x12, 0x83, 2048, 4096)])));
        assert!(is_protective(&sector(&[(0, 0x83, 2048, 4096), (0, 0xee, 1, 2047)])));
        assert!(!is_protective(&sector(&[(0, 0xee, 63, 2047)])));
    }
}
