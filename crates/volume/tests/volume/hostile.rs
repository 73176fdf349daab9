//! Volumes that were cut, changed or made to hurt: an error or some answer within a bounded time and memory.

use std::{
    io,
    time::{Duration, Instant},
};

use cloud_machine_volume::{Volume, VolumeError};
use proptest::prelude::*;

use crate::made::Workspace;

/// Far above what any volume takes, even in an unoptimised build.
const PATIENCE: Duration = Duration::from_secs(10);
/// Far below what an allocation of a claimed size would be, in KiB; most of it are the images of all tests at once.
const MEMORY: u64 = 384 << 10;
const ISO_DESCRIPTOR: usize = 16 * 2048;

/// Everything that can be asked of a volume.
fn ask(bytes: &[u8]) {
    let began = Instant::now();
    if let Ok(volume) = Volume::open(bytes) {
        let listed = volume.list().unwrap_or_default();
        let listed = listed.iter().map(|(path, _)| path.as_str()).take(8);
        for path in listed.chain(["user-data", "cloud-machine/request.json"]) {
            volume.read(path).unwrap_or_default();
        }
    }
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
}

/// Most memory that this process ever had, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// A small generator of numbers that are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// Changes a few bytes that mean something, or are beside such, thousands of times.
fn mutate(mut bytes: Vec<u8>, times: usize, seed: u64) {
    let meant: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
    let mut numbers = Numbers(seed);
    for _ in 0..times {
        let mut before = Vec::new();
        for _ in 0..=numbers.below(6) {
            let at = (meant[numbers.below(meant.len())] + numbers.below(4)).min(bytes.len() - 1);
            before.push((at, bytes[at]));
            bytes[at] = [0, 1, 2, 0x7f, 0x80, 0xff, numbers.below(256) as u8][numbers.below(7)];
        }
        ask(&bytes);
        for (at, byte) in before.into_iter().rev() {
            bytes[at] = byte;
        }
    }
    assert!(peak() < MEMORY, "{} KiB", peak());
}

#[test]
fn mutated_vfat() {
    let workspace = Workspace::new();
    mutate(workspace.vfat(1, &["-F", "12"]), 3000, 1);
    mutate(workspace.vfat(16, &["-F", "16"]), 3000, 2);
    mutate(workspace.vfat(36, &["-F", "32", "-s", "1"]), 3000, 3);
}

#[test]
fn mutated_iso() {
    let workspace = Workspace::new();
    mutate(workspace.xorriso(&["-joliet", "-rock"]), 6000, 4);
    mutate(workspace.xorriso(&["--norock", "-joliet"]), 3000, 5);
    mutate(workspace.genisoimage(&[]), 3000, 6);
    workspace.add(&"x".repeat(255), b"");
    mutate(workspace.genisoimage(&["-rock"]), 6000, 7);
}

#[test]
fn truncated() {
    let workspace = Workspace::new();
    for bytes in [workspace.vfat(1, &[]), workspace.xorriso(&["-joliet", "-rock"]), workspace.genisoimage(&["-rock"])] {
        for length in (0..bytes.len()).step_by(509) {
            ask(&bytes[..length]);
        }
        assert!(matches!(Volume::open(&bytes[..100]), Err(VolumeError::Unknown)));
    }
    let vfat = workspace.vfat(1, &[]);
    let error = Volume::open(&vfat[..vfat.len() / 2]).unwrap_err();
    assert!(
        matches!(&error, VolumeError::Filesystem(source) if source.to_string().contains("claims more")),
        "{error:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn noise_behind_a_signature(noise in proptest::collection::vec(any::<u8>(), 40_000), fat: bool) {
        let mut noise = noise;
        if fat {
            noise[11..17].copy_from_slice(&[0, 2, 1, 1, 0, 1]);
            noise[19..24].copy_from_slice(&[0x4e, 0, 0xf8, 1, 0]);
            noise[510..512].copy_from_slice(&[0x55, 0xaa]);
        } else {
            noise[ISO_DESCRIPTOR..ISO_DESCRIPTOR + 6].copy_from_slice(b"\x01CD001");
        }
        ask(&noise);
    }
}

#[test]
fn neither_and_both() {
    for bytes in [Vec::new(), vec![0; 512], vec![0x5a; 4096], vec![0xff; 1 << 20]] {
        let error = Volume::open(bytes).unwrap_err();
        assert_eq!(error.to_string(), "the volume has neither a FAT nor an ISO 9660 filesystem");
    }
    let workspace = Workspace::new();
    let vfat = workspace.vfat(1, &[]);
    let mut both = workspace.xorriso(&["-rock"]);
    both[..512].copy_from_slice(&vfat[..512]);
    let error = Volume::open(both).unwrap_err();
    assert_eq!(error.to_string(), "the volume has both a FAT and an ISO 9660 filesystem");
}

fn source(error: VolumeError) -> io::Error {
    match error {
        VolumeError::Filesystem(source) | VolumeError::File { source, .. } => source,
        other => panic!("{other:?}"),
    }
}

/// Where `wanted` stands for the first time.
fn find(bytes: &[u8], wanted: &[u8]) -> usize {
    bytes.windows(wanted.len()).position(|window| window == wanted).unwrap()
}

