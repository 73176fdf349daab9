//! The numbers that are put into GRUB, and what is refused before anything is made. That both kinds start: a machine test.

use super::{
    bios::{Grub, configuration},
    *,
};

const INITRAMFS: &[u8] = &[b'0'; 1000];
const AREA: Area = Area { offset: 7 << 20, room: 8 << 20, sector_size: 512, counted: 15 << 20, before: 16 << 20 };

/// The header of a bzImage that takes 2047 bytes of command line, and no EFI stub.
fn kernel() -> Vec<u8> {
    let mut bytes = vec![7; 1300];
    let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
    put(0x202, b"HdrS");
    put(0x206, &0x020f_u16.to_le_bytes());
    put(0x238, &2047_u32.to_le_bytes());
    bytes
}

fn initramfs() -> Vec<u8> {
    [b"070701", INITRAMFS].concat()
}

/// What is said of parts for a BIOS.
fn refused(kernel: &[u8], initramfs: &[u8], command_line: &str, area: Area) -> RecoveryError {
    bios(&Parts { kernel, initramfs, command_line }, area).unwrap_err()
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().unwrap()
}

#[test]
fn each_sector_of_grub_says_where_the_next_one_is() {
    let (kernel, initramfs) = (kernel(), initramfs());
    let parts = Parts { kernel: &kernel, initramfs: &initramfs, command_line: "console=ttyS0 panic=-1" };
    let made = bios(&parts, AREA).unwrap();
    assert_eq!(made.bytes.len() % 512, 0);
    // Two sectors of initramfs, three of kernel.
    assert_eq!(made.bytes[..1006], initramfs);
    assert_eq!(made.bytes[1024..2324], kernel);
    assert!(made.bytes[1006..1024].iter().chain(&made.bytes[2324..2560]).all(|byte| *byte == 0));
    let first = made.boot_code.unwrap();
    let lbas = [0x152, 0x162, 0x172].map(|at| u64::from_le_bytes(number(&first, at)));
    let last = (7 << 20) / 512 + made.bytes.len() as u64 / 512 - 1;
    assert_eq!(lbas, [(15 << 20) / 512, last, (16 << 20) / 512]);
    let code = &made.bytes[made.bytes.len() - 512..];
    let core = u64::from_le_bytes(number(code, 0x5c));
    assert_eq!(core, (7 << 20) / 512 + 5);
    assert_eq!(number(code, 0x66), [0x90, 0x90]);
    let core = &made.bytes[2560..made.bytes.len() - 512];
    assert_eq!(u64::from_le_bytes(number(core, 0x1f4)), (7 << 20) / 512 + 6);
    assert_eq!(usize::from(u16::from_le_bytes(number(core, 0x1fc))), core.len() / 512 - 1);
    // All else is as GRUB has it.
    let mut original = fs::read("/usr/lib/grub/i386-pc/boot.img").unwrap();
    original[0x5c..0x64].copy_from_slice(&code[0x5c..0x64]);
    original[0x66..0x68].copy_from_slice(&[0x90, 0x90]);
    assert_eq!(original, code);
    // The same parts give the same bytes, and another place gives other numbers.
    assert_eq!(bios(&parts, AREA).unwrap(), made);
    let beyond = Area { offset: 3 << 40, ..AREA };
    let code = bios(&parts, beyond).unwrap().bytes;
    assert_eq!(u64::from_le_bytes(number(&code[code.len() - 512..], 0x5c)), (3 << 40) / 512 + 5);
}

#[test]
fn grub_is_told_sectors_of_the_disk_and_words_that_it_does_not_interpret() {
    let mut area = Vec::new();
    let initramfs = bios::append(&mut area, AREA, &initramfs());
    let kernel = bios::append(&mut area, AREA, &kernel());
    let text = configuration(kernel, initramfs, " a=b;c  #{d} ");
    let first = text.lines().next().unwrap();
    let wanted = "eval \"if linux ($root)14338+3 'a=b;c' '#{d}'; then if initrd ($root)14336+2; then boot; fi; fi\"";
    assert_eq!(first, wanted);
    assert!(text.ends_with("\nreboot\n"), "{text}");
}

#[test]
fn a_disk_of_other_sectors_and_an_area_that_is_too_small_are_refused() {
    let (kernel, initramfs) = (kernel(), initramfs());
    let refused = |area| refused(&kernel, &initramfs, "quiet", area);
    let error = refused(Area { sector_size: 4096, ..AREA });
    assert!(error.to_string().ends_with("sectors of 512 bytes, and this one has sectors of 4096"), "{error}");
    assert!(matches!(refused(Area { offset: 100, ..AREA }), RecoveryError::Offset { offset: 100 }));
    assert!(matches!(refused(Area { counted: 7, ..AREA }), RecoveryError::Offset { offset: 7 }));
    let parts = Parts { kernel: &kernel, initramfs: &initramfs, command_line: "quiet" };
    let needed = bios(&parts, AREA).unwrap().bytes.len() as u64;
    assert!(bios(&parts, Area { room: needed, ..AREA }).is_ok());
    let error = refused(Area { room: needed - 1, ..AREA });
    assert!(matches!(error, RecoveryError::TooLarge { room, .. } if room == needed - 1), "{error}");
}

