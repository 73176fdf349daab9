//! The boot files of a recovery partition in machines: disks on which nothing is but those and the boot head that leads to them.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    time::Duration,
};

use cloud_machine_packing::recovery::{Area, BootArea, Parts, Signer, bios, uefi};
use cloud_machine_protocol::{ALIVE, LOG_PREFIX, PROBE_ARGUMENT};
use cloud_machine_tests::plain_machine::{PlainMachine, Start};

use crate::{PACK, Workspace};

/// Of a disk of 128 MiB, the second half, up to the backup of its table.
const AREA: Area =
    Area { offset: 64 << 20, room: 63 << 20, sector_size: 512, counted: 127 << 20, before: (127 << 20) + 512 };
const TABLE: &str = "label: gpt\\nstart=131072, size=129024, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B\\n";
/// Under the certificate of this key the firmware of package ovmf starts programs.
const KEY: &str = "/usr/share/ovmf/PkKek-1-snakeoil";
/// Without a screen. Why this processor: docs/rationale.md.
const QEMU: &str = "timeout 240 qemu-system-x86_64 -accel tcg -cpu qemu64,-cx16,-svm -m 256 -nodefaults -no-user-config -display none \
    -no-reboot -serial file:console";

/// Calls `make` with the kernel and initramfs of an image that was packed, and puts what it made on a disk of its own.
fn disk(workspace: &Workspace, name: &str, make: impl FnOnce(&Parts<'_>) -> BootArea) {
    let image = workspace.program.state().join("images/demo");
    let (kernel, initramfs) = (fs::read(image.join("kernel")).unwrap(), fs::read(image.join("initramfs")).unwrap());
    let command_line = &line();
    let made = make(&Parts { kernel: &kernel, initramfs: &initramfs, command_line });
    workspace.shell(&format!("truncate -s 128M {name}; printf '{TABLE}' | sfdisk -q {name}"));
    let file = OpenOptions::new().write(true).open(workspace.folder.join(name)).unwrap();
    file.write_all_at(&made.bytes, AREA.offset).unwrap();
    if let Some(code) = made.boot_code {
        file.write_all_at(&code, 0).unwrap();
    }
}

fn line() -> String {
    format!("console=ttyS0 panic=-1 a#b;c={{d}} {PROBE_ARGUMENT}")
}

/// Runs a machine until its agent has switched it off.
fn console(workspace: &Workspace, devices: &str) -> String {
    workspace.shell(&format!("{QEMU} {devices}"));
    let console = fs::read(workspace.folder.join("console")).unwrap();
    let console = String::from_utf8_lossy(&console).into_owned();
    assert!(console.contains(&format!("{LOG_PREFIX}{ALIVE}")), "{console}");
    console
}

#[test]
fn a_bios_starts_the_recovery_from_the_disk_that_it_boots() {
    let workspace = Workspace::new();
    workspace.shell(&format!("{PACK} disk.raw; truncate -s 32M empty"));
    disk(&workspace, "recovery", |parts| bios(parts, AREA).unwrap());
    let console = console(
        &workspace,
        "-machine q35 -drive if=none,id=empty,format=raw,file=empty -device virtio-blk-pci,drive=empty \
         -drive if=none,id=disk,format=raw,file=recovery -device virtio-blk-pci,drive=disk,bootindex=0",
    );
    let start = console.split("Command line: BOOT_IMAGE=(hd0)").nth(1).expect("GRUB starts it");
    assert!(start.lines().next().unwrap().ends_with(&format!(" {}", line())), "{console}");
}

#[test]
fn firmware_with_secure_boot_starts_the_recovery_that_is_signed() {
    let workspace = Workspace::new();
    workspace.shell(&format!(
        "{PACK} disk.raw; openssl pkey -in {KEY}.key -passin pass:snakeoil -out key
         cp /usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd variables"
    ));
    let (key, certificate) = (workspace.folder.join("key"), format!("{KEY}.pem"));
    let signer = Signer { key: &key, certificate: certificate.as_ref() };
    disk(&workspace, "recovery", |parts| uefi(parts, Some(signer), AREA).unwrap());
    let console = console(
        &workspace,
        "-machine q35,smm=on -global driver=cfi.pflash01,property=secure,value=on \
         -drive if=pflash,unit=0,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.secboot.fd \
         -drive if=pflash,unit=1,format=raw,file=variables \
         -drive if=none,id=disk,format=raw,file=recovery -device virtio-blk-pci,drive=disk",
    );
    assert!(console.contains("UEFI Secure Boot is enabled"), "{console}");
    assert!(console.contains(&format!("Command line: {}", line())), "{console}");
}

/// A boot sector that says `letter` over the first serial port and resets the machine (port 0x64: the keyboard controller).
fn says(letter: u8) -> Vec<u8> {
    let code = [0xfa, 0xba, 0xf8, 0x03, 0xb0, letter, 0xee, 0xb0, 0xfe, 0xe6, 0x64, 0xf4];
    let mut sector = vec![0; 512];
    sector[..code.len()].copy_from_slice(&code);
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

#[test]
fn a_recovery_that_never_comes_up_gives_way_to_the_system_before_or_says_why_it_cannot() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
    file.set_len(128 << 20).unwrap();
    // The header of a kernel; what starts it is a sector in GRUB's place.
    let mut kernel = vec![7; 1300];
    for (at, part) in [(0x202, &b"HdrS"[..]), (0x206, &[0x0f, 2]), (0x238, &[0xff, 7, 0, 0])] {
        kernel[at..at + part.len()].copy_from_slice(part);
    }
    let initramfs = [&b"070701"[..], &[b'0'; 1000]].concat();
    let made = bios(&Parts { kernel: &kernel, initramfs: &initramfs, command_line: "quiet" }, AREA).unwrap();
    file.write_all_at(&made.boot_code.unwrap(), 0).unwrap();
    file.write_all_at(&[0x55, 0xaa], 510).unwrap();
    file.write_all_at(&says(b'R'), AREA.offset + made.bytes.len() as u64 - 512).unwrap();
    file.write_all_at(&says(b'S'), AREA.before).unwrap();
    let count =
        |count: u8, begun: u8| file.write_all_at(&[b'C', b'M', b'R', b'S', count, begun], AREA.counted).unwrap();
    let counted = || {
        let mut block = [0; 512];
        file.read_exact_at(&mut block, AREA.counted).unwrap();
        assert_eq!(block[6..], [0; 506]);
        [block[4], block[5]]
    };
    let machine = || {
        let mut machine = PlainMachine { start: Start::Bios, arguments: vec!["-boot".into(), "c".into()] };
        machine.disk(&path, "raw");
        machine.start()
    };
    let limit = Duration::from_secs(60);
    let starts = || machine().wait_for_end(limit).chars().last();

    // Nothing counts where the letters are not.
    assert_eq!(starts(), Some('R'));
    count(0, 0);
    for started in 1..=5 {
        assert_eq!((starts(), counted()), (Some('R'), [started, 0]));
    }
    for _ in 0..2 {
        assert_eq!((starts(), counted()), (Some('S'), [5, 0]));
    }
    // Half a disk has no system before, and whoever switches it on again has as many starts.
    count(5, 1);
    let stopped = machine();
    stopped.wait_for("cloud-machine: 5 starts of the recovery failed, and the disk is half rewritten", 0, limit);
    drop(stopped);
    assert_eq!(counted(), [0, 1]);
    assert_eq!((starts(), counted()), (Some('R'), [1, 1]));
}
