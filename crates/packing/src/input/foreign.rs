//! What a file is that is no disk image in a form that is read: images of other programs, archives, other compressions.
//! Owns how each is known and what makes a raw disk of it; must not read more than its first and last bytes.

use std::os::unix::fs::FileExt;

use super::{Format, InputError, RawImage};

/// Where and with which bytes a form begins, its name, and what makes a raw disk of it. `FILE` stands for the file.
type Form = (usize, &'static [u8], &'static str, &'static str);

const FORMS: [Form; 20] = [
    (0, b"conectix", "a dynamic VHD image", "`qemu-img convert -f vpc -O raw FILE disk.raw` makes a raw disk of it"),
    (0, b"vhdxfile", "a VHDX image", "`qemu-img convert -f vhdx -O raw FILE disk.raw` makes a raw disk of it"),
    (0, b"KDMV", "a VMDK image", "`qemu-img convert -f vmdk -O raw FILE disk.raw` makes a raw disk of it"),
    (0, b"COWD", "a VMDK image", "`qemu-img convert -f vmdk -O raw FILE disk.raw` makes a raw disk of it"),
    (
        0,
        b"# Disk DescriptorFile",
        "the description of a VMDK image, whose data lie in other files",
        "`qemu-img convert -f vmdk -O raw FILE disk.raw` makes a raw disk of it and them",
    ),
    (
        64,
        &[0x7f, 0x10, 0xda, 0xbe],
        "a VDI image",
        "`qemu-img convert -f vdi -O raw FILE disk.raw` makes a raw disk of it",
    ),
    (0, b"QED\0", "a QED image", "`qemu-img convert -f qed -O raw FILE disk.raw` makes a raw disk of it"),
    (
        0,
        b"WithoutFreeSpace",
        "a Parallels image",
        "`qemu-img convert -f parallels -O raw FILE disk.raw` makes a raw disk of it",
    ),
    (
        0,
        b"WithouFreSpacExt",
        "a Parallels image",
        "`qemu-img convert -f parallels -O raw FILE disk.raw` makes a raw disk of it",
    ),
    (0, b"LUKS\xba\xbe", "a disk that is encrypted by LUKS", "open it with cryptsetup, and copy what is inside"),
    (257, b"ustar", "a tar archive", "`tar -xf FILE` unpacks it; pack the disk that is in it"),
    (0, b"PK\x03\x04", "a zip archive", "`unzip FILE` unpacks it; pack the disk that is in it"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", "`7z x FILE` unpacks it; pack the disk that is in it"),
    (0, b"Rar!\x1a\x07", "a RAR archive", "unpack it; pack the disk that is in it"),
    (0, &[0x04, 0x22, 0x4d, 0x18], "compressed by lz4", "`lz4 -dc FILE > disk.raw` decompresses it"),
    (0, &[0x02, 0x21, 0x4c, 0x18], "compressed by lz4", "`lz4 -dc FILE > disk.raw` decompresses it"),
    (4, b"1AY&SY", "compressed by bzip2", "`bzip2 -dc FILE > disk.raw` decompresses it"),
    (0, b"LZIP", "compressed by lzip", "`lzip -dc FILE > disk.raw` decompresses it"),
    (0, b"\x89LZO\0", "compressed by lzop", "`lzop -dc FILE > disk.raw` decompresses it"),
    (0, &[0x1f, 0x9d], "compressed by compress", "`gzip -dc FILE > disk.raw` decompresses it"),
];

/// Bytes at both ends that tell all forms.
const ENDS: usize = 512;
/// The footer of a VHD, where it begins counted from the end; old versions of its maker wrote a byte less.
const FOOTERS: [usize; 2] = [512, 511];

/// Refuses a disk that is something else, which came out of `outer` where that is a compression.
pub(super) fn refuse(image: &RawImage, outer: Format) -> Result<(), InputError> {
    let (mut head, mut tail) = ([0; ENDS], [0; ENDS]);
    let count = image.size.min(ENDS as u64) as usize;
    let ends = [(&mut head, 0), (&mut tail, image.size - count as u64)];
    for (bytes, offset) in ends {
        let bytes = bytes.get_mut(..count).unwrap_or_default();
        let read = image.file.read_exact_at(bytes, offset);
        read.map_err(|source| InputError::Read { name: image.name.clone(), source })?;
    }
    let (head, tail) = (head.get(..count).unwrap_or_default(), tail.get(..count).unwrap_or_default());
    let Some((what, way_out)) = known(head, tail, outer != Format::Raw) else { return Ok(()) };
    Err(match unpacked(outer) {
        None => InputError::Foreign { name: image.name.clone(), what: what.to_owned(), way_out: way_out.to_owned() },
        Some(program) => InputError::Foreign {
            name: image.name.clone(),
            what: format!("{what}, inside {}", outer.name()),
            way_out: format!("`{program} FILE > unpacked` decompresses it; then, with that as FILE, {way_out}"),
        },
    })
}

/// What decompresses a form that is read.
fn unpacked(outer: Format) -> Option<&'static str> {
    match outer {
        Format::Raw | Format::Qcow2 => None,
        Format::Zstd => Some("zstd -dc"),
        Format::Gzip => Some("gzip -dc"),
        Format::Xz => Some("xz -dc"),
    }
}

/// Name and way out of a file that begins and ends so. What is read by itself is foreign only inside a compression.
fn known(head: &[u8], tail: &[u8], inside: bool) -> Option<(&'static str, &'static str)> {
    let form = FORMS.iter().find(|(at, magic, ..)| head.get(*at..at + magic.len()) == Some(magic));
    if let Some((.., what, way_out)) = form {
        return Some((what, way_out));
    }
    if is_lzma(head) {
        return Some(("compressed by lzma", "`xz --format=lzma -dc FILE > disk.raw` decompresses it"));
    }
    if let Some(found) = vhd(tail) {
        return Some(found);
    }
    if tail.starts_with(b"koly") {
        return Some(("an Apple disk image", "`qemu-img convert -f dmg -O raw FILE disk.raw` makes a raw disk of it"));
    }
    match Format::of(head) {
        Format::Qcow2 if inside => Some(("a qcow2 image", "it is packed as it is")),
        Format::Zstd | Format::Gzip | Format::Xz if inside => Some(("compressed once more", "it is packed as it is")),
        _ => None,
    }
}

/// A VHD of fixed size is a raw disk with a footer behind it (Virtual Hard Disk Image Format Specification 1.0).
fn vhd(tail: &[u8]) -> Option<(&'static str, &'static str)> {
    let footer = |length: &usize| tail.get(tail.len().checked_sub(*length)?..);
    let footer = FOOTERS.iter().filter_map(footer).find(|footer| footer.starts_with(b"conectix"))?;
    match footer.get(60..64) {
        Some([0, 0, 0, 2]) => Some((
            "a VHD image of fixed size, a raw disk with a footer that is no part of it",
            "`qemu-img convert -f vpc -O raw FILE disk.raw` makes a raw disk of it",
        )),
        Some([0, 0, 0, 4]) => Some((
            "a differencing VHD image, of which most lies in another file",
            "merge it with its parent where it was made",
        )),
        _ => Some(("a VHD image", "`qemu-img convert -f vpc -O raw FILE disk.raw` makes a raw disk of it")),
    }
}

/// The header of the format of LZMA Utils has no magic number: properties, here those that every encoder takes, the size of
/// a dictionary, 2^n or 2^n + 2^(n-1), and that of the content, or all ones.
fn is_lzma(head: &[u8]) -> bool {
    let (Some([0x5d, dictionary @ ..]), Some(size)) = (head.first_chunk::<5>(), head.get(5..13)) else { return false };
    let dictionary = u32::from_le_bytes(*dictionary);
    let is_possible = match dictionary.count_ones() {
        1 => true,
        2 => (dictionary >> dictionary.trailing_zeros()) == 3,
        _ => false,
    };
    let size = size.iter().rev().fold(0, |sum: u64, byte| sum << 8 | u64::from(*byte));
    dictionary >= 4096 && is_possible && (size == u64::MAX || (1..1 << 38).contains(&size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_none_of_them() {
        let mut head = [0; ENDS];
        head[..3].copy_from_slice(&[0xeb, 0x63, 0x90]);
        head[510..].copy_from_slice(&[0x55, 0xaa]);
        assert_eq!(known(&head, &[0; ENDS], true), None);
        assert_eq!(known(&[], &[], true), None);
        assert_eq!(known(b"QFI\xfb\0\0\0\x03", &[0; ENDS], false), None);
    }

    #[test]
    fn a_header_of_lzma_is_told_by_what_is_possible_in_it() {
        let header = |dictionary: u32, size: u64| {
            [&[0x5d][..], &dictionary.to_le_bytes(), &size.to_le_bytes(), &[0; 20]].concat()
        };
        assert!(is_lzma(&header(8 << 20, u64::MAX)) && is_lzma(&header(3 << 20, 1 << 30)));
        for wrong in
            [header(5 << 20, u64::MAX), header(0, u64::MAX), header(8 << 20, 1 << 60), header(8 << 20, 0), vec![0x5d]]
        {
            assert!(!is_lzma(&wrong), "{wrong:?}");
        }
    }

    #[test]
    fn every_kind_of_vhd_is_told_by_its_footer() {
        let footer = |kind: u8, length: usize| {
            let mut footer = vec![0; 512];
            let at = 512 - length;
            footer[at..at + 8].copy_from_slice(b"conectix");
            footer[at + 63] = kind;
            footer
        };
        for (kind, length, what) in
            [(2, 512, "of fixed size"), (2, 511, "of fixed size"), (4, 512, "differencing"), (3, 512, "a VHD")]
        {
            let (found, _) = vhd(&footer(kind, length)).unwrap();
            assert!(found.contains(what), "{found}");
        }
        assert_eq!(vhd(&[0; 512]), None);
        assert_eq!(vhd(b"conectix"), None);
    }
}
