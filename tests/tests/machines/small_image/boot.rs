//! Boots of the agent in QEMU: one that succeeds, and one for each input that must stop it. Each needs a reason on
//! the host's port, a machine that is off, and a disk that is not half made.

use std::{fs, process::Command};

use cloud_machine_plan::{Rejection, verify};
use cloud_machine_protocol::{Assurance, FORMAT_VERSION, ReportResult};
use cloud_machine_tests::{
    fixture::fixture,
    vm::{Boot, BootEnd},
};

/// Breaks a good boot, runs it, and expects a failure whose causes contain `text`.
fn refused(text: &str, break_it: impl FnOnce(&mut Boot)) -> BootEnd {
    let (fixture, _turn) = fixture();
    let mut boot = Boot::good(&fixture);
    break_it(&mut boot);
    let end = boot.run();
    let causes = end.causes();
    assert!(causes.contains(text), "expected {text:?} in {causes:?}\n{}", end.console);
    assert!(end.powered_off, "the machine must be off\n{}", end.console);
    end
}

/// As above, and the system disk was not touched.
fn refused_untouched(text: &str, break_it: impl FnOnce(&mut Boot)) {
    let (before, end) = {
        let (fixture, _turn) = fixture();
        let mut boot = Boot::good(&fixture);
        break_it(&mut boot);
        let before = boot.system.clone();
        (before, boot.run())
    };
    let causes = end.causes();
    assert!(causes.contains(text), "expected {text:?} in {causes:?}\n{}", end.console);
    assert!(end.powered_off, "the machine must be off\n{}", end.console);
    assert!(end.system == before, "the system disk was written");
}

#[test]
fn a_good_boot_is_verified_and_a_foreign_nonce_is_not() {
    let (fixture, _turn) = fixture();
    let mut boot = Boot::good(&fixture);
    let end = boot.run();
    let report = end.report.as_ref().unwrap_or_else(|| panic!("no report\n{}", end.console));
    assert_eq!(report.result, ReportResult::Done, "{}", end.console);
    let verdict = verify(&end.expected, report).unwrap_or_else(|rejection| panic!("{rejection}\n{report:#?}"));
    assert_eq!(verdict.assurance, Assurance::HostRooted);
    assert!(report.changed[0].count > 0, "the disk was dirty");

    // The gaps are what the image says; the root filesystem has been mounted since.
    let raw = fixture.raw();
    assert!(end.system[..1 << 20] == raw[..1 << 20], "boot head and first gap");
    assert!(end.system[21 << 20..] == raw[21 << 20..], "last gap and backup table");

    let mut foreign = end.expected.clone();
    foreign.request.nonce = "00".repeat(32).parse().unwrap();
    assert!(matches!(verify(&foreign, report), Err(Rejection::Nonce { .. })));
    // The host refused: the machine is off and its system never ran.
    assert!(end.powered_off);
    assert!(end.console.contains("the host refused the report"), "{}", end.console);
}

/// `zstd -dc` unpacks the packed image, and `b3sum` prints its digest.
#[test]
fn plain_tools_understand_the_packed_image() {
    let (fixture, _turn) = fixture();
    let pipe = "zstd -dc \"$1\" | tee \"$2\" | b3sum --no-names";
    let raw = tempfile::NamedTempFile::new().unwrap();
    let packed = fixture.image().packed();
    let mut shell = std::process::Command::new("bash");
    let output = shell.args(["-euo", "pipefail", "-c", pipe, "-"]).arg(&packed).arg(raw.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(std::fs::read(raw.path()).unwrap() == fixture.raw(), "zstd gives the raw image");
    let digest = Boot::good(&fixture).parsed_manifest().digest();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), digest.hex());
}

#[test]
fn no_volume() {
    refused_untouched("no device has a volume labelled CLOUD-INIT", |boot| boot.volumes = 0);
}

#[test]
fn two_volumes_with_the_pin() {
    refused_untouched("two volumes match the pin", |boot| boot.volumes = 2);
}

#[test]
fn a_volume_that_is_not_the_pinned_one() {
    refused_untouched("no volume labelled CLOUD-INIT matches the pin", |boot| {
        boot.after_pin = |bytes| {
            if let Some(last) = bytes.last_mut() {
                *last ^= 1;
            }
        };
    });
}

