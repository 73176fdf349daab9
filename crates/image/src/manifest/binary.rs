//! The bytes of a manifest: a fixed prefix, a JSON header, the table of entries, the table of frame lengths. Owns the
//! layout and the bounds; must not trust a number before it was compared with what is there.

use cloud_machine_protocol::version_of;

use super::{Entry, MANIFEST_VERSION, Manifest};
use crate::{FRAME_SIZE, ImageError, LEAF_SIZE, MAX_IMAGE_SIZE};

// All numbers are little-endian:
//   8 bytes   magic
//   u64       bytes of the JSON header
//   u64       number of entries
//   u64       number of frames
//   header
//   entries   33 bytes each: kind (0 data leaf, n + 1 zero subtree of 2^n leaves), chaining value
//   frames    u32 each: bytes of the compressed frame
//   checksum  BLAKE3 of all bytes before it. It finds damage; who can forge a manifest can forge it too, so a manifest
//             from an untrusted place needs a digest of its own from a trusted one.
const MAGIC: &[u8; 8] = b"\x89CMIMG\r\n";
const PREFIX: u64 = 32;
const ENTRY: u64 = 33;
const FRAME: u64 = 4;
const CHECKSUM: usize = 32;
const MAX_HEADER: u64 = 256 << 10;
// 2^28 leaves of 64 KiB are the largest image.
const MAX_LEVEL: u8 = 28;

pub(super) fn to_bytes(manifest: &Manifest) -> Vec<u8> {
    // A structure of strings and numbers always has a JSON form; were there none, parsing would refuse the result.
    let header = serde_json::to_vec(&manifest.header).unwrap_or_default();
    let entries = &manifest.entries;
    let mut bytes = Vec::new();
    bytes.extend(MAGIC);
    bytes.extend((header.len() as u64).to_le_bytes());
    bytes.extend((entries.len() as u64).to_le_bytes());
    bytes.extend(manifest.frame_count().to_le_bytes());
    bytes.extend(header);
    for entry in entries {
        let level = entry.leaves.trailing_zeros() as u8;
        bytes.push(if entry.zero { level + 1 } else { 0 });
        bytes.extend(entry.value);
    }
    for length in manifest.frame_lengths() {
        // `frame_offsets` has bounded every length far below 4 GiB.
        bytes.extend((length as u32).to_le_bytes());
    }
    seal(bytes)
}

fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let checksum = blake3::hash(&bytes);
    bytes.extend(checksum.as_bytes());
    bytes
}

pub(super) fn parse(bytes: &[u8]) -> Result<Manifest, ImageError> {
    let Some((prefix, rest)) = bytes.split_first_chunk::<{ PREFIX as usize }>() else {
        return Err(short(bytes));
    };
    if !prefix.starts_with(MAGIC) {
        return Err(ImageError::ManifestForeign);
    }
    let [header_length, entry_count, frame_count] = [8, 16, 24].map(|at| number(&prefix[at..at + 8]));
    check_counts(header_length, entry_count, frame_count)?;
    // `check_counts` has bounded each term below 2^34, so no sum overflows.
    let length = |expected: u64| ImageError::ManifestLength { expected, found: bytes.len() as u64 };
    // The version comes before everything that another version may have changed.
    let header = rest.get(..header_length as usize).ok_or_else(|| length(PREFIX + header_length))?;
    check_version(header)?;
    let tables = entry_count * ENTRY + frame_count * FRAME;
    let expected = PREFIX + header_length + tables + CHECKSUM as u64;
    if bytes.len() as u64 != expected {
        return Err(length(expected));
    }
    let (sealed, checksum) = bytes.split_at(bytes.len() - CHECKSUM);
    if blake3::hash(sealed).as_bytes() != checksum {
        return Err(ImageError::ManifestChecksum);
    }
    let tables = &sealed[(PREFIX + header_length) as usize..];
    let (entries, frames) = tables.split_at((entry_count * ENTRY) as usize);
    let header = serde_json::from_slice(header).map_err(|source| ImageError::ManifestHeader { source })?;
    let lengths: Vec<u32> = frames.chunks_exact(FRAME as usize).map(|chunk| number(chunk) as u32).collect();
    Manifest::assemble(header, parse_entries(entries)?, &lengths)
}

/// The error for bytes that do not even hold the prefix.
fn short(bytes: &[u8]) -> ImageError {
    let known = bytes.len().min(MAGIC.len());
    if bytes[..known] != MAGIC[..known] || bytes.is_empty() {
        return ImageError::ManifestForeign;
    }
    ImageError::ManifestLength { expected: PREFIX, found: bytes.len() as u64 }
}

/// The little-endian number in at most 8 bytes.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

fn check_counts(header_length: u64, entry_count: u64, frame_count: u64) -> Result<(), ImageError> {
    let limits = [
        ("bytes of header", header_length, MAX_HEADER),
        ("entries", entry_count, MAX_IMAGE_SIZE / LEAF_SIZE),
        ("frames", frame_count, MAX_IMAGE_SIZE / FRAME_SIZE),
    ];
    for (what, found, limit) in limits {
        if found > limit {
            return Err(ImageError::ManifestInvalid {
                reason: format!("it states {found} {what}, at most {limit} are possible"),
            });
        }
    }
    Ok(())
}

