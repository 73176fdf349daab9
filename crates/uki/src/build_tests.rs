use super::*;
use crate::{
    made::{kernel, program, stub, with},
    release,
};

/// Why nothing is built when one part is another one.
macro_rules! fault {
    ($part:ident: $value:expr) => {
        with(|parts| build(&Parts { $part: $value, ..*parts }).unwrap_err())
    };
}

#[test]
fn sections_follow_those_of_the_stub_and_hold_what_was_given() {
    let bytes = with(|parts| build(parts).unwrap());
    assert_eq!(bytes, with(|parts| build(parts).unwrap()));
    let image = Pe::read(&bytes, Part::Image).unwrap();
    let names: Vec<_> = image.sections.iter().map(crate::pe::shown_name).collect();
    assert_eq!(names, [".text", ".sbat", ".sdmagic", ".osrel", ".cmdline", ".uname", ".initrd", ".linux"]);
    let content = |name: &str| image.content(image.find(name).unwrap()).unwrap();
    assert_eq!(content(".cmdline"), crate::made::LINE.as_bytes());
    assert_eq!(content(".initrd"), b"070701 archive");
    assert_eq!(content(".linux"), kernel());
    assert_eq!(content(".text"), b"code");
    // As firmware wants it: none over another, on pages, all within the image, and every byte of the file in a section.
    let (mut in_memory, mut in_file) = (0, 1024);
    for section in image.sections {
        assert!(section.virtual_address.get(LE) >= in_memory);
        in_memory = section.virtual_address.get(LE) + section.virtual_size.get(LE);
        assert_eq!(section.pointer_to_raw_data.get(LE), in_file);
        in_file += section.size_of_raw_data.get(LE);
    }
    assert!(image.sections[3..].iter().all(|section| section.virtual_address.get(LE) % 4096 == 0));
    assert_eq!(in_file as usize, bytes.len());
    assert!(image.headers.optional_header.size_of_image.get(LE) >= in_memory);
}

#[test]
fn symbols_behind_the_stub_are_left_out() {
    let mut stub = stub("252.39-1~deb12u2");
    stub.extend_from_slice(b"symbols");
    // PointerToSymbolTable and NumberOfSymbols of the file header, which is at 68.
    stub[76..84].fill(1);
    let bytes = with(|parts| build(&Parts { stub: &stub, ..*parts }).unwrap());
    assert_eq!(bytes, with(|parts| build(parts).unwrap()));
}

#[test]
fn a_stub_that_cannot_be_one_is_refused() {
    let whole = with(|parts| build(parts).unwrap());
    assert_eq!(fault!(stub: &whole), UkiError::WholeImage { section: ".linux".to_owned() });
    assert!(matches!(fault!(stub: b""), UkiError::NoProgram { part: Part::Stub, .. }));
    assert_eq!(
        with(|parts| build(&Parts { stub: parts.kernel, ..*parts }).unwrap_err()),
        UkiError::NoStub { part: Part::Stub }
    );
    let double =
        program(1024, &[(".sbat", b"a"), (".sbat", b"b"), (".sdmagic", b"#### LoaderInfo: systemd-stub 257 ####")]);
    assert_eq!(fault!(stub: &double), UkiError::Twice { part: Part::Stub, section: ".sbat".to_owned() });
    let mut signed = stub("252.39-1~deb12u2");
    // The fifth data directory, behind 64 bytes of DOS header and 136 of NT headers.
    signed[64 + 136 + 4 * 8] = 8;
    assert_eq!(fault!(stub: &signed), UkiError::SignedStub);
    let unknown = stub("253");
    let version = "systemd-stub 253".to_owned();
    assert_eq!(fault!(stub: &unknown), UkiError::UnknownStub { version });
    // The second section, .sbat, where the first is.
    let mut over = stub("252.39-1");
    over[64 + 136 + 128 + 40 + 12..][..4].copy_from_slice(&0x1000_u32.to_le_bytes());
    let (section, other) = (".sbat".to_owned(), "section .text".to_owned());
    assert_eq!(fault!(stub: &over), UkiError::Misplaced { part: Part::Stub, section, other });
    let mut other = stub("252.39-1");
    other[68] = 0x4c;
    assert!(matches!(fault!(stub: &other), UkiError::NoProgram { part: Part::Stub, .. }));
    let cut = stub("252.39-1");
    let cut = &cut[..cut.len() - 1];
    assert_eq!(fault!(stub: cut), UkiError::CutOff { part: Part::Stub, section: ".sdmagic".to_owned() });
}

#[test]
fn a_section_table_without_room_is_refused() {
    // 448 bytes of headers are in front of the sections' own; 512 have room for none, 640 for one more.
    let magic: &[u8] = b"#### LoaderInfo: systemd-stub 257 ####";
    let none = program(512, &[(".sbat", b"sbat"), (".sdmagic", magic)]);
    assert_eq!(fault!(stub: &none), UkiError::NoRoom { room: 2, wanted: 5 });
    let mut used = program(1024, &[(".sbat", b"sbat"), (".sdmagic", magic)]);
    used[512] = 1;
    assert_eq!(fault!(stub: &used), UkiError::NoRoom { room: (512 - (64 + 136 + 128 + 80)) / 40, wanted: 5 });
}

#[test]
fn a_kernel_that_cannot_be_started_is_refused() {
    assert_eq!(fault!(kernel: b"MZ"), UkiError::NoKernel);
    assert_eq!(with(|parts| build(&Parts { kernel: parts.stub, ..*parts }).unwrap_err()), UkiError::NoKernel);
    let mut old = kernel();
    old[..2].fill(0);
    assert!(matches!(fault!(kernel: &old), UkiError::NoProgram { part: Part::Kernel, .. }));
    let cut = kernel();
    assert!(matches!(fault!(kernel: &cut[..1500]), UkiError::CutOff { part: Part::Kernel, .. }));
    assert_eq!(release(&kernel()).as_deref(), Some(crate::made::RELEASE));
    assert_eq!(release(b"MZ"), None);
}

#[test]
fn texts_and_archives_that_cannot_be_such_are_refused() {
    let long = "a".repeat(2048);
    assert_eq!(fault!(command_line: &long), UkiError::LongCommandLine { bytes: 2048, most: 2047 });
    assert!(matches!(fault!(command_line: "a\nb"), UkiError::BadCommandLine { at: 1, .. }));
    assert_eq!(fault!(initramfs: b"\x7fELF"), UkiError::NoInitramfs);
    assert_eq!(fault!(initramfs: b""), UkiError::NoInitramfs);
    let bad = |error| matches!(error, UkiError::BadText { .. });
    assert!(bad(fault!(os_release: "NAME=x\n")));
    assert!(bad(fault!(os_release: "ID=x\n\0")));
    assert!(bad(fault!(uname: "6.1 x")));
    assert!(bad(fault!(uname: "")));
}
