//! The boot files of a recovery partition in machines: disks on which nothing is but those and the boot head that leads to them.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
};

use cloud_machine_packing::recovery::{Area, BootArea, Parts, Signer, bios, uefi};
use cloud_machine_protocol::{ALIVE, LOG_PREFIX, PROBE_ARGUMENT};

use crate::{PACK, Workspace};

/// Of a disk of 128 MiB, the second half, up to the backup of its table.
const AREA: Area = Area { offset: 64 << 20, room: 63 << 20, sector_size: 512 };
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
