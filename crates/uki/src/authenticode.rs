//! What firmware measures of a program that it starts: its Authenticode digest (Microsoft, "Windows Authenticode Portable Executable
//! Signature Format", "Calculating the PE Image Hash"), and PCR 4 after it. Must not say what a value proves.

use object::{pe, read::pe::ImageOptionalHeader};
use sha2::{Digest, digest::Output};

use crate::{pcr::Pcr, pe::Pe};

/// Bytes of a directory's entry: an address and a size.
const ENTRY: usize = 8;
/// What firmware measures into PCR 4 when it has chosen what to boot, and before it does so (TCG PC Client Platform Firmware
/// Profile 1.06, 3.3.4.5 and 10.4.4): the text of the action, without an end, and the separator.
const BEFORE: [&[u8]; 2] = [b"Calling EFI Application from Boot Option", &[0; 4]];

/// The file without its checksum and its signatures, in three parts. `None` where firmware hashes other bytes than a signer does:
/// the one goes from section to section, the other through the file, so that a gap, or more behind the signatures, counts for one alone.
pub(crate) fn covered<'a>(image: &Pe<'a>) -> Option<[&'a [u8]; 3]> {
    let optional = &image.headers.optional_header;
    let start = image.headers_at.checked_add(size_of::<u32>() + size_of::<pe::ImageFileHeader>())?;
    let checksum = start.checked_add(std::mem::offset_of!(pe::ImageOptionalHeader64, check_sum))?;
    let entries = start.checked_add(size_of::<pe::ImageOptionalHeader64>())?;
    let entry = entries.checked_add(ENTRY.checked_mul(pe::IMAGE_DIRECTORY_ENTRY_SECURITY)?)?;
    if optional.number_of_rva_and_sizes() as usize <= pe::IMAGE_DIRECTORY_ENTRY_SECURITY {
        return None;
    }
    let signatures = match image.signatures {
        Some((at, size)) if at.checked_add(size)? == image.bytes.len() => at,
        Some(_) => return None,
        None => image.bytes.len(),
    };
    let mut ranges: Vec<_> = image.sections.iter().filter_map(|section| image.range(section)).collect();
    ranges.retain(|range| !range.is_empty());
    ranges.sort_by_key(|range| range.start);
    let end = ranges
        .iter()
        .try_fold(optional.size_of_headers() as usize, |end, range| (range.start == end).then_some(range.end))?;
    let part = |range: std::ops::Range<usize>| image.bytes.get(range);
    (end <= signatures).then_some([
        part(0..checksum)?,
        part(checksum + size_of::<u32>()..entry)?,
        part(entry + ENTRY..signatures)?,
    ])
}

/// The digest of what is [`covered`].
pub(crate) fn digest<D: Digest>(covered: &[&[u8]; 3]) -> Output<D> {
    covered.iter().fold(D::new(), D::chain_update).finalize()
}

/// PCR 4 when firmware starts the program of that digest by itself, and it was the first that it tried.
pub(crate) fn pcr4<D: Digest>(digest: Output<D>) -> Pcr<D> {
    Pcr::after(&BEFORE).extended_by(digest)
}
