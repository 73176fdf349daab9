//! The agent on a rescue system, which somebody else booted: nothing is attached, all comes over the connection, and what the
//! system there uses is not written to.

use cloud_machine_plan::{Rejection, verify};
use cloud_machine_protocol::{ImageSource, ReportResult, Role};
use cloud_machine_tests::{
    fixture::fixture,
    vm::{Boot, Rescue},
};

#[test]
fn only_what_a_job_changed_crosses_the_connection_and_the_disk_is_left_whole() {
    let (fixture, _turn) = fixture();
    let mut boot = Boot::on_rescue_system(&fixture, Rescue { go: true, ..Rescue::default() });
    boot.system = fixture.raw();
    for at in [100, 100 * 512, 7 << 20, 23 << 20] {
        boot.system[at] ^= 0xff;
    }
    let end = boot.run();
    let report = end.report.as_ref().unwrap_or_else(|| panic!("no report\n{}", end.console));
    assert_eq!(report.result, ReportResult::Done, "{}", end.console);
    let raw = fixture.raw();
    assert!(end.system[..1 << 20] == raw[..1 << 20], "the boot head is not that of the image");
    assert!(end.system[21 << 20..] == raw[21 << 20..], "the end is not that of the image");
    assert!(report.devices.iter().all(|device| !matches!(device.role, Role::ImageSource | Role::Volume)));
    assert!(end.served > 0 && end.served < 6 << 20, "{} bytes were asked for", end.served);
    // Accepted: the root is flushed and nobody has it mounted any more.
    assert!(end.console.contains("the agent ended with 0, 0 mounts of it are left"), "{}", end.console);

    verify(&end.expected, report).unwrap_or_else(|rejection| panic!("{rejection}\n{report:#?}"));
    let mut attached = end.expected.clone();
    attached.volume_attached = true;
    assert!(matches!(verify(&attached, report), Err(Rejection::Expectation { .. })));
    let mut elsewhere = end.expected.clone();
    elsewhere.request.image.source = ImageSource::Device("serial:cm-image".parse().unwrap());
    assert!(verify(&elsewhere, report).is_err());
}

#[test]
fn a_connection_that_is_lost_loses_nothing() {
    let (fixture, _turn) = fixture();
    let hang_up = |event: &cloud_machine_protocol::Event| event.done.is_some_and(|done| done > 12 << 20);
    let rescue = Rescue { hang_up: Some(hang_up), go: true, ..Rescue::default() };
    let mut boot = Boot::on_rescue_system(&fixture, rescue);
    let end = boot.run();
    let report = end.report.as_ref().unwrap_or_else(|| panic!("no report\n{}", end.console));
    assert_eq!(report.result, ReportResult::Done, "{}", end.console);
    assert!(end.console.contains("the connection to the host is lost"), "{}", end.console);
    verify(&end.expected, report).unwrap_or_else(|rejection| panic!("{rejection}\n{report:#?}"));
}

#[test]
fn a_disk_that_the_rescue_system_uses_is_not_written_to() {
    let (fixture, _turn) = fixture();
    let mut boot = Boot::on_rescue_system(&fixture, Rescue { hold: Some("vda1"), ..Rescue::default() });
    boot.system = fixture.raw();
    let end = boot.run();
    assert!(end.causes().contains("/dev/vda is in use: vda1 is mounted at /held"), "{}", end.causes());
    assert!(end.system == fixture.raw(), "the disk was written to");
}

#[test]
fn what_only_the_agents_own_initramfs_does_is_refused_before_the_first_step() {
    let (fixture, _turn) = fixture();
    let mut boot = Boot::on_rescue_system(&fixture, Rescue::default());
    boot.user_data =
        "#cloud-init\ncloud-machine:\n  resources:\n    disks:\n      system: {boot-partition: true}\n      \
                      data: {filesystem: ext4, mountpoint: /data}\n"
            .to_owned();
    boot.more.push(("data".to_owned(), vec![0; 64 << 20]));
    let before = boot.system.clone();
    let end = boot.run();
    assert!(end.causes().contains("cannot be done on a rescue system"), "{}", end.causes());
    assert!(end.system == before, "the disk was written to");
}