#[test]
fn what_is_no_kernel_and_no_initramfs_is_refused() {
    let (kernel, initramfs) = (kernel(), initramfs());
    for (kernel, initramfs, fault) in [
        (&[0; 2000][..], &initramfs[..], UkiError::NoKernel),
        (&kernel[..0x210], &initramfs, UkiError::NoKernel),
        (&kernel, b"", UkiError::NoInitramfs),
        (&kernel, &kernel, UkiError::NoInitramfs),
    ] {
        let error = refused(kernel, initramfs, "quiet", AREA);
        assert!(matches!(&error, RecoveryError::Parts(found) if *found == fault), "{error:?}");
    }
    // UEFI starts only a kernel that is a program of its own.
    let parts = Parts { kernel: &kernel, initramfs: &initramfs, command_line: "quiet" };
    assert!(matches!(uefi(&parts, None, AREA), Err(RecoveryError::Parts(UkiError::NoProgram { .. }))));
}

#[test]
fn a_command_line_that_would_arrive_as_another_one_is_refused() {
    let (kernel, initramfs) = (kernel(), initramfs());
    for (line, letter, at) in [
        ("a 'b'", "\\'", 2),
        ("a=\"b\"", "\\\"", 2),
        ("a\\b", "\\\\", 1),
        ("a\nboot", "\\n", 1),
        ("a\tb", "\\t", 1),
        ("a=$root", "$", 2),
        ("a=é", "\\u{e9}", 2),
        ("\u{7f}", "\\u{7f}", 0),
    ] {
        let parts = Parts { kernel: &kernel, initramfs: &initramfs, command_line: line };
        for error in [bios(&parts, AREA).unwrap_err(), uefi(&parts, None, AREA).unwrap_err()] {
            assert!(
                matches!(&error, RecoveryError::CommandLine { letter: found, at: place } if found == letter && *place == at),
                "{line:?}: {error}"
            );
        }
    }
    let empty = refused(&kernel, &initramfs, " ", AREA);
    assert!(matches!(empty, RecoveryError::Parts(UkiError::NoCommandLine)), "{empty}");
    // GRUB's own word comes out of the same 2047 bytes.
    let long = refused(&kernel, &initramfs, &"a".repeat(2000), AREA);
    assert!(matches!(long, RecoveryError::Parts(UkiError::LongCommandLine { bytes: 2060, most: 2047 })), "{long:?}");
    let parts = Parts { kernel: &kernel, initramfs: &initramfs, command_line: &"a".repeat(1987) };
    assert!(bios(&parts, AREA).is_ok());
}

#[test]
fn a_grub_that_is_absent_or_another_is_named() {
    let (kernel, initramfs) = (kernel(), initramfs());
    let parts = Parts { kernel: &kernel, initramfs: &initramfs, command_line: "quiet" };
    let folder = Path::new("/usr/lib/grub/i386-pc");
    let none = Grub { program: "grub-mkimage-of-nobody".into(), folder: folder.into() };
    let error = none.boot_area(&parts, AREA).unwrap_err().to_string();
    assert_eq!(error, "cannot find grub-mkimage-of-nobody: `apt-get install grub-common` brings it");
    let none = Grub { program: "grub-mkimage".into(), folder: "/nowhere".into() };
    let error = none.boot_area(&parts, AREA).unwrap_err().to_string();
    assert_eq!(error, "cannot find /nowhere: `apt-get install grub-pc-bin` brings it");
    let failing = Grub { program: "false".into(), folder: folder.into() };
    assert!(matches!(failing.boot_area(&parts, AREA), Err(RecoveryError::Failed { .. })));
    // GRUB's files with another boot.img.
    let other = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap() != "boot.img" {
            std::os::unix::fs::symlink(&path, other.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    let grub = Grub { program: "grub-mkimage".into(), folder: other.path().into() };
    let error = grub.boot_area(&parts, AREA).unwrap_err();
    assert!(matches!(error, RecoveryError::Absent { package: "grub-pc-bin", .. }), "{error}");
    for size in [100, 512] {
        fs::write(other.path().join("boot.img"), vec![0; size]).unwrap();
        let error = grub.boot_area(&parts, AREA).unwrap_err();
        assert!(matches!(error, RecoveryError::UnknownGrub { .. }), "{error}");
    }
}
