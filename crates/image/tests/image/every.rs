//! Every point at which a rewrite of a small disk can be cut off, fail or be lied to. A disk of one unit, so that one
//! thread does all the work and each case is the same at every run.

use cloud_machine_image::{CompareMode, ImageError};

use crate::{
    disk::{Faults, Kind, Lie, Operation},
    epoch::Survival,
    fixture::{LEAF, Packed, image, packed},
    survey::{Fault, NAMED, Start, Survey},
};

pub(crate) const IMAGE: usize = 6 * LEAF;
/// A disk with a tail behind the image.
pub(crate) const LARGER: usize = 9 * LEAF;

/// A disk that is mostly not named by the map.
const MAPPED: usize = 13 * LEAF;

/// Every start on a disk as large as the image and on a larger one; by itself the engine streams over a disk where all is
/// wrong and compares one where a part is, so the other way round is tried too; and a map that the host kept.
fn surveys(packed: &Packed) -> Vec<Survey<'_>> {
    let mut surveys = Vec::new();
    for start in Start::ALL {
        for size in [IMAGE, LARGER] {
            surveys.push(Survey::new(packed, start, size, CompareMode::Auto));
        }
    }
    surveys.push(Survey::new(packed, Start::Tenant, LARGER, CompareMode::Scan));
    surveys.push(Survey::new(packed, Start::Partly, LARGER, CompareMode::Stream));
    surveys.push(Survey::new(packed, Start::Named, MAPPED, CompareMode::Hinted { dirty: &[NAMED], seed: 1 }));
    surveys
}

/// What may be left of an epoch, with seeds of their own for each case.
fn survivals(case: u64) -> Vec<Survival> {
    let mut survivals = vec![Survival::Nothing, Survival::All];
    survivals.extend((0..4).map(|index| Survival::Torn(case * 64 + index)));
    survivals.extend((0..6).map(|index| Survival::Reordered(case * 64 + 32 + index)));
    survivals
}

fn none(faults: &[Fault]) {
    assert!(faults.is_empty(), "{} faults, the first: {:?}", faults.len(), faults.first());
}

#[test]
fn the_power_goes_at_every_write_and_flush() {
    let packed = packed(image(IMAGE));
    let mut cases = 0;
    for survey in surveys(&packed) {
        let changes = survey.rehearse().changes();
        assert!(changes > 5, "{} takes {changes} writes", survey.name());
        for cut in 0..=changes {
            for survival in survivals(cut) {
                none(&survey.cut(cut, survival));
                cases += 1;
            }
        }
    }
    println!("{cases} cuts of one run");
    assert!(cases > 400, "{cases}");
}

#[test]
fn the_power_goes_again_while_the_second_run_continues() {
    let packed = packed(image(IMAGE));
    let mut cases = 0;
    for survey in surveys(&packed) {
        let changes = survey.rehearse().changes();
        for first in 0..=changes {
            for second in 0..=changes {
                let seed = (first * 100 + second) * 2;
                let earlier = if (first + second) % 2 == 0 { Survival::All } else { Survival::Reordered(seed) };
                none(&survey.cuts(&[(first, earlier), (second, Survival::Reordered(seed + 1))]));
                cases += 1;
            }
        }
    }
    println!("{cases} pairs of cuts");
}

#[test]
fn every_operation_fails_once() {
    let packed = packed(image(IMAGE));
    for survey in surveys(&packed) {
        let operations = survey.rehearse().log().len() as u64;
        for fail in 0..operations {
            for power in [false, true] {
                hindered(&survey, &Faults { fail: Some(fail), ..Faults::default() }, power);
            }
        }
    }
}

#[test]
fn every_operation_fails_from_there_on() {
    let packed = packed(image(IMAGE));
    for survey in surveys(&packed) {
        let log = survey.rehearse().log();
        for kind in [None, Some(Kind::Read), Some(Kind::Write), Some(Kind::Zero), Some(Kind::Flush)] {
            let is = |one: &&Operation| kind.is_none_or(|kind| one.kind() == kind);
            for from in 0..log.iter().filter(is).count() as u64 {
                hindered(&survey, &Faults { broken_from: Some((kind, from)), ..Faults::default() }, from % 2 == 0);
            }
        }
    }
}

/// A run during which the disk fails is an error, leaves nothing bootable, and is continued by the next; with `power` the
/// power goes in between, otherwise the disk still has in its cache what was not flushed.
fn hindered(survey: &Survey<'_>, faults: &Faults, power: bool) {
    let disk = survey.disk();
    let case = format!("{}, {faults:?}, power cut: {power}", survey.name());
    match survey.run(&disk, faults.clone()) {
        Err(ImageError::Io { source, .. } | ImageError::Flush { source }) => {
            assert_eq!(source.to_string(), "injected", "{case}");
        }
        other => panic!("the disk failed, and the rewrite said {other:?}: {case}"),
    }
    let between = |when| {
        let fault = survey.between_runs(&survey.before, &disk.bytes(), disk.is_durably_changed());
        assert_eq!(fault, None, "{when}: {case}");
    };
    between("at once");
    if power {
        disk.lose_power(Survival::Reordered(disk.log().len() as u64));
        between("after a power cut too");
    }
    assert_eq!(survey.converge(&disk), [""; 0], "{case}");
}

#[test]
fn one_or_two_writes_are_lost() {
    let packed = packed(image(IMAGE));
    let (mut cases, mut mended) = (0, 0);
    for survey in surveys(&packed) {
        let changes = survey.rehearse().changes();
        for first in 0..changes {
            for second in first..changes {
                let faults = Faults { lose: Some(first), lose_too: Some(second), ..Faults::default() };
                mended += u64::from(survey.lossy(&faults).unwrap());
                cases += 1;
            }
        }
    }
    println!("{cases} lost writes and pairs of them, {mended} mended at once");
    assert!(mended * 2 < cases, "only zeros are written again");
}

#[test]
fn a_flush_says_yes_and_loses_its_epoch() {
    let packed = packed(image(IMAGE));
    for survey in surveys(&packed) {
        for flush in 0..survey.rehearse().flushes() {
            survey.lossy(&Faults { lie: Some((flush, Lie::Vanish)), ..Faults::default() }).unwrap();
        }
    }
}

/// What a disk loses later, although it said that it was durable and gave it back when it was read, no reading could
/// have found. The next run finds it.
#[test]
fn a_flush_says_yes_and_the_power_cut_tells_otherwise() {
    let packed = packed(image(IMAGE));
    for survey in surveys(&packed) {
        for flush in 0..survey.rehearse().flushes() {
            let disk = survey.disk();
            survey.run(&disk, Faults { lie: Some((flush, Lie::Volatile)), ..Faults::default() }).unwrap();
            disk.lose_power(Survival::Nothing);
            assert_eq!(survey.converge(&disk), [""; 0], "{}, flush {flush}", survey.name());
        }
    }
}
