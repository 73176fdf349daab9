//! `image bake` with a program in the place of QEMU: what becomes of the image however the machine ends. What a real machine does is
//! tried with the machines.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::Path,
    time::{Duration, Instant},
};

use crate::Workspace;

/// Writes a byte to the disk and says `$SAID` on the second serial port, then does `$THEN`.
const QEMU: &str = r#"#!/bin/sh
for word; do
    case $word in file=*,format=raw,if=virtio*) disk=${word#file=}; disk=${disk%%,*} ;; esac
    case $word in file:*) words=${word#file:} ;; esac
done
printf baked | dd of="$disk" bs=1 seek=3000000 conv=notrunc status=none
. ./then
"#;

impl Workspace {
    /// A workspace whose QEMU does `then`, with a QCOW2 image of the same disk.
    fn with_qemu(then: &str) -> Self {
        let workspace = Self::new();
        workspace.qemu(then);
        workspace
            .shell("qemu-img convert -O qcow2 disk.raw disk.qcow2; cp disk.raw before.raw; cp disk.qcow2 before.qcow2");
        workspace
    }

    fn qemu(&self, then: &str) {
        let program = self.folder.join("qemu-system-x86_64");
        fs::write(&program, QEMU).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(self.folder.join("then"), then).unwrap();
    }
}

const BAKE: &str = "cloud-machine image bake --quiet --accelerator tcg --kernel vmlinuz --modules modules";
const WELL: &str =
    r#"printf 'root vda1\r\ngenerator dracut\r\npolicy default\r\nmade 7 /boot/initrd\r\ndone\r\n' >"$words""#;

#[test]
fn a_machine_that_ends_well_changes_the_image_in_its_own_form() {
    let workspace = Workspace::with_qemu(WELL);
    for form in ["raw", "qcow2"] {
        let said = workspace.shell(&format!("chmod 640 disk.{form}; {BAKE} disk.{form}; stat -c %a disk.{form}"));
        for line in ["root         vda1\n", "generator    dracut\n", "initramfs    /boot/initrd (7 bytes)\n", "\n640\n"]
        {
            assert!(said.contains(line), "{said}");
        }
        workspace.shell(&format!(
            "qemu-img info -f {form} disk.{form} | grep -q 'file format: {form}'
            qemu-img convert -f {form} -O raw disk.{form} after.raw; ! cmp -s before.raw after.raw
            printf baked | cmp -n 5 -i 0:3000000 - after.raw
            dd if=before.raw of=after.raw bs=1 skip=3000000 seek=3000000 count=5 conv=notrunc status=none; cmp before.raw after.raw"
        ));
    }
    workspace.shell(&format!("{BAKE} before.qcow2 --to new.qcow2; qemu-img compare -q disk.qcow2 new.qcow2"));
    workspace.refused(&format!("{BAKE} before.qcow2 --to new.qcow2"), 3, &["new.qcow2 is there already"]);
}

#[test]
fn an_image_is_as_it_was_when_the_machine_fails() {
    let workspace = Workspace::with_qemu("");
    let cases = [
        ("", 1, "the machine with the image ended before it was done", "its console ends with"),
        ("echo no such accelerator >&2; exit 1", 1, "no such accelerator", ""),
        (
            "echo 'failed no-root vda1 holds vfat' >\"$words\"",
            1,
            "no root was found: vda1 holds vfat",
            "--root-partition",
        ),
        ("echo 'failed no-root vda1 holds crypto_LUKS' >\"$words\"", 1, "vda1 holds crypto_LUKS", "an encrypted root"),
        ("echo 'failed several-roots vda1, vda2' >\"$words\"", 1, "have a root: vda1, vda2", "--root-partition NUMBER"),
        (
            "printf 'log one\\nlog two\\nfailed generator dracut\\n' >\"$words\"",
            1,
            "it said last:\none\ntwo",
            "as it was",
        ),
        ("printf 'failed full /boot\\ndone\\n' >\"$words\"", 1, "filesystem is full: /boot", "larger"),
        ("sleep 60", 6, "did not end within 1 s", "--timeout SECONDS"),
    ];
    for (then, code, error, hint) in cases {
        workspace.qemu(then);
        for form in ["raw", "qcow2"] {
            workspace.refused(&format!("{BAKE} --timeout 1 disk.{form}"), code, &[error, hint]);
        }
    }
    workspace.shell("cmp disk.raw before.raw; cmp disk.qcow2 before.qcow2; test \"$(ls -A | grep -c baked-)\" = 0");
}

#[test]
fn what_cannot_be_baked_is_refused_before_a_machine_is_started() {
    let workspace = Workspace::with_qemu("touch started");
    let cases = [
        ("disk.raw --policy none.yaml", 4, "cannot read none.yaml"),
        ("none.raw", 4, "cannot open none.raw"),
        ("/dev/null", 1, "/dev/null is a device or a pipe"),
        ("disk.qcow2 --to vmlinuz", 3, "vmlinuz is there already"),
        ("disk.raw --stager none", 4, "cannot read none"),
        ("disk.raw --stager vmlinuz", 3, "vmlinuz is not the program cloud-machine-recovery of this project"),
        ("disk.raw --service vmlinuz", 3, "vmlinuz is not the service cloud-machine-agentd of this project"),
    ];
    for (arguments, code, error) in cases {
        workspace.refused(&format!("{BAKE} {arguments}"), code, &[error]);
    }
    workspace.shell("echo 'filesystem: ext4' >policy.yaml; qemu-img create -q -f qcow2 -F raw -b disk.raw over.qcow2");
    workspace.refused(&format!("{BAKE} disk.raw --policy policy.yaml"), 3, &["filesystem", "agent-policy.md"]);
    workspace.refused(&format!("{BAKE} over.qcow2"), 1, &["it has a backing file"]);
    workspace.refused(
        "cloud-machine image bake --accelerator tcg disk.raw",
        1,
        &["--kernel FILE and --modules FOLDER"],
    );
    workspace.shell("head -c 3000000 /dev/zero >noise.raw");
    workspace.refused(
        "cloud-machine image bake --accelerator tcg noise.raw",
        1,
        &["cannot tell what noise.raw holds", "a disk image with a GPT is wanted"],
    );
    // What is given is looked at before anything is copied.
    let called = workspace
        .call(&format!("{} disk.raw", BAKE.replace("--quiet", "").replace("--modules modules", "--modules .")));
    assert!(called.code == 4 && called.errors.contains("./modules.dep"), "{}", called.errors);
    assert!(!called.errors.contains("copy"), "{}", called.errors);
    // As a machine of QEMU's that has the disk.
    let image = fs::OpenOptions::new().write(true).open(workspace.folder.join("disk.raw")).unwrap();
    assert!(cloud_machine_disk::lock::lock(&image).unwrap());
    workspace.refused(&format!("{BAKE} disk.raw"), 8, &["disk.raw is in use"]);
    assert!(!workspace.exists("started"));
}

#[test]
fn a_signal_leaves_the_image_as_it_was_and_no_process() {
    for signal in [15, 9] {
        let workspace = Workspace::with_qemu("echo $$ >pid.new; mv pid.new pid; exec sleep 300");
        let mut command = workspace.script(&format!("exec {BAKE} disk.raw"));
        let mut running = command.spawn().unwrap();
        wait_until("the machine is not started", || workspace.exists("pid"));
        workspace.shell(&format!("kill -{signal} {}", running.id()));
        let status = running.wait().unwrap();
        assert_eq!((status.signal(), status.code()), (Some(signal), None));
        workspace.shell("cmp disk.raw before.raw; test \"$(ls -A | grep -c baked-)\" = 0");
        let pid = fs::read_to_string(workspace.folder.join("pid")).unwrap();
        // What nobody has reaped yet has no command line.
        let is_gone = || fs::read(format!("/proc/{}/cmdline", pid.trim())).is_ok_and(|words| words.is_empty());
        let is_reaped = || !Path::new("/proc").join(pid.trim()).exists();
        wait_until("the machine is left behind", || is_reaped() || is_gone());
    }
}

fn wait_until(otherwise: &str, happened: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !happened() {
        assert!(Instant::now() < deadline, "{otherwise}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
