//! Faults that could be built into the engine, each put between the real engine and the disk: the rules of the survey must
//! find every one of them, or they would prove nothing.

use std::{io, sync::Mutex};

use cloud_machine_image::{CompareMode, ReadBlocks, WriteBlocks};

use crate::{
    disk::{Disk, Faults},
    epoch::Survival,
    every::{IMAGE, LARGER},
    fixture::{image, packed},
    survey::{Between, Fault, Start, Survey},
};

/// What the engine seems to do otherwise.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mutation {
    MissingFlush,
    FlushOnlyAtEnd,
    TailSkipped,
    NoVerify,
}

struct Mutant<'a> {
    disk: &'a Disk,
    mutation: Mutation,
    /// What was written, as a page cache would have it.
    memory: Mutex<Vec<(u64, Vec<u8>)>>,
}

impl<'a> Mutant<'a> {
    fn boxed(disk: &'a Disk, mutation: Mutation) -> Box<dyn WriteBlocks + 'a> {
        Box::new(Self { disk, mutation, memory: Mutex::default() })
    }

    fn remember(&self, offset: u64, bytes: Vec<u8>) {
        self.memory.lock().unwrap().push((offset, bytes));
    }
}

impl ReadBlocks for Mutant<'_> {
    fn size(&self) -> u64 {
        if self.mutation == Mutation::TailSkipped { IMAGE as u64 } else { self.disk.size() }
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.disk.read_at(buffer, offset)?;
        if self.mutation == Mutation::NoVerify {
            for (at, bytes) in &*self.memory.lock().unwrap() {
                let (from, to) = ((*at).max(offset), (at + bytes.len() as u64).min(offset + buffer.len() as u64));
                if from < to {
                    let written = &bytes[(from - at) as usize..(to - at) as usize];
                    buffer[(from - offset) as usize..(to - offset) as usize].copy_from_slice(written);
                }
            }
        }
        Ok(())
    }
}

impl WriteBlocks for Mutant<'_> {
    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<()> {
        self.remember(offset, buffer.to_vec());
        self.disk.write_at(buffer, offset)
    }

    fn zero(&self, offset: u64, length: u64) -> io::Result<()> {
        self.remember(offset, vec![0; length as usize]);
        self.disk.zero(offset, length)
    }

    fn flush(&self) -> io::Result<()> {
        let last = self.memory.lock().unwrap().last().map(|(offset, bytes)| (*offset, bytes.len()));
        match self.mutation {
            Mutation::MissingFlush => Ok(()),
            // The block with the partition table is what is written last.
            Mutation::FlushOnlyAtEnd if last != Some((0, 4096)) => Ok(()),
            _ => self.disk.flush(),
        }
    }
}

/// All faults that cuts at every write find.
fn cut_everywhere(between: Option<Between>) -> Vec<Fault> {
    let packed = packed(image(IMAGE));
    let mut faults = Vec::new();
    for start in Start::ALL {
        let survey = Survey::new(&packed, start, LARGER, CompareMode::Auto);
        let survey = if let Some(between) = between { survey.with(between) } else { survey };
        for cut in 0..=survey.rehearse().changes() {
            for survival in [Survival::Nothing, Survival::Reordered(cut), Survival::Reordered(cut + 1000)] {
                faults.extend(survey.cut(cut, survival));
            }
        }
    }
    faults
}

fn found(faults: &[Fault], kind: &str) {
    let count = faults.iter().filter(|fault| fault.starts_with(kind)).count();
    println!("{count} times: {kind}");
    assert!(count > 0, "{kind:?} is not among {faults:?}");
}

#[test]
fn the_engine_as_it_is_has_no_fault() {
    assert_eq!(cut_everywhere(None), [""; 0]);
}

#[test]
fn a_missing_flush_is_found() {
    let faults = cut_everywhere(Some(|disk| Mutant::boxed(disk, Mutation::MissingFlush)));
    found(&faults, "a partition table over a disk that is not the image");
    found(&faults, "a proof for a disk that is not the image");
}

#[test]
fn a_flush_only_at_the_end_is_found() {
    let faults = cut_everywhere(Some(|disk| Mutant::boxed(disk, Mutation::FlushOnlyAtEnd)));
    found(&faults, "a partition table over a disk that is not the image");
    found(&faults, "the boot code of before over a disk that was written");
}

#[test]
fn a_skipped_tail_is_found() {
    let faults = cut_everywhere(Some(|disk| Mutant::boxed(disk, Mutation::TailSkipped)));
    found(&faults, "a proof for a disk that is not the image");
    found(&faults, "another proof");
}

#[test]
fn a_missing_verification_is_found_when_a_write_is_lost() {
    let packed = packed(image(IMAGE));
    for between in [None, Some((|disk| Mutant::boxed(disk, Mutation::NoVerify)) as Between)] {
        let survey = Survey::new(&packed, Start::Tenant, LARGER, CompareMode::Auto);
        let survey = if let Some(between) = between { survey.with(between) } else { survey };
        let lost = |lose| survey.lossy(&Faults { lose: Some(lose), ..Faults::default() });
        let faults: Vec<Fault> = (0..survey.rehearse().changes()).filter_map(|lose| lost(lose).err()).collect();
        match between {
            None => assert_eq!(faults, [""; 0]),
            Some(_) => found(&faults, "a false proof"),
        }
    }
}
