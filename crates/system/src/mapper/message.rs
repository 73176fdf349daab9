//! Messages to the device mapper, byte by byte (linux/dm-ioctl.h; Documentation/admin-guide/device-mapper/dm-crypt). Must
//! not send one. Every buffer is made zero when it is dropped, since one of them holds a key.

use std::fmt::Write as _;

use zeroize::Zeroizing;

use super::ioctl::{HEADER, SIZE_AT};

/// The interface that these messages are of; the kernel takes any minor version.
const VERSION: u32 = 4;
const START_AT: usize = 16;
const COUNT_AT: usize = 20;
const FLAGS_AT: usize = 28;
const DEVICE_AT: usize = 40;
const NAME_AT: usize = 48;
const NAME_LENGTH: usize = 128;
/// `struct dm_target_spec`: first sector, sectors, status, offset of the next one, type.
const TARGET: usize = 40;
/// DM_PERSISTENT_DEV_FLAG: the device has the number that is asked for.
const PERSISTENT_DEVICE: u32 = 1 << 3;
/// DM_SECURE_DATA_FLAG: the kernel wipes its copies of the message.
const SECURE_DATA: u32 = 1 << 15;

/// A key in hexadecimal, as a table has it.
pub(super) struct Key(Zeroizing<String>);

impl Key {
    pub(super) fn of(bytes: &[u8]) -> Self {
        // Of its full size at once: a text that grows leaves copies behind.
        let mut text = Zeroizing::new(String::with_capacity(bytes.len() * 2));
        for byte in bytes {
            // Writing into a String cannot fail.
            let _ = write!(*text, "{byte:02x}");
        }
        Self(text)
    }
}

/// All of a device behind a cipher.
pub(super) struct Table<'a> {
    pub(super) sectors: u64,
    pub(super) cipher: &'a str,
    pub(super) key: &'a Key,
    /// Major and minor number.
    pub(super) device: &'a str,
}

/// A message that says no more than which mapping it is about.
pub(super) fn bare(name: &str, flags: u32) -> Zeroizing<Vec<u8>> {
    message(name, flags, HEADER)
}

/// A new mapping without a table, which is `dm-<minor>`.
pub(super) fn create(name: &str, minor: u8) -> Zeroizing<Vec<u8>> {
    let mut message = bare(name, PERSISTENT_DEVICE);
    // Of the number only the minor one counts (drivers/md/dm-ioctl.c, dev_create).
    put(&mut message, DEVICE_AT, &u64::from(minor).to_ne_bytes());
    message
}

/// The table of a mapping.
pub(super) fn load(name: &str, table: &Table<'_>) -> Zeroizing<Vec<u8>> {
    let words = [table.cipher, " ", table.key.0.as_str(), " 0 ", table.device, " 0"];
    let length: usize = words.iter().map(|word| word.len()).sum();
    // A text ends with a zero, and what follows it begins at a multiple of eight.
    let target = TARGET + (length + 1).next_multiple_of(8);
    let mut message = message(name, SECURE_DATA, HEADER + target);
    put(&mut message, COUNT_AT, &1_u32.to_ne_bytes());
    put(&mut message, HEADER + 8, &table.sectors.to_ne_bytes());
    put(&mut message, HEADER + 20, &u32::try_from(target).unwrap_or(u32::MAX).to_ne_bytes());
    put(&mut message, HEADER + 24, b"crypt");
    let mut at = HEADER + TARGET;
    for word in words {
        put(&mut message, at, word.as_bytes());
        at += word.len();
    }
    message
}

fn message(name: &str, flags: u32, size: usize) -> Zeroizing<Vec<u8>> {
    let mut message = Zeroizing::new(vec![0; size]);
    put(&mut message, 0, &VERSION.to_ne_bytes());
    put(&mut message, SIZE_AT, &u32::try_from(size).unwrap_or(u32::MAX).to_ne_bytes());
    put(&mut message, START_AT, &u32::try_from(HEADER).unwrap_or(u32::MAX).to_ne_bytes());
    put(&mut message, FLAGS_AT, &flags.to_ne_bytes());
    // The last byte stays zero: the kernel refuses a name without an end.
    let name = name.as_bytes();
    put(&mut message, NAME_AT, name.get(..NAME_LENGTH - 1).unwrap_or(name));
    message
}

fn put(message: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = message.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(message: &[u8], at: usize) -> u32 {
        u32::from_ne_bytes(message[at..at + 4].try_into().unwrap())
    }

    /// Offsets and flags as linux/dm-ioctl.h has them.
    #[test]
    fn a_header_says_version_sizes_flags_and_name() {
        let message = create("cloud-machine-dm-3", 3);
        assert_eq!(message.len(), 312);
        let words: Vec<u32> = (0..10).map(|word| number(&message, word * 4)).collect();
        assert_eq!(words, [4, 0, 0, 312, 312, 0, 0, 8, 0, 0]);
        assert_eq!(u64::from_ne_bytes(message[40..48].try_into().unwrap()), 3);
        assert!(message[48..].starts_with(b"cloud-machine-dm-3\0") && message[176..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_table_is_one_target_over_all_sectors() {
        let key = Key::of(&[0xab; 64]);
        let table = Table { sectors: 131_072, cipher: "aes-xts-plain64", key: &key, device: "254:48" };
        let message = load("cloud-machine-dm-0", &table);
        let size = number(&message, 12) as usize;
        assert!(size == message.len() && size.is_multiple_of(8), "{size}");
        assert_eq!((number(&message, 20), number(&message, 28)), (1, 1 << 15));
        let target = &message[312..];
        assert_eq!((&target[..8], &target[8..16]), (&[0; 8][..], &131_072_u64.to_ne_bytes()[..]));
        assert_eq!((number(target, 16), number(target, 20) as usize), (0, size - 312));
        assert!(target[24..].starts_with(b"crypt\0"));
        let text = std::ffi::CStr::from_bytes_until_nul(&target[40..]).unwrap().to_str().unwrap();
        assert_eq!(text, format!("aes-xts-plain64 {} 0 254:48 0", "ab".repeat(64)));
    }

    #[test]
    fn a_message_that_is_not_as_long_as_it_says_is_not_sent() {
        use super::super::ioctl::{Command, send};
        let null = std::fs::File::open("/dev/null").unwrap();
        for length in [0, 15, 311] {
            let error = send(&null, Command::Version, &mut vec![0; length]).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{length}");
        }
        let mut longer = bare("x", 0);
        longer.push(0);
        assert!(send(&null, Command::Version, &mut longer).is_err());
    }

    #[test]
    fn a_name_that_is_too_long_keeps_its_end() {
        assert_eq!(bare(&"n".repeat(200), 0)[NAME_AT + NAME_LENGTH - 1], 0);
    }
}