#[test]
fn a_vfat_folder_that_is_a_ring_ends() {
    let mut bytes = Workspace::new().vfat(1, &["-F", "12", "-s", "1"]);
    let entry = find(&bytes, b"CLOUD-~1   ");
    let cluster = usize::from(bytes[entry + 26]);
    // Its next cluster is itself, and all of its entries but the first two are deleted ones.
    let table = 512 + cluster * 3 / 2;
    let next = if cluster % 2 == 0 {
        [cluster as u8, bytes[table + 1] & 0xf0]
    } else {
        [(bytes[table] & 15) | (cluster as u8) << 4, 0]
    };
    bytes[table..table + 2].copy_from_slice(&next);
    let boot = |at: usize| usize::from(bytes[at]);
    let data = 512 * (boot(14) + boot(16) * boot(22)) + 32 * (boot(17) + 256 * boot(18));
    let folder = data + (cluster - 2) * 512;
    for slot in (folder..folder + 512).step_by(32) {
        bytes[slot] = 0xe5;
    }
    let volume = Volume::open(bytes).unwrap();
    let source = source(volume.list().unwrap_err());
    assert_eq!(source.to_string(), "its folders or files have no end");
    assert_eq!(volume.read("user-data").unwrap(), crate::made::USER_DATA);
    assert!(matches!(volume.read("cloud-machine/request.json"), Err(VolumeError::Filesystem(_))));
}

#[test]
fn a_vfat_file_that_is_shorter_than_it_says_is_not_read() {
    let mut bytes = Workspace::new().vfat(1, &[]);
    let entry = find(&bytes, b"USER-D~1   ");
    bytes[entry + 28..entry + 32].copy_from_slice(&100_000_u32.to_le_bytes());
    let source = source(Volume::open(bytes).unwrap().read("user-data").unwrap_err());
    assert_eq!(source.to_string(), "its clusters end before it does");
}

/// Sets a number that is there in both byte orders.
fn set_both(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    bytes[at + 4..at + 8].copy_from_slice(&value.to_be_bytes());
}

#[test]
fn an_iso_folder_that_contains_itself_ends() {
    let mut bytes = Workspace::new().genisoimage(&["-rock"]);
    let root = u32::from_le_bytes(bytes[ISO_DESCRIPTOR + 158..ISO_DESCRIPTOR + 162].try_into().unwrap());
    let folder = find(&bytes, b"\x08CLOUD_MA") - 32;
    set_both(&mut bytes, folder + 2, root);
    let volume = Volume::open(bytes).unwrap();
    assert!(matches!(volume.list(), Err(VolumeError::Filesystem(_) | VolumeError::TooManyFiles)));
    // Each part of the path is the root once more.
    assert_eq!(volume.read("cloud-machine/cloud-machine/user-data").unwrap(), crate::made::USER_DATA);
}

#[test]
fn iso_claims_beyond_the_end_are_refused() {
    let original = Workspace::new().genisoimage(&["-rock"]);
    let (file, folder) = (find(&original, b"USER_DAT.;1") - 33, find(&original, b"\x08CLOUD_MA") - 32);
    let changed = |at: usize, value: u32| {
        let mut bytes = original.clone();
        set_both(&mut bytes, at, value);
        bytes
    };
    for (at, value) in [(file + 2, u32::MAX), (file + 2, 1 << 20), (file + 10, 10 << 20)] {
        let source = source(Volume::open(changed(at, value)).unwrap().read("user-data").unwrap_err());
        assert_eq!(source.to_string(), "it lies beyond the end");
    }
    let huge = Volume::open(changed(file + 10, u32::MAX)).unwrap().read("user-data").unwrap_err();
    assert!(matches!(huge, VolumeError::FileTooLarge { .. }));
    for (at, value) in [(folder + 2, u32::MAX), (folder + 10, u32::MAX)] {
        let volume = Volume::open(changed(at, value)).unwrap();
        assert_eq!(source(volume.list().unwrap_err()).to_string(), "a folder lies beyond the end");
    }
    for (at, value) in [(158, u32::MAX), (166, u32::MAX)] {
        let error = Volume::open(changed(ISO_DESCRIPTOR + at, value)).unwrap_err();
        assert_eq!(source(error).to_string(), "the root folder lies beyond the end");
    }
    // Another block size, and descriptors without an end.
    let mut bytes = original.clone();
    bytes[ISO_DESCRIPTOR + 129] = 4;
    assert_eq!(source(Volume::open(bytes).unwrap_err()).to_string(), "the block size is not 2048");
    let mut bytes = original.clone();
    bytes[ISO_DESCRIPTOR + 2048] = 7;
    bytes[ISO_DESCRIPTOR + 4096] = 7;
    assert!(matches!(Volume::open(bytes), Err(VolumeError::Filesystem(_))));
}

#[test]
fn rock_ridge_fields_that_continue_themselves_end() {
    let workspace = Workspace::new();
    workspace.add(&"x".repeat(255), b"");
    let mut bytes = workspace.genisoimage(&["-rock"]);
    let name = find(&bytes, b"XXXXXXXX.;1");
    let field = name + find(&bytes[name..], b"CE\x1c\x01");
    // The continuation is an area that holds nothing but a pointer to itself.
    let (block, length) = (bytes.len() / 2048, 28);
    for (at, value) in [(4, block as u32), (12, 0), (20, length)] {
        set_both(&mut bytes, field + at, value);
    }
    let pointer = bytes[field..field + 28].to_vec();
    bytes.extend(pointer);
    bytes.resize((block + 1) * 2048, 0);
    let source = source(Volume::open(bytes).unwrap().list().unwrap_err());
    assert_eq!(source.to_string(), "fields of an entry have no end");
}
