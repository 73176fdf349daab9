use proptest::prelude::*;
use sha2::Digest as _;

use super::*;
use crate::made::{image, kernel, program, stub};

/// The value after these events, written down a second time.
fn value(events: &[&[u8]]) -> String {
    let mut pcr = vec![0; 32];
    for event in events {
        pcr.extend_from_slice(&Sha256::digest(event));
        pcr = Sha256::digest(&pcr).to_vec();
    }
    pcr.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn name_and_content_of_each_section_are_measured_then_the_words_of_the_boot() {
    let measured = measure(&image("252.39-1~deb12u2")).unwrap();
    let kernel = kernel();
    let mut events: Vec<&[u8]> = vec![
        b".linux\0",
        &kernel,
        b".osrel\0",
        b"ID=debian\n",
        b".cmdline\0",
        b"console=ttyS0 quiet",
        b".initrd\0",
        b"070701 archive",
    ];
    for (index, word) in ["", "enter-initrd", "leave-initrd", "sysinit", "ready"].iter().enumerate() {
        if !word.is_empty() {
            events.push(word.as_bytes());
        }
        assert_eq!(measured.phases[index].value.sha256, value(&events), "{}", measured.phases[index].phase);
        assert_eq!(measured.phases[index].value.sha384.len(), 96);
    }
    assert_eq!(measured.stub, "systemd-stub 252.39-1~deb12u2");
    assert_eq!(measured.uname.as_deref(), Some(crate::made::RELEASE));
    assert_eq!(measured.command_line.as_deref(), Some("console=ttyS0 quiet"));
    assert!(!measured.is_signed);
    let unmeasured: Vec<_> = measured.sections.iter().filter(|section| !section.is_measured).collect();
    assert_eq!(unmeasured.iter().map(|section| section.name).collect::<Vec<_>>(), [".sbat", ".uname"]);
}

#[test]
fn a_newer_stub_measures_more() {
    let kernel = kernel();
    let events: [&[u8]; 12] = [
        b".linux\0",
        &kernel,
        b".osrel\0",
        b"ID=debian\n",
        b".cmdline\0",
        b"console=ttyS0 quiet",
        b".initrd\0",
        b"070701 archive",
        b".uname\0",
        crate::made::RELEASE.as_bytes(),
        b".sbat\0",
        b"sbat,1\n",
    ];
    let measured = measure(&image("257.13-1~deb13u1")).unwrap();
    assert_eq!(measured.phases[0].value.sha256, value(&events));
    assert!(measured.sections.iter().all(|section| section.is_measured));
}

/// The digest of a file without these bytes, and PCR 4, written down a second time.
fn program_values(bytes: &[u8], left_out: [std::ops::Range<usize>; 2]) -> (String, String) {
    let kept: Vec<u8> =
        (0..bytes.len()).filter(|at| left_out.iter().all(|range| !range.contains(at))).map(|at| bytes[at]).collect();
    let digest = Sha256::digest(&kept);
    let mut pcr = [0; 32].to_vec();
    for event in [Sha256::digest("Calling EFI Application from Boot Option"), Sha256::digest([0; 4]), digest] {
        pcr.extend_from_slice(&event);
        pcr = Sha256::digest(&pcr).to_vec();
    }
    let text = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    (text(&digest), text(&pcr))
}

// Headers of the made program: 64 bytes of DOS, a signature of 4, a file header of 20, then the optional one with the checksum at 64
// and the directories from 112, of which the fifth is that of signatures.
const CHECKSUM: usize = 64 + 4 + 20 + 64;
const SECURITY: usize = 64 + 4 + 20 + 112 + 4 * 8;

#[test]
fn firmware_measures_the_file_without_checksum_and_signatures() {
    let mut bytes = image("252.39-1~deb12u2");
    let (authenticode, pcr4) = program_values(&bytes, [CHECKSUM..CHECKSUM + 4, SECURITY..SECURITY + 8]);
    let measured = measure(&bytes).unwrap().program.unwrap();
    assert_eq!((&measured.authenticode.sha256, &measured.pcr4.sha256), (&authenticode, &pcr4));
    assert_eq!((measured.authenticode.sha384.len(), measured.pcr4.sha384.len()), (96, 96));
    // A signature and the checksum that follows from it change nothing.
    let end = bytes.len() as u32;
    bytes[CHECKSUM] ^= 1;
    bytes[SECURITY..SECURITY + 4].copy_from_slice(&end.to_le_bytes());
    bytes[SECURITY + 4..SECURITY + 8].copy_from_slice(&16_u32.to_le_bytes());
    bytes.extend_from_slice(&[9; 16]);
    let signed = measure(&bytes).unwrap();
    assert!(signed.is_signed);
    assert_eq!(signed.program.as_ref(), Some(&measured));
    // Each other byte of the headers does.
    bytes[2] ^= 1;
    assert_ne!(measure(&bytes).unwrap().program.unwrap().authenticode, measured.authenticode);
}

#[test]
fn no_program_is_told_where_firmware_and_signers_hash_different_bytes() {
    let whole = image("252.39-1~deb12u2");
    let behind_signatures = |at: u32, size: u32| {
        let mut bytes = whole.clone();
        bytes[SECURITY..SECURITY + 4].copy_from_slice(&at.to_le_bytes());
        bytes[SECURITY + 4..SECURITY + 8].copy_from_slice(&size.to_le_bytes());
        measure(&bytes).unwrap().program
    };
    let end = whole.len() as u32;
    assert_eq!(behind_signatures(end, 16), None, "cut off");
    assert_eq!(behind_signatures(end - 16, 8), None, "something behind");
    assert_eq!(behind_signatures(end - 16, 16), None, "in a section");
    assert_eq!(behind_signatures(u32::MAX, u32::MAX), None);
    // A gap between the headers and the first section: they end earlier than they did.
    let mut gap = whole.clone();
    let headers = 64 + 4 + 20 + 60;
    gap[headers..headers + 4].copy_from_slice(&512_u32.to_le_bytes());
    assert_eq!(measure(&gap).map(|measured| measured.program), Ok(None));
}

#[test]
fn what_is_no_image_or_is_not_decided_by_the_file_is_refused() {
    let magic: (&str, &[u8]) = (".sdmagic", b"#### LoaderInfo: systemd-stub 257.1 ####");
    let linux: (&str, &[u8]) = (".linux", b"kernel");
    let of = |sections: &[(&str, &[u8])]| measure(&program(1024, sections)).unwrap_err();
    assert_eq!(of(&[magic]), UkiError::NoImage);
    assert_eq!(measure(&stub("252.39-1")).unwrap_err(), UkiError::NoImage);
    assert!(matches!(measure(b"#!/bin/sh\n").unwrap_err(), UkiError::NoProgram { part: Part::Image, .. }));
    assert!(matches!(measure(b"").unwrap_err(), UkiError::NoProgram { .. }));
    assert_eq!(of(&[linux]), UkiError::NoStub { part: Part::Image });
    for text in
        ["#### LoaderInfo: systemd-boot 252 ####", "#### LoaderInfo: systemd-stub x ####", "systemd-stub 252", ""]
    {
        assert_eq!(of(&[linux, (".sdmagic", text.as_bytes())]), UkiError::NoStub { part: Part::Image }, "{text}");
    }
    for text in ["252-32.el9_4", "253.1", "251", "263", "99999999999"] {
        let text = format!("#### LoaderInfo: systemd-stub {text} ####");
        let error = of(&[linux, (".sdmagic", text.as_bytes())]);
        assert!(matches!(error, UkiError::UnknownStub { .. }), "{error}");
    }
    assert_eq!(of(&[linux, magic, linux]), UkiError::Twice { part: Part::Image, section: ".linux".to_owned() });
    for name in [".profile", ".hwids", ".efifw", ".dtbauto", ".linux2", ".sbat.x"] {
        assert_eq!(
            of(&[linux, magic, (name, b"x")]),
            UkiError::Depends { part: Part::Image, section: name.to_owned() }
        );
    }
    // Its size in memory is larger than what is in the file.
    let mut large = program(1024, &[linux, magic]);
    set(&mut large, 0, 8, 0x1000);
    assert_eq!(measure(&large).unwrap_err(), UkiError::CutOff { part: Part::Image, section: ".linux".to_owned() });
}

/// Sets a word of 32 bits in the header of section `index` of what [`program`] made: 8 its size, 12 its address.
fn set(bytes: &mut [u8], index: usize, field: usize, value: u32) {
    let at = 64 + 136 + 128 + 40 * index + field;
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

#[test]
fn sections_over_another_in_memory_are_refused() {
    let magic: &[u8] = b"#### LoaderInfo: systemd-stub 257.1 ####";
    let whole = program(1024, &[(".linux", b"kernel"), (".sdmagic", magic), (".cmdline", b"quiet"), (".x", b"other")]);
    assert!(measure(&whole).is_ok());
    let (cmdline, headers) = ("section .cmdline", "the headers");
    let end = "the end of the program's memory";
    // Sections of the test are at 0x1000, 0x2000 and so on, with 512 bytes of the file each; the program's memory ends at 0x5000.
    for (index, field, value, over) in [
        (3, 12, 0x3000, Some(cmdline)),
        (3, 12, 0x3004, Some(cmdline)),
        // Only what fills its last block is there, and it comes later.
        (3, 12, 0x2fff - 5, Some(cmdline)),
        // The same of an earlier one, over which the line is written.
        (1, 12, 0x2fff - 100, None),
        (3, 12, 0x3005, None),
        (3, 12, 1023, Some(headers)),
        (3, 12, 1024, None),
        (3, 12, 0x5000 - 5, None),
        (3, 12, 0x5000 - 4, Some(end)),
        (3, 12, u32::MAX, Some(end)),
        // Without a size in memory, all that the file has is laid in.
        (3, 8, 0, None),
        (0, 8, 0x1_0000, Some(end)),
    ] {
        let mut bytes = whole.clone();
        set(&mut bytes, index, field, value);
        let found = measure(&bytes);
        match over {
            None => assert!(found.is_ok(), "{index} {field} {value:#x}: {found:?}"),
            Some(over) => assert!(
                matches!(&found, Err(UkiError::Misplaced { part: Part::Image, other, .. }) if other == over),
                "{index} {field} {value:#x}: {found:?}"
            ),
        }
    }
    // Without a size in memory over the line, 512 bytes in front of which it begins.
    let mut bytes = whole.clone();
    set(&mut bytes, 3, 8, 0);
    set(&mut bytes, 3, 12, 0x3000 - 511);
    assert!(matches!(measure(&bytes).unwrap_err(), UkiError::Misplaced { .. }));
    // Memory of the program that ends too early.
    let mut bytes = whole;
    bytes[64 + 24 + 56..64 + 24 + 60].copy_from_slice(&0x4000_u32.to_le_bytes());
    assert!(matches!(measure(&bytes).unwrap_err(), UkiError::Misplaced { other, .. } if other == end));
}

#[test]
fn an_image_that_is_cut_off_anywhere_is_refused() {
    let whole = image("252.39-1");
    for length in (0..2048).chain((2048..whole.len()).step_by(97)) {
        assert!(measure(&whole[..length]).is_err(), "{length}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Damage of headers, of which 1100 bytes are all, never ends in a panic or in endless work, nor damage of a kernel or stub.
    #[test]
    fn damage_gives_an_error_or_values(
        changes in prop::collection::vec((0usize..1100, any::<u8>()), 1..12),
        words in prop::collection::vec((0usize..270, prop::sample::select(vec![0, 1, 0x7fff_ffff, u32::MAX, 512, 0x1000])), 0..3),
        cut in 0usize..4096,
    ) {
        let damage = |mut bytes: Vec<u8>| {
            for (at, byte) in &changes {
                if let Some(place) = bytes.get_mut(*at) {
                    *place = *byte;
                }
            }
            for (at, word) in &words {
                if let Some(place) = bytes.get_mut(at * 4..at * 4 + 4) {
                    place.copy_from_slice(&word.to_le_bytes());
                }
            }
            bytes.truncate(bytes.len().saturating_sub(cut.saturating_sub(2048)));
            bytes
        };
        if let Ok(measured) = measure(&damage(image("257"))) {
            prop_assert_eq!(measured.phases.len(), PHASES.len());
        }
        let (stub, kernel) = (damage(stub("252.39-1")), damage(kernel()));
        crate::made::with(|parts| {
            // What is built can be measured.
            if let Ok(bytes) = crate::build(&crate::Parts { stub: &stub, ..*parts }) {
                prop_assert!(measure(&bytes).is_ok());
            }
            let _ = crate::build(&crate::Parts { kernel: &kernel, ..*parts });
            Ok(())
        })?;
        let _ = crate::release(&kernel);
    }
}
