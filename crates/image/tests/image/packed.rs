//! The packed file: plain zstd reads it, its end is found, and what is no packed image is told as what it is.

use std::io::Read;

use cloud_machine_image::{ImageError, Manifest, PackOptions, ReadBlocks, pack, read_manifest, verify_packed};

use crate::{
    disk::Disk,
    fixture::{LEAF, MIB, Source, image, image_of, options, packed},
};

fn unzstd(file: &[u8]) -> Vec<u8> {
    let mut output = Vec::new();
    zstd::stream::read::Decoder::new(file).unwrap().read_to_end(&mut output).unwrap();
    output
}

#[test]
fn plain_zstd_gives_the_raw_image_back() {
    for size in [MIB, 2 * MIB + 4096, 5 * MIB] {
        let packed = packed(image(size));
        assert!(unzstd(&packed.file) == packed.raw, "{size}");
        assert_eq!(packed.file.len() % 4096, 0);
        assert_eq!(packed.manifest.digest().bytes(), blake3::hash(&packed.raw).as_bytes());
        assert_eq!(packed.manifest.size(), size as u64);
    }
}

#[test]
fn the_manifest_is_found_again_and_the_frames_pass() {
    let packed = packed(image(5 * MIB));
    let manifest = read_manifest(&Source(&packed.file)).unwrap();
    assert_eq!(manifest, packed.manifest);
    assert_eq!(Manifest::parse(&manifest.to_bytes()).unwrap(), manifest);
    verify_packed(&manifest, &Source(&packed.file), &|_, _| ()).unwrap();
    assert_eq!(manifest.name(), "debian-12");
    assert_eq!(manifest.generation(), 1);
    assert_eq!(manifest.kernel_release(), "6.1.0-56-cloud-amd64");
    assert_eq!(manifest.root_filesystem(), "ext4");
    assert_eq!(manifest.root().offset, 131_072);
    assert_eq!(manifest.root().name, "root");
    assert!(manifest.packed_bytes() < packed.file.len() as u64);
    assert!(manifest.data_bytes() < manifest.size());
}

#[test]
fn the_same_image_gives_the_same_bytes() {
    let raw = image(40 * MIB);
    assert!(packed(raw.clone()).file == packed(raw).file);
}

/// An image of which it is known where its data lie, as a file with holes knows it. A read of anything else fails.
struct Holes {
    raw: Vec<u8>,
    size: u64,
    data: Vec<std::ops::Range<u64>>,
}

impl ReadBlocks for Holes {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        let end = offset + buffer.len() as u64;
        assert!(
            self.data.iter().any(|data| data.start / MIB as u64 <= offset / MIB as u64 && offset < data.end),
            "{offset}"
        );
        buffer.fill(0);
        // The raw bytes are the beginning and, from its half on, the end of the image.
        let half = self.raw.len() as u64 / 2;
        for (start, place) in [(0, 0), (self.size - half, half)] {
            let (from, to) = (offset.max(start), end.min(start + half));
            if from < to {
                let source = &self.raw[(place + from - start) as usize..(place + to - start) as usize];
                buffer[(from - offset) as usize..(to - offset) as usize].copy_from_slice(source);
            }
        }
        Ok(())
    }

    fn next_data(&self, offset: u64) -> u64 {
        let next = self.data.iter().find(|data| data.end > offset);
        next.map_or(self.size, |data| data.start.max(offset))
    }
}

#[test]
fn an_image_whose_holes_are_known_gives_the_same_bytes() {
    for size in [80 * MIB, 80 * MIB + 4096, 79 * MIB + 64 * 1024] {
        let mut raw = image_of(size, &[false]);
        raw[40 * MIB + 70_000] = 1;
        let middle = 40 * MIB as u64 + 65_536;
        let data = vec![0..200_000, middle..middle + 8192, size as u64 - 20_000..size as u64];
        let expected = packed(raw.clone());
        // Beginning and end are the whole image here.
        let holes = Holes { size: size as u64, raw: [&raw[..], &raw[..]].concat(), data };
        let mut file = Vec::new();
        let manifest = pack(&holes, &mut file, &options(), &|_, _| ()).unwrap();
        assert!(file == expected.file && manifest == expected.manifest, "{size}");
    }
}