fn check_version(header: &[u8]) -> Result<(), ImageError> {
    let found = version_of(header).map_err(|source| ImageError::ManifestHeader { source })?;
    if found != MANIFEST_VERSION {
        return Err(ImageError::ManifestVersion { found, supported: MANIFEST_VERSION });
    }
    Ok(())
}

fn parse_entries(bytes: &[u8]) -> Result<Vec<Entry>, ImageError> {
    let mut entries = Vec::with_capacity(bytes.len() / ENTRY as usize);
    let mut first: u32 = 0;
    for (index, chunk) in bytes.chunks_exact(ENTRY as usize).enumerate() {
        let invalid = |reason: &str| ImageError::ManifestInvalid { reason: format!("entry {index} {reason}") };
        let mut value = [0; 32];
        value.copy_from_slice(&chunk[1..]);
        let kind = chunk[0];
        if kind > MAX_LEVEL {
            return Err(invalid("is of an unknown kind"));
        }
        let leaves = 1_u32 << kind.saturating_sub(1);
        entries.push(Entry { first, leaves, zero: kind != 0, value });
        first = first.checked_add(leaves).ok_or_else(|| invalid("reaches beyond the largest image"))?;
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use cloud_machine_protocol::{Algorithm, Digest};
    use proptest::prelude::*;

    use super::*;
    use crate::{
        Partition,
        manifest::{Header, Leaf, collect},
        tree,
    };

    const SIZE: u64 = 9 * LEAF_SIZE + 4096;

    /// Two data leaves, seven zero leaves and a partial one.
    fn manifest() -> Manifest {
        let mut image = vec![0; SIZE as usize];
        image[17] = 1;
        image[LEAF_SIZE as usize * 5] = 2;
        let leaf = |(index, bytes): (usize, &[u8])| Leaf {
            value: tree::leaf_value(bytes, index as u64 * LEAF_SIZE),
            zero: bytes.iter().all(|byte| *byte == 0),
        };
        let leaves: Vec<Leaf> = image.chunks(LEAF_SIZE as usize).enumerate().map(leaf).collect();
        let header = Header {
            version: MANIFEST_VERSION,
            name: "debian-12".to_owned(),
            generation: 3,
            size: SIZE,
            leaf_size: LEAF_SIZE,
            frame_size: FRAME_SIZE,
            sector_size: 512,
            digest: Digest::new(Algorithm::Blake3, *blake3::hash(&image).as_bytes()),
            kernel_release: "6.1.0-56-cloud-amd64".to_owned(),
            partitions: vec![Partition {
                number: 1,
                name: "root".to_owned(),
                type_guid: "4f68bce3-e8cd-4db1-96e7-fbcaf984b709".to_owned(),
                unique_guid: "00000000-0000-4000-8000-000000000001".to_owned(),
                offset: 4096,
                length: 65_536,
            }],
            root_partition: 1,
            root_filesystem: "ext4".to_owned(),
        };
        Manifest::assemble(header, collect(&leaves, SIZE).unwrap(), &[777]).unwrap()
    }

    fn with_header(change: impl Fn(String) -> String) -> Result<Manifest, ImageError> {
        let bytes = manifest().to_bytes();
        let length = number(&bytes[8..16]) as usize;
        let header = String::from_utf8(bytes[32..32 + length].to_vec()).unwrap();
        let changed = change(header.clone());
        assert_ne!(header, changed);
        let mut output = bytes[..8].to_vec();
        output.extend((changed.len() as u64).to_le_bytes());
        output.extend(&bytes[16..32]);
        output.extend(changed.as_bytes());
        output.extend(&bytes[32 + length..bytes.len() - CHECKSUM]);
        parse(&seal(output))
    }

    #[test]
    fn it_loads_again_byte_for_byte() {
        let manifest = manifest();
        let parsed = parse(&manifest.to_bytes()).unwrap();
        assert_eq!(parsed, manifest);
        assert_eq!(parsed.to_bytes(), manifest.to_bytes());
        assert_eq!(parsed.data_bytes(), 2 * LEAF_SIZE + 4096);
        assert_eq!(parsed.packed_bytes(), 777);
        assert_eq!(parsed.root().number, 1);
    }

    #[test]
    fn another_version_is_its_own_error_with_both_numbers() {
        let error = with_header(|header| header.replace("\"version\":1", "\"version\":2,\"new\":{}")).unwrap_err();
        assert!(matches!(error, ImageError::ManifestVersion { found: 2, supported: 1 }));
        assert_eq!(error.to_string(), "image manifest has version 2, this program knows version 1");
    }

    #[test]
    fn every_truncation_is_an_error() {
        let bytes = manifest().to_bytes();
        for length in 0..bytes.len() {
            assert!(parse(&bytes[..length]).is_err(), "{length}");
        }
        let longer = [&bytes[..], b"\0"].concat();
        assert!(matches!(parse(&longer), Err(ImageError::ManifestLength { .. })));
    }

    #[test]
    fn every_flipped_bit_is_an_error() {
        let bytes = manifest().to_bytes();
        for index in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[index] ^= 1 << bit;
                assert!(parse(&flipped).is_err(), "byte {index} bit {bit}");
            }
        }
    }

    #[test]
    fn no_flipped_bit_under_a_new_checksum_gives_another_digest_or_other_leaves() {
        let original = manifest();
        let bytes = original.to_bytes();
        let mut accepted = 0;
        for index in 0..bytes.len() - CHECKSUM {
            for bit in 0..8 {
                let mut flipped = bytes[..bytes.len() - CHECKSUM].to_vec();
                flipped[index] ^= 1 << bit;
                let Ok(parsed) = Manifest::parse(&seal(flipped)) else { continue };
                accepted += 1;
                assert_eq!(parsed.digest(), original.digest(), "byte {index}");
                assert_eq!(parsed.size(), original.size(), "byte {index}");
                let values = |manifest: &Manifest| -> Vec<_> {
                    manifest.entries.iter().map(|entry| (entry.first, entry.leaves, entry.value)).collect()
                };
                assert_eq!(values(&parsed), values(&original), "byte {index}");
                // What was data may not become zero; what was zero is still that when it is read as data.
                let pairs = parsed.entries.iter().zip(&original.entries);
                assert!(pairs.into_iter().all(|(now, before)| before.zero || !now.zero), "byte {index}");
            }
        }
        // Names, the generation, frame lengths and the extent of a partition are facts beside the digest.
        assert!(accepted > 0);
    }

    #[test]
    fn contradictions_are_told() {
        let cases: [(&str, &str, &str); 12] = [
            ("\"size\":593920", "\"size\":593921", "is not a multiple of 4096"),
            ("\"size\":593920", "\"size\":65536", "is too small"),
            ("\"size\":593920", "\"size\":17592186048512", "is larger than 16 TiB"),
            ("\"size\":593920", "\"size\":589824", "entries cover 10 leaves instead of 9"),
            ("\"leaf-size\":65536", "\"leaf-size\":4096", "leaf size is 4096 instead of 65536"),
            ("\"sector-size\":512", "\"sector-size\":4096", "sector size is 4096 instead of 512"),
            ("blake3:", "sha256:", "is not BLAKE3"),
            ("\"root-partition\":1", "\"root-partition\":2", "root partition 2 is not in its list"),
            ("ext4", "vfat", "root filesystem is \"vfat\""),
            ("\"length\":65536", "\"length\":9000000", "partition 1 reaches beyond the image"),
            ("debian-12", "debian/12", "invalid image name"),
            ("\"generation\"", "\"generations\"", "cannot parse the header"),
        ];
        for (from, to, expected) in cases {
            let error = with_header(|header| header.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(expected), "{to}: {error}");
        }
    }

    #[test]
    fn a_digest_that_is_not_that_of_the_values_is_told_with_both() {
        let digest = manifest().digest();
        let other = Digest::new(Algorithm::Blake3, [1; 32]);
        let error = with_header(|header| header.replace(&digest.to_string(), &other.to_string())).unwrap_err();
        assert!(
            matches!(error, ImageError::ManifestRoot { stated, computed } if stated == other && computed == digest)
        );
    }

    #[test]
    fn counts_that_would_need_memory_are_refused_before_any_is_taken() {
        for at in [8, 16, 24] {
            for number in [u64::MAX, u64::MAX / 33, 1 << 40, 1 << 29] {
                let mut bytes = manifest().to_bytes();
                bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
                let error = parse(&bytes).unwrap_err().to_string();
                assert!(error.contains("are possible"), "{error}");
            }
        }
    }

    #[test]
    fn impossible_frame_lengths_are_refused() {
        for length in [0, 1, 20, u32::MAX, 1_100_000] {
            let mut bytes = manifest().to_bytes();
            bytes.truncate(bytes.len() - CHECKSUM - 4);
            bytes.extend(u32::to_le_bytes(length));
            let error = parse(&seal(bytes)).unwrap_err().to_string();
            assert!(error.contains("frame 0 has an impossible length"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..400), magic: bool) {
            if magic && bytes.len() >= 8 {
                bytes[..8].copy_from_slice(MAGIC);
            }
            prop_assert!(parse(&bytes).is_err());
        }

        #[test]
        fn scrambled_manifests_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20)) {
            let original = manifest();
            let mut bytes = original.to_bytes();
            bytes.truncate(bytes.len() - CHECKSUM);
            for (index, byte) in changes {
                let at = index.index(bytes.len());
                bytes[at] = byte;
            }
            if let Ok(parsed) = parse(&seal(bytes)) {
                prop_assert_eq!(parsed.digest(), original.digest());
            }
        }
    }
}