#[test]
fn a_truncated_volume() {
    refused_untouched("no volume labelled CLOUD-INIT matches the pin", |boot| {
        boot.after_pin = |bytes| bytes.truncate(bytes.len() / 2);
    });
}

#[test]
fn a_volume_whose_device_cannot_be_read() {
    refused_untouched("cannot read /dev/vdb", |boot| {
        boot.fault = Some(("cm-volume", blkdebug("read_aio", true)));
    });
}

#[test]
fn a_volume_with_the_pin_and_a_broken_filesystem() {
    refused_untouched("the volume has no file cloud-machine/request.json", |boot| {
        // The label's entry in the root folder stays, everything behind it is gone.
        boot.before_pin = |bytes| {
            let label = b"CLOUD-INIT ";
            let at = bytes.windows(label.len()).rposition(|window| window == label).expect("the label");
            bytes.iter_mut().skip(at + 32).for_each(|byte| *byte = 0);
        };
    });
}

#[test]
fn a_document_with_an_error() {
    refused_untouched("the configuration is refused", |boot| {
        boot.user_data = "cloud-machine:\n  resources:\n    disks:\n      system: {boot-partition: ja}\n".to_owned();
    });
}

#[test]
fn a_request_of_an_unknown_version() {
    let (other, known) = (FORMAT_VERSION + 1, FORMAT_VERSION);
    refused_untouched(&format!("format version {other}, this agent reads version {known}"), |boot| {
        boot.request["version"] = other.into();
    });
}

#[test]
fn a_deadline_that_has_passed() {
    refused("the request's deadline has passed", |boot| boot.request["deadline_seconds"] = 0.into());
}

#[test]
fn an_image_with_another_digest_than_the_requested_one() {
    refused_untouched("the plan is refused", |boot| {
        boot.request["image"]["digest"] = format!("blake3:{}", "11".repeat(32)).into();
    });
}

#[test]
fn an_image_of_a_lower_generation_than_the_request_allows() {
    refused_untouched("the manifest is of generation 1 of the image, the request allows none below 2", |boot| {
        boot.request["image"]["minimum_generation"] = 2.into();
    });
}

#[test]
fn an_undeclared_disk() {
    refused_untouched("the plan is refused", |boot| boot.more.push(("stranger".to_owned(), vec![0; 1 << 20])));
}

#[test]
fn a_system_disk_that_is_smaller_than_the_image() {
    refused_untouched("the plan is refused", |boot| boot.system.truncate(20 << 20));
}

#[test]
fn an_image_source_that_is_corrupt_in_one_block() {
    let end = refused("cannot reimage /dev/vda", |boot| {
        let middle = boot.packed.len() / 3;
        boot.packed[middle] ^= 0x40;
        // Every block differs, so the corrupt one is fetched.
        boot.system.fill(0x55);
    });
    assert!(!end.is_bootable(), "a half made disk must not boot");
}

#[test]
fn an_image_source_that_is_truncated() {
    let end = refused("cannot reimage /dev/vda", |boot| {
        let half = boot.packed.len() / 2 / 4096 * 4096;
        boot.packed.truncate(half);
        boot.system.fill(0x55);
    });
    assert!(!end.is_bootable(), "a half made disk must not boot");
}

#[test]
fn an_error_while_writing() {
    let end = refused("cannot reimage /dev/vda", |boot| {
        boot.fault = Some(("system", blkdebug("write_aio", false)));
        boot.system.fill(0x55);
    });
    assert!(!end.is_bootable(), "a half made disk must not boot");
}

/// A document with a data disk besides the system disk.
fn with_data(disk: &str) -> String {
    format!(
        "#cloud-init\ncloud-machine:\n  resources:\n    disks:\n      system: {{boot-partition: true}}\n      data: {disk}\n"
    )
}

