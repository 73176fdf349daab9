//! One rewrite, cut off or hindered in every possible way, and what must hold between two of them. Owns the rules; must
//! not know which fault is looked for.

use cloud_machine_image::{CompareMode, ImageError, Rewritten, WriteBlocks};
use cloud_machine_protocol::{Digest, Extent};

use crate::{
    disk::{Disk, Faults},
    epoch::Survival,
    fixture::{LEAF, Packed, entry, noise, write_table},
    table::crc32,
};

/// Where a rewrite begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Start {
    /// A disk full of another tenant's bytes, with boot code and a partition table at both ends.
    Tenant,
    /// The same without a table.
    Noise,
    /// The image with some leaves of the body changed and another table.
    Partly,
    /// The image with the leaves that [`NAMED`] names changed, and another table.
    Named,
}

/// A dirty map of [`Start::Named`]: leaves that follow each other, so that they are one unit.
pub(crate) const NAMED: Extent = Extent { offset: LEAF as u64, length: 4 * LEAF as u64 };

impl Start {
    /// Every start that no map describes.
    pub(crate) const ALL: [Self; 3] = [Self::Tenant, Self::Noise, Self::Partly];

    pub(crate) fn disk(self, packed: &Packed, size: usize) -> Vec<u8> {
        let other = noise(size, 4711);
        match self {
            Self::Noise => other,
            Self::Tenant => with_foreign_table(other),
            Self::Partly => {
                let mut bytes = packed.expected(size);
                for leaf in bytes.chunks_mut(LEAF).skip(1).step_by(3) {
                    leaf.copy_from_slice(&noise(leaf.len(), 4712));
                }
                with_foreign_table(bytes)
            }
            Self::Named => {
                let mut bytes = packed.expected(size);
                let range = NAMED.offset as usize..(NAMED.offset + NAMED.length) as usize;
                bytes[range].copy_from_slice(&other[..NAMED.length as usize]);
                with_foreign_table(bytes)
            }
        }
    }
}

fn with_foreign_table(bytes: Vec<u8>) -> Vec<u8> {
    let last = bytes.len() as u64 / 512 - 34;
    let entries = vec![entry(9, gpt::partition_types::LINUX_FS, 256, last, "tenant")];
    let mut bytes = write_table(bytes, entries);
    bytes[..11].copy_from_slice(b"TENANT BOOT");
    bytes
}

/// What a rewrite is given in the place of the disk: the disk itself, or one that hides a fault of the engine.
pub(crate) type Between = for<'a> fn(&'a Disk) -> Box<dyn WriteBlocks + 'a>;

/// An image, a disk before the rewrite and the engine that is judged.
pub(crate) struct Survey<'a> {
    pub(crate) packed: &'a Packed,
    pub(crate) start: Start,
    pub(crate) size: usize,
    pub(crate) compare_mode: CompareMode<'static>,
    pub(crate) before: Vec<u8>,
    expected: Vec<u8>,
    proof: Proof,
    between: Option<Between>,
}

/// What a run proved: the root, the bytes of the image and of the disk, and those that were read after the last write.
type Proof = (Option<Digest>, u64, u64, u64);

fn proof(done: &Rewritten) -> Proof {
    (done.image.root(), done.image.image_size(), done.image.disk_size(), done.image.read_bytes())
}

/// A rule that was broken, in words that let the case be repeated.
pub(crate) type Fault = String;

impl<'a> Survey<'a> {
    pub(crate) fn new(packed: &'a Packed, start: Start, size: usize, compare_mode: CompareMode<'static>) -> Self {
        let (before, expected) = (start.disk(packed, size), packed.expected(size));
        let done = packed.rewrite_by(&Disk::new(before.clone()), compare_mode).unwrap();
        let proof = proof(&done);
        let (root, read) = (Some(packed.manifest.digest()), size as u64);
        // A proof of a part is one without a root, and nobody takes it for one of the whole.
        match compare_mode {
            CompareMode::Hinted { .. } => assert!(proof.0.is_none() && proof.3 < read, "{proof:?}"),
            _ => assert_eq!(proof, (root, packed.raw.len() as u64, read, read)),
        }
        Self { packed, start, size, compare_mode, before, expected, proof, between: None }
    }

    /// With a fault between the engine and the disk.
    pub(crate) fn with(self, between: Between) -> Self {
        Self { between: Some(between), ..self }
    }

    /// The case, for who has to repeat it.
    pub(crate) fn name(&self) -> String {
        format!("{:?} of {} bytes by {:?}", self.start, self.size, self.compare_mode)
    }

    pub(crate) fn disk(&self) -> Disk {
        Disk::new(self.before.clone())
    }

    /// One run of the engine; `faults` are those of the disk meanwhile.
    pub(crate) fn run(&self, disk: &Disk, faults: Faults) -> Result<Rewritten, ImageError> {
        disk.set(faults);
        match self.between {
            Some(between) => self.packed.rewrite_by(&*between(disk), self.compare_mode),
            None => self.packed.rewrite_by(disk, self.compare_mode),
        }
    }

    /// A run without a fault: how many writes and zeroings it takes, and of how many operations of any kind.
    pub(crate) fn rehearse(&self) -> Disk {
        let disk = self.disk();
        self.run(&disk, Faults::default()).unwrap_or_else(|error| panic!("{}: {error}", self.name()));
        disk
    }

