//! What a machine gets of memory and disk for what is asked: never less. Must not know why.

use cloud_machine_protocol::ByteSize;

/// Bytes that a disk is a multiple of.
const BLOCK: u64 = cloud_machine_image::ALIGNMENT;

/// Memory that a machine gets: whole MiB, upwards.
pub(crate) fn memory(asked: ByteSize) -> ByteSize {
    ByteSize(asked.bytes().checked_next_multiple_of(ByteSize::MIB).unwrap_or(u64::MAX))
}

/// Bytes that a disk gets: whole blocks, upwards.
pub(crate) fn allocation(asked: ByteSize) -> ByteSize {
    ByteSize(asked.bytes().checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_gets_less_than_was_asked_for() {
        for bytes in [1, BLOCK, BLOCK + 1, ByteSize::MIB, ByteSize::MIB + 1] {
            let (memory, disk) = (memory(ByteSize(bytes)).bytes(), allocation(ByteSize(bytes)).bytes());
            assert!(memory >= bytes && memory - bytes < ByteSize::MIB && memory % ByteSize::MIB == 0, "{bytes}");
            assert!(disk >= bytes && disk - bytes < BLOCK && disk % BLOCK == 0, "{bytes}");
        }
    }
}