#[test]
fn an_error_while_wiping_a_data_disk() {
    let end = refused("cannot wipe /dev/vd", |boot| {
        boot.user_data = with_data("{}");
        boot.more.push(("data".to_owned(), vec![0x55; 16 << 20]));
        // Neither the command for zeros nor writes, by which the kernel would make up for it.
        let error =
            |kind| format!(r#"{{"event":"none","iotype":"{kind}","errno":5,"immediately":false,"sector":20480}}"#);
        let errors = [error("write"), error("write-zeroes")].join(",");
        let node = format!(
            r#"{{"driver":"raw","file":{{"driver":"blkdebug","inject-error":[{errors}],"image":{{"driver":"file","filename":"FILE"}}}}}}"#
        );
        boot.fault = Some(("data", node));
        boot.system.fill(0x55);
    });
    assert!(!end.is_bootable(), "the system disk comes after the others");
}

#[test]
fn a_disk_that_its_bus_finds_late_is_waited_for() {
    let (fixture, _turn) = fixture();
    let mut boot = Boot::good(&fixture);
    boot.user_data = with_data("{on-reimage: keep}");
    boot.late = Some(("data".to_owned(), vec![0x55; 1 << 20]));
    let end = boot.run();
    let report = end.report.as_ref().unwrap_or_else(|| panic!("no report\n{}", end.console));
    assert_eq!(report.result, ReportResult::Done, "{}", end.console);
    let record = report.devices.iter().find(|record| record.disk.serial.as_deref() == Some("data")).expect("the disk");
    assert_eq!((record.disk.name.as_str(), record.method.to_string().as_str()), ("sdb", "kept"));
}

#[test]
fn a_disk_that_never_comes_is_named_with_what_is_there() {
    refused_untouched("no disk matches serial:data for the disk `data`", |boot| {
        boot.user_data = with_data("{on-reimage: keep}");
    });
}

#[test]
fn a_kernel_module_and_programs_that_the_initramfs_has_not() {
    let absent = "there is no kernel module nothing in the initramfs: `image pack --kernel-module nothing` brings it";
    refused_untouched(absent, |boot| {
        boot.user_data = with_data("{on-reimage: keep, filesystem: {type: ext4, kernel-module: nothing}}");
        boot.more.push(("data".to_owned(), ext4()));
    });
    refused_untouched(
        "there is no /usr/sbin/zpool in the initramfs: `image pack --programs` brings programs",
        |boot| {
            boot.user_data = with_data("{filesystem: zfs}");
            boot.more.push(("data".to_owned(), vec![0x55; 1 << 20]));
        },
    );
}

/// An empty filesystem.
fn ext4() -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let made = Command::new("mkfs.ext4").arg("-q").arg(file.path()).arg("4M").status().expect("install e2fsprogs");
    assert!(made.success());
    fs::read(file.path()).expect("the filesystem")
}

#[test]
fn killed_in_the_middle_of_the_rewrite_and_started_again() {
    let (fixture, _turn) = fixture();
    let mut boot = Boot::good(&fixture);
    boot.system.fill(0x55);
    // Slow enough for the kill to come in time on a busy host.
    boot.write_limit = 3 << 20;
    let half = |event: &cloud_machine_protocol::Event| match (event.done, event.total) {
        (Some(done), Some(total)) => done * 3 > total && done < total,
        _ => false,
    };
    let killed = boot.run_until(half);
    assert!(killed.report.is_none(), "killed before the report");
    assert!(!killed.is_bootable(), "a half made disk must not boot");
    let untouched = &killed.system[22 << 20..23 << 20];
    assert!(untouched.iter().all(|byte| *byte == 0x55), "the rewrite was finished");

    boot.write_limit = 0;
    let end = boot.run();
    let report = end.report.as_ref().unwrap_or_else(|| panic!("no report\n{}", end.console));
    let verdict = verify(&end.expected, report).unwrap_or_else(|rejection| panic!("{rejection}\n{report:#?}"));
    assert_eq!(verdict.assurance, Assurance::HostRooted);
    assert!(end.is_bootable());
}

/// A block node that fails: every access, or writes from the middle of the disk on.
fn blkdebug(event: &str, read_only: bool) -> String {
    let sector = if read_only { "" } else { r#","sector":20480"# };
    format!(
        r#"{{"driver":"raw","read-only":{read_only},"file":{{"driver":"blkdebug","read-only":{read_only},"inject-error":[{{"event":"{event}","errno":5,"immediately":false{sector}}}],"image":{{"driver":"file","filename":"FILE","read-only":{read_only}}}}}}}"#
    )
}