/// Nothing of the holes is read or kept, and of their values only those near data are hashed.
#[test]
fn a_huge_image_of_holes_is_packed_by_what_it_has() {
    struct Count(u64);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len() as u64;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let (size, sectors) = (2_u64 << 40, (2_u64 << 40) / 512);
    // The tables of a small image, with the backup at the end of a large one.
    let mut raw = image_of(2 * MIB, &[false]);
    raw[512 + 32..512 + 40].copy_from_slice(&(sectors - 1).to_le_bytes());
    crate::table::repair_checksums(&mut raw);
    let (last, entries) = (2 * MIB - 512, sectors - 33);
    raw[last + 72..last + 80].copy_from_slice(&entries.to_le_bytes());
    crate::table::seal(&mut raw[last..]);
    let holes = Holes { raw, size, data: vec![0..MIB as u64, size - MIB as u64..size] };
    let mut sink = Count(0);
    let manifest = pack(&holes, &mut sink, &options(), &|_, _| ()).unwrap();
    assert_eq!((manifest.size(), manifest.data_bytes()), (size, 3 * LEAF as u64));
    assert!(manifest.to_bytes().len() < 10 << 20 && sink.0 < 200 << 20, "{}", sink.0);
}

#[test]
fn zero_runs_cost_almost_nothing() {
    let sparse = packed(image_of(40 * MIB, &[false]));
    assert!(sparse.manifest.to_bytes().len() < 3000, "{}", sparse.manifest.to_bytes().len());
    assert!(sparse.file.len() < 32_768, "{}", sparse.file.len());
}

#[test]
fn sizes_and_names_are_checked_before_anything_is_written() {
    let cases: [(Vec<u8>, PackOptions, &str); 3] = [
        (vec![0; 5 * MIB + 512], options(), "truncate -s %4096"),
        (vec![0; LEAF], options(), "is too small"),
        (image(MIB), PackOptions { name: "../x".to_owned(), ..options() }, "invalid image name \"../x\""),
    ];
    for (raw, options, expected) in cases {
        let mut file = Vec::new();
        let error = pack(&Disk::new(raw), &mut file, &options, &|_, _| ()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(file.is_empty());
    }
}

#[test]
fn a_sink_that_is_full_is_an_error_with_the_place() {
    struct Full(usize);
    impl std::io::Write for Full {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(std::io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let error = pack(&Disk::new(image(5 * MIB)), &mut Full(100_000), &options(), &|_, _| ()).unwrap_err();
    assert!(matches!(error, ImageError::Sink { .. }), "{error}");
}

#[test]
fn every_truncation_is_told_as_one() {
    let packed = packed(image(2 * MIB));
    let length = packed.file.len();
    let mut lengths: Vec<usize> = (length - 5000..length).collect();
    lengths.extend([4, 5, 79, 80, 4096, 8192, 65_536]);
    for length in lengths {
        let error = read_manifest(&Source(&packed.file[..length])).unwrap_err();
        assert!(matches!(error, ImageError::PackedTruncated { .. }), "{length}: {error}");
    }
    for foreign in [&b""[..], b"abc", &[0; 8192]] {
        let error = read_manifest(&Source(foreign)).unwrap_err();
        assert!(matches!(error, ImageError::PackedForeign), "{error}");
    }
}

#[test]
fn a_damaged_end_is_told_by_its_part() {
    let packed = packed(image(2 * MIB));
    let footer = packed.file.len() - 80;
    let manifest = packed.manifest.packed_bytes() as usize + 8;
    let manifest_end = manifest + packed.manifest.to_bytes().len();
    for at in footer..packed.file.len() {
        let mut file = packed.file.clone();
        file[at] ^= 0x40;
        let error = read_manifest(&Source(&file)).unwrap_err();
        let expected = match at - footer {
            0..32 => matches!(error, ImageError::PackedTruncated { .. }),
            // A wrong place or length may still lie in the file; then the digest tells.
            32..48 => matches!(error, ImageError::PackedFooter { .. } | ImageError::PackedManifest),
            _ => matches!(error, ImageError::PackedManifest),
        };
        assert!(expected, "byte {at}: {error}");
    }
    for at in (manifest..manifest_end).step_by(7) {
        let mut file = packed.file.clone();
        file[at] ^= 1;
        let error = read_manifest(&Source(&file)).unwrap_err();
        assert!(matches!(error, ImageError::PackedManifest), "byte {at}: {error}");
    }
}

#[test]
fn a_footer_that_would_cost_memory_or_lie_beyond_is_refused() {
    let packed = packed(image(2 * MIB));
    let footer = packed.file.len() - 80;
    for (at, number) in [(32, u64::MAX), (32, 1 << 40), (40, u64::MAX), (40, 1 << 40), (40, 200 << 20)] {
        let mut file = packed.file.clone();
        file[footer + at..footer + at + 8].copy_from_slice(&u64::to_le_bytes(number));
        let error = read_manifest(&Source(&file)).unwrap_err();
        assert!(matches!(error, ImageError::PackedFooter { .. }), "{at} {number}: {error}");
    }
}