    /// Cuts one run after `cut` writes, lets `survival` be found, and runs again until it is done.
    pub(crate) fn cut(&self, cut: u64, survival: Survival) -> Vec<Fault> {
        self.cuts(&[(cut, survival)])
    }

    /// The same with a cut in each of several runs.
    pub(crate) fn cuts(&self, cuts: &[(u64, Survival)]) -> Vec<Fault> {
        let disk = self.disk();
        let mut faults = Vec::new();
        for &(cut, survival) in cuts {
            let before = disk.bytes();
            let done = self.run(&disk, Faults { cut_after: Some(cut), ..Faults::default() });
            let invalidated = disk.is_durably_changed();
            disk.lose_power(survival);
            let found = disk.bytes();
            // A later run may have less to do than was rehearsed, and end before it is cut.
            if done.is_ok() && found != self.expected {
                faults.push("a proof for a disk that is not the image".to_owned());
            }
            faults.extend(self.between_runs(&before, &found, invalidated));
        }
        faults.extend(self.converge(&disk));
        faults.iter().map(|fault| format!("{fault}: {}, {cuts:?}", self.name())).collect()
    }

    /// What a disk must not be when a run was cut off: bootable, unless it is the image, or nothing but its boot head was
    /// written. `invalidated`: that some of what the run wrote was flushed, so that not even that is an excuse.
    pub(crate) fn between_runs(&self, before: &[u8], found: &[u8], invalidated: bool) -> Option<Fault> {
        let expected = &self.expected;
        let body = LEAF..found.len() - LEAF;
        let untouched = found[body.clone()] == before[body];
        // The last block to be written has the MBR and the primary table: torn or missing, the backup repairs it.
        let done = found[4096..] == expected[4096..];
        let excused = done || untouched && !invalidated;
        if has_valid_table(found) && !excused {
            return Some("a partition table over a disk that is not the image".to_owned());
        }
        let old_boot_code = found[..440] == self.before[..440] && self.before[..440] != expected[..440];
        if old_boot_code && !excused {
            return Some("the boot code of before over a disk that was written".to_owned());
        }
        None
    }

    /// Runs without a fault: the disk becomes the image, with the proof that an uncut run gives, and stays it when the
    /// power goes right after.
    pub(crate) fn converge(&self, disk: &Disk) -> Vec<Fault> {
        let done = match self.run(disk, Faults::default()) {
            Ok(done) => done,
            Err(error) => return vec![format!("the next run fails: {error}")],
        };
        let mut faults = Vec::new();
        if proof(&done) != self.proof {
            faults.push(format!("another proof: {:?}", done.image));
        }
        disk.lose_power(Survival::Nothing);
        if disk.bytes() != self.expected {
            faults.push("a proof for a disk that is not the image".to_owned());
        }
        faults
    }

    /// A run on a disk that loses writes: `true` when it ended with a proof, which must not be a false one.
    pub(crate) fn lossy(&self, faults: &Faults) -> Result<bool, Fault> {
        let disk = self.disk();
        let case = format!("{}, {faults:?}", self.name());
        let proof = match self.run(&disk, faults.clone()) {
            Ok(_) => {
                disk.lose_power(Survival::Nothing);
                if disk.bytes() != self.expected {
                    return Err(format!("a false proof: {case}"));
                }
                true
            }
            Err(ImageError::ReadBack { .. }) => false,
            Err(other) => return Err(format!("{other}: {case}")),
        };
        match self.converge(&disk).first() {
            Some(fault) => Err(format!("{fault}: {case}")),
            None => Ok(proof),
        }
    }
}

/// Whether firmware could find a partition table: the primary one behind the MBR, or the backup in the last sector.
pub(crate) fn has_valid_table(disk: &[u8]) -> bool {
    is_valid_table(disk, 1) || is_valid_table(disk, disk.len() / 512 - 1)
}

/// UEFI 2.10, section 5.3.2: signature, checksum of the header, its own place, checksum of the entries.
fn is_valid_table(disk: &[u8], sector: usize) -> bool {
    let header = &disk[sector * 512..][..92];
    let long = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().unwrap());
    let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().unwrap());
    if &header[..8] != b"EFI PART" || word(12) != 92 || long(24) != sector as u64 {
        return false;
    }
    let mut unsigned = header.to_vec();
    unsigned[16..20].fill(0);
    let entries = long(72) as usize * 512..long(72) as usize * 512 + (word(80) * word(84)) as usize;
    crc32(&unsigned) == word(16) && disk.get(entries).is_some_and(|entries| crc32(entries) == word(88))
}

#[test]
fn a_valid_table_is_one_whose_every_byte_counts() {
    let disk = with_foreign_table(noise(1 << 20, 1));
    assert!(is_valid_table(&disk, 1) && is_valid_table(&disk, 2047));
    for at in [512, 512 + 40, 1024 + 3, 1024 + 16_383] {
        let mut damaged = disk.clone();
        damaged[at] ^= 1;
        assert!(!is_valid_table(&damaged, 1), "{at}");
        assert!(has_valid_table(&damaged), "the backup is still there");
    }
    assert!(!has_valid_table(&noise(1 << 20, 1)));
}
