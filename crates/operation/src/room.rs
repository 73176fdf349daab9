//! How much room an attempt cannot do without. Must not look how much there is.

/// Bytes that every attempt takes beside its disks: volume, records, logs, tables of an overlay.
pub const LEAST: u64 = 16 << 20;

/// Whether a system disk that takes `taken` bytes has to go before what becomes of it is made: `data` bytes of an image, on a
/// disk that can take no more than `growth` bytes beside what it has.
pub(crate) fn discards_first(free: u64, taken: u64, data: u64, growth: u64) -> bool {
    taken > 0 && free < data.min(growth).saturating_add(LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_disk_goes_first_only_where_the_new_one_finds_no_room_beside_it() {
        let (gib, mib) = (1 << 30, 1 << 20);
        assert!(!discards_first(10 * gib, gib, gib, gib), "there is room");
        assert!(discards_first(100 * mib, gib, gib, gib));
        assert!(!discards_first(100 * mib, 0, gib, gib), "there is nothing to discard");
        assert!(!discards_first(100 * mib, gib, gib, 0), "what is written goes where the old disk has its bytes");
        assert!(discards_first(mib, gib, gib, 0), "not even a record finds room");
    }
}
