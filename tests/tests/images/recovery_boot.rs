//! The boot files of a recovery partition in machines: disks on which nothing is but those and the boot head that leads to them.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::FileExt,
    path::PathBuf,
    time::Duration,
};

use cloud_machine_packing::recovery::{Area, BootArea, Parts, Signer, bios, uefi};
use cloud_machine_protocol::{ALIVE, LOG_PREFIX, PROBE_ARGUMENT};
use cloud_machine_tests::plain_machine::{PlainMachine, Running, Start};

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

/// A disk whose recovery is one letter, R, and whose system of before is another, S.
struct Counted {
    _folder: tempfile::TempDir,
    path: PathBuf,
    file: File,
    /// Where the sector in GRUB's place lies.
    recovery: u64,
}

/// How long a machine may take.
const LIMIT: Duration = Duration::from_secs(60);

impl Counted {
    fn new() -> Self {
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
        let recovery = AREA.offset + made.bytes.len() as u64 - 512;
        file.write_all_at(&made.boot_code.unwrap(), 0).unwrap();
        file.write_all_at(&[0x55, 0xaa], 510).unwrap();
        file.write_all_at(&says(b'R'), recovery).unwrap();
        file.write_all_at(&says(b'S'), AREA.before).unwrap();
        Self { _folder: folder, path, file, recovery }
    }

    fn count(&self, count: u8, begun: u8) {
        self.file.write_all_at(&[b'C', b'M', b'R', b'S', count, begun], AREA.counted).unwrap();
    }

    fn counted(&self) -> [u8; 2] {
        let mut block = [0; 512];
        self.file.read_exact_at(&mut block, AREA.counted).unwrap();
        assert_eq!(block[6..], [0; 506]);
        [block[4], block[5]]
    }

    /// A machine with the disk, which fails at each `read` or `write` of the sector at a byte: always, or `once`.
    fn machine(&self, faults: &[(&str, u64, bool)]) -> Running {
        let path = self.path.display();
        let mut drive =
            format!("if=virtio,driver=raw,file.driver=blkdebug,file.image.driver=file,file.image.filename={path}");
        for (index, (kind, byte, once)) in faults.iter().enumerate() {
            let (rule, once) = (format!("file.inject-error.{index}"), if *once { "on" } else { "off" });
            let sector = byte / 512;
            drive += &format!(",{rule}.event=none,{rule}.iotype={kind},{rule}.sector={sector},{rule}.once={once}");
        }
        let arguments = ["-boot", "c", "-drive", &drive].map(Into::into).to_vec();
        PlainMachine { start: Start::Bios, arguments }.start()
    }

    /// What started, and the count afterwards.
    fn starts(&self, faults: &[(&str, u64, bool)]) -> (Option<char>, [u8; 2]) {
        (self.machine(faults).wait_for_end(LIMIT).chars().last(), self.counted())
    }
}

#[test]
fn a_recovery_that_never_comes_up_gives_way_to_the_system_before_or_says_why_it_cannot() {
    let disk = Counted::new();
    // Nothing counts where the letters are not.
    assert_eq!(disk.starts(&[]), (Some('R'), [0, 0]));
    disk.count(0, 0);
    for started in 1..=5 {
        assert_eq!(disk.starts(&[]), (Some('R'), [started, 0]));
    }
    for _ in 0..2 {
        assert_eq!(disk.starts(&[]), (Some('S'), [5, 0]));
    }
    // Half a disk has no system before, and whoever switches it on again has as many starts.
    disk.count(5, 1);
    let stopped = disk.machine(&[]);
    stopped.wait_for("cloud-machine: 5 starts of the recovery failed, and the disk is half rewritten", 0, LIMIT);
    drop(stopped);
    assert_eq!(disk.counted(), [0, 1]);
    assert_eq!(disk.starts(&[]), (Some('R'), [1, 1]));
}

#[test]
fn a_sector_that_fails_is_tried_again_and_then_the_system_before_starts() {
    let disk = Counted::new();
    let (recovery, counted) = (disk.recovery, AREA.counted);
    disk.count(0, 0);
    assert_eq!(
        disk.starts(&[("read", recovery, true), ("read", counted, true), ("write", counted, true)]),
        (Some('R'), [1, 0])
    );
    // Nothing has changed yet: the system before is whole.
    assert_eq!(disk.starts(&[("read", recovery, false)]), (Some('S'), [2, 0]));
    assert_eq!(disk.starts(&[("write", counted, false)]), (Some('S'), [2, 0]));
    // Without the count nobody knows that.
    assert_eq!(disk.starts(&[("read", counted, false)]), (Some('R'), [2, 0]));
    disk.count(0, 1);
    assert_eq!(disk.starts(&[("write", counted, false)]), (Some('R'), [0, 1]));
    // Where neither can be read, the machine is reset.
    for begun in 0..2 {
        disk.count(0, begun);
        let faults = [("read", recovery, false), ("read", AREA.before, false)];
        let console = disk.machine(&faults).wait_for_end(LIMIT);
        assert!(console.contains("cloud-machine: disk error\r\n"), "{console}");
        assert_eq!(disk.counted(), [1, begun]);
    }
}
