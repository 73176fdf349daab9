//! Laws that hold for every image and every dirt.

use cloud_machine_image::{compare, digest_of_extents, read_manifest};
use cloud_machine_protocol::Extent;
use proptest::prelude::*;

use crate::{
    disk::{Disk, Faults},
    fixture::{LEAF, MIB, Source, image_of, noise, packed},
};

#[derive(Clone, Debug)]
struct Dirt {
    at: prop::sample::Index,
    length: usize,
    zero: bool,
}

fn dirt() -> impl Strategy<Value = Dirt> {
    let length = prop_oneof![Just(1_usize), 1..LEAF, LEAF..MIB];
    (any::<prop::sample::Index>(), length, any::<bool>()).prop_map(|(at, length, zero)| Dirt { at, length, zero })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_rewrite_over_any_dirt_gives_exactly_the_image_and_zeros(
        blocks in 96_usize..700,
        tail_sectors in 0_usize..3000,
        data in prop::collection::vec(any::<bool>(), 1..12),
        dirt in prop::collection::vec(dirt(), 0..12),
        lost in prop::option::of(0_u64..30),
    ) {
        let packed = packed(image_of(blocks * 4096, &data));
        let size = packed.raw.len() + tail_sectors * 512;
        let expected = packed.expected(size);
        let mut bytes = expected.clone();
        for (index, spot) in dirt.iter().enumerate() {
            let start = spot.at.index(size);
            let end = (start + spot.length).min(size);
            let fill = if spot.zero { vec![0; end - start] } else { noise(end - start, index as u64) };
            bytes[start..end].copy_from_slice(&fill);
        }
        // Leaf by leaf: the leaf in which the image ends is one piece, since the image's own backup table was there.
        let mut differing: Vec<Extent> = Vec::new();
        let cuts: Vec<usize> = (0..size).step_by(LEAF).chain([size]).collect();
        for pair in cuts.windows(2) {
            if bytes[pair[0]..pair[1]] != expected[pair[0]..pair[1]] {
                let (offset, length) = (pair[0] as u64, (pair[1] - pair[0]) as u64);
                match differing.last_mut() {
                    Some(last) if last.offset + last.length == offset => last.length += length,
                    _ => differing.push(Extent { offset, length }),
                }
            }
        }
        let disk = Disk::new(bytes);
        prop_assert_eq!(&compare(&packed.manifest, packed.table(size).as_ref(), &disk, 4, &|_, _| ()).unwrap(), &differing);
        disk.set(Faults { lose: lost, ..Faults::default() });
        match packed.rewrite(&disk) {
            Ok(done) => {
                let changed = done.changed.unwrap();
                prop_assert_eq!(&changed.extents, &differing);
                prop_assert_eq!(changed.digest, digest_of_extents(&differing));
                prop_assert_eq!(done.image.root().unwrap().hex(), blake3::hash(&packed.raw).to_hex().to_string());
            }
            Err(error) => {
                prop_assert!(lost.is_some(), "{}", error);
                disk.set(Faults::default());
                packed.rewrite(&disk).unwrap();
            }
        }
        prop_assert!(disk.bytes() == expected);
    }

    #[test]
    fn no_end_of_a_file_makes_a_reader_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        keep in 0_usize..81,
    ) {
        let mut file = packed(image_of(96 * 4096, &[true, false])).file;
        let at = file.len() - keep - bytes.len().min(file.len() - keep);
        let end = (at + bytes.len()).min(file.len());
        file[at..end].copy_from_slice(&bytes[..end - at]);
        let _ = read_manifest(&Source(&file));
    }
}
