//! Short cuts of the host in real boots: a fresh overlay and a dirty map, each believed as far as it can be. A wrong one
//! needs a machine that does more than it was asked, or is off with a reason.

use std::{fs, path::Path, process::Command};

use cloud_machine_driver::qemu::disk::{DirtyMap, mapped_node, read_map};
use cloud_machine_plan::{Verdict, verify};
use cloud_machine_protocol::{Assurance, Extent, Outcome, Report, ReportResult, Tier};
use cloud_machine_tests::{
    fixture::fixture,
    vm::{Boot, BootEnd, Form},
};

const LEAF: u64 = 64 << 10;

fn accepted(end: &BootEnd) -> (&Report, Verdict) {
    let report = end.report.as_ref().unwrap_or_else(|| panic!("no report\n{}", end.console));
    assert_eq!(report.result, ReportResult::Done, "{}", end.console);
    let verdict = verify(&end.expected, report).unwrap_or_else(|rejection| panic!("{rejection}\n{report:#?}"));
    assert_eq!(verdict.assurance, Assurance::HostRooted);
    (report, verdict)
}

/// What a job writes through a machine's block node; the commands are those of `qemu-io`.
fn job(end: &BootEnd, commands: &[&str]) {
    let mut qemu_io = Command::new("qemu-io");
    qemu_io.arg(format!("json:{}", mapped_node(&end.map(), &end.file).expect("a node")));
    for command in commands {
        qemu_io.args(["-c", command]);
    }
    let output = qemu_io.output().expect("install the package qemu-utils");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn dirty(end: &BootEnd) -> DirtyMap {
    read_map(&end.map(), &end.file, end.system.len() as u64).expect("a map")
}

fn extents(end: &BootEnd) -> Vec<Extent> {
    match dirty(end) {
        DirtyMap::Extents(extents) => extents,
        other => panic!("the map is {other:?}"),
    }
}

fn is_at(path: &Path, needle: &[u8], offset: usize) -> bool {
    fs::read(path).expect("the disk")[offset..].starts_with(needle)
}

#[test]
fn a_fresh_overlay_is_accepted_and_the_golden_disk_below_stays_as_it_was() {
    let (fixture, _turn) = fixture();
    let mut boot = Boot::good(&fixture);
    boot.ask(Some(Tier::Overlay));
    (boot.form, boot.system) = (Form::Overlay, fixture.raw());
    let end = boot.run();
    let (report, verdict) = accepted(&end);
    assert_eq!(verdict.tier, Some(Tier::Overlay));
    assert!(verdict.does_not_cover().contains("golden disk"), "{}", verdict.does_not_cover());
    let evidence = &report.disks[0];
    assert!((1..1 << 20).contains(&evidence.read_bytes) && evidence.image_root.is_none(), "{evidence:?}");
    let step = report.steps.iter().find(|step| step.id.0 == "reimage-system").expect("the step");
    assert_eq!((step.outcome.clone(), step.written_bytes), (Outcome::Unchanged, 0));
    // The root was mounted and the identity written, both above it.
    assert!(end.system == fixture.raw(), "the golden disk was written");
}

#[test]
fn an_overlay_that_differs_is_refused_by_the_agent() {
    let (fixture, _turn) = fixture();
    let mut boot = Boot::good(&fixture);
    boot.ask(Some(Tier::Overlay));
    (boot.form, boot.system) = (Form::Overlay, fixture.raw());
    // Every leaf but those of the boot head, so that each sample meets one.
    let last = boot.system.len() - LEAF as usize;
    boot.system[LEAF as usize..last].iter_mut().step_by(LEAF as usize).for_each(|byte| *byte ^= 1);
    let end = boot.run();
    let causes = end.causes();
    assert!(causes.contains("overlay") && causes.contains("differ"), "{causes}");
    assert!(end.powered_off, "{}", end.console);
}

#[test]
fn a_map_of_all_writes_is_enough_to_take_back_what_a_job_did() {
    let (fixture, _turn) = fixture();
    let mut boot = Boot::good(&fixture);
    boot.form = Form::Mapped;
    let first = boot.run();
    assert_eq!(accepted(&first).1.tier, Some(Tier::Scan));

    job(&first, &["write -P 0x66 5M 4k", "write -P 0x66 22M 128k", "discard 10M 1M", "write -P 0x66 0 512"]);
    assert!(is_at(&first.file, &[0x66; 512], 5 << 20));
    let map = extents(&first);
    let named =
        |offset: u64| map.iter().any(|extent| extent.offset <= offset && offset < extent.offset + extent.length);
    assert!([0, 5 << 20, 22 << 20, (22 << 20) + LEAF, 10 << 20].into_iter().all(named), "{map:?}");
    let bytes: u64 = map.iter().map(|extent| extent.length).sum();
    assert!(bytes < first.system.len() as u64, "the agent's own writes and the job's, not the whole disk: {map:?}");

    boot.ask(Some(Tier::Hinted));
    boot.system = fs::read(&first.file).expect("the disk");
    boot.dirty = Some(map);
    let second = boot.run();
    let (report, verdict) = accepted(&second);
    assert_eq!(verdict.tier, Some(Tier::Hinted));
    assert!(verdict.does_not_cover().contains("the host's own map"), "{}", verdict.does_not_cover());
    assert!(report.disks[0].read_bytes < report.disks[0].disk_size, "{:?}", report.disks[0]);
    assert!(report.changed[0].bytes >= 4 * LEAF, "{:?}", report.changed[0]);
    let raw = fixture.raw();
    assert!(second.system[..1 << 20] == raw[..1 << 20] && second.system[21 << 20..] == raw[21 << 20..]);
    // Nothing but the identity is left of two machines' work: the filesystem's data is the image's.
    assert!(
        second.system[5 << 20..6 << 20] == raw[5 << 20..6 << 20]
            && second.system[10 << 20..11 << 20] == raw[10 << 20..11 << 20]
    );
}

#[test]
fn a_map_that_is_wrong_makes_the_machine_look_at_everything() {
    let (fixture, _turn) = fixture();
    let mut boot = Boot::good(&fixture);
    boot.ask(Some(Tier::Hinted));
    boot.form = Form::Mapped;
    boot.system = fixture.raw();
    let last = boot.system.len() - LEAF as usize;
    boot.system[LEAF as usize..last].iter_mut().step_by(LEAF as usize).for_each(|byte| *byte ^= 1);
    boot.dirty = Some(vec![Extent { offset: 2 << 20, length: LEAF }]);
    let wrong = boot.system.clone();
    // Killed in the middle, its map is none.
    let killed = boot.run_until(|event| event.done.is_some());
    assert!(killed.report.is_none());
    assert_eq!(dirty(&killed), DirtyMap::Inconsistent);

    boot.system = wrong;
    let end = boot.run();
    let (report, verdict) = accepted(&end);
    assert_eq!(verdict.tier, Some(Tier::Scan));
    assert!(verdict.checked.iter().any(|line| line.contains("every byte read back")), "{:?}", verdict.checked);
    assert_eq!(report.disks[0].read_bytes, report.disks[0].disk_size);
    assert!(end.is_bootable());
}

#[test]
fn a_hinted_request_without_a_map_is_refused() {
    let (fixture, _turn) = fixture();
    let mut boot = Boot::good(&fixture);
    boot.ask(Some(Tier::Hinted));
    let before = boot.system.clone();
    let end = boot.run();
    assert!(end.causes().contains("cloud-machine/dirty.json"), "{}", end.causes());
    assert!(end.powered_off && end.system == before, "{}", end.console);
}
