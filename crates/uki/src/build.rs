//! A unified kernel image: the stub with sections behind its own. The crate `object` has the layout of the headers; its writer lays
//! all sections out anew, each aligned, and Debian's stub has one that is not. Must not change a section of the stub.

use object::{
    LittleEndian as LE, U32,
    pe::{self, ImageNtHeaders64, ImageSectionHeader},
    pod::{bytes_of, from_bytes_mut},
};

use crate::{
    MEASURED, command_line,
    error::{Part, UkiError},
    kernel, measure,
    pe::{Pe, raw_name},
    stub::Stub,
};

/// Most bytes of an os-release file.
const MAX_OS_RELEASE: usize = 64 << 10;
/// Sections begin on pages, as the kernel's own do.
const PAGE: usize = 4096;
/// How archives begin that Linux unpacks (init/initramfs.c, lib/decompress.c): two forms of cpio, gzip, bzip2, lzma, xz, lzo, lz4,
/// zstd.
const ARCHIVES: [&[u8]; 10] = [
    b"070701",
    b"070702",
    b"\x1f\x8b",
    b"\x1f\x9e",
    b"BZh",
    b"\x5d\x00\x00",
    b"\xfd7zXZ\0",
    b"\x89LZO",
    b"\x02\x21\x4c\x18",
    b"\x28\xb5\x2f\xfd",
];

/// What an image is made of. Nothing is added to the texts.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// systemd's stub for x86-64, unsigned.
    pub stub: &'a [u8],
    /// A bzImage with an EFI stub of its own.
    pub kernel: &'a [u8],
    /// One archive, or several one behind the other.
    pub initramfs: &'a [u8],
    /// The kernel's command line: printable ASCII.
    pub command_line: &'a str,
    /// Content of an os-release file, as os-release(5) describes it.
    pub os_release: &'a str,
    /// The kernel's release, as `uname -r` prints it.
    pub uname: &'a str,
}

/// The image. The same parts give the same bytes.
///
/// # Errors
/// Any [`UkiError`] but [`UkiError::NoImage`].
pub fn build(parts: &Parts<'_>) -> Result<Vec<u8>, UkiError> {
    let stub = Pe::read(parts.stub, Part::Stub)?;
    check_stub(&stub)?;
    let most = kernel::check(parts.kernel)?;
    command_line::check(parts.command_line, most)?;
    check_texts(parts)?;
    if !is_initramfs(parts.initramfs) {
        return Err(UkiError::NoInitramfs);
    }
    // The kernel comes last: what it may need behind itself in memory is nobody else's.
    let added: [(&[u8], &[u8]); 5] = [
        (b".osrel", parts.os_release.as_bytes()),
        (b".cmdline", parts.command_line.as_bytes()),
        (b".uname", parts.uname.as_bytes()),
        (b".initrd", parts.initramfs),
        (b".linux", parts.kernel),
    ];
    append(&stub, &added)
}

/// Whether Linux would unpack something of it, as far as its first bytes tell.
#[must_use]
pub fn is_initramfs(bytes: &[u8]) -> bool {
    ARCHIVES.iter().any(|begin| bytes.starts_with(begin))
}

fn check_stub(stub: &Pe<'_>) -> Result<(), UkiError> {
    Stub::of(stub, Part::Stub)?;
    measure::check_names(stub, Part::Stub)?;
    if stub.signatures.is_some() {
        return Err(UkiError::SignedStub);
    }
    let is_of_image = |name: &&(&str, u32)| name.0 != ".sbat" && stub.find(name.0).is_some();
    match MEASURED.iter().find(is_of_image) {
        Some((name, _)) => Err(UkiError::WholeImage { section: (*name).to_owned() }),
        None => Ok(()),
    }
}

fn check_texts(parts: &Parts<'_>) -> Result<(), UkiError> {
    let bad = |name, why| Err(UkiError::BadText { name, why });
    let os_release = parts.os_release;
    if os_release.contains('\0') || os_release.len() > MAX_OS_RELEASE {
        return bad("os-release", "has a NUL or more than 64 KiB");
    }
    if !os_release.lines().any(|line| line.starts_with("ID=")) {
        return bad("os-release", "has no line ID=");
    }
    if !kernel::is_release(parts.uname) {
        return bad("the kernel's release", "is not stated by it, or can be none");
    }
    Ok(())
}

/// The stub with sections behind its own.
fn append(stub: &Pe<'_>, added: &[(&[u8], &[u8])]) -> Result<Vec<u8>, UkiError> {
    let optional = &stub.headers.optional_header;
    let in_file = optional.file_alignment.get(LE) as usize;
    let in_memory = optional.section_alignment.get(LE) as usize;
    let (mut bytes, mut address) = ends(stub)?;
    let table_end = check_room(stub, added.len())?;
    let mut table = Vec::new();
    let mut data: u32 = 0;
    for (name, content) in added {
        pad(&mut bytes, in_file)?;
        address = up(address, in_memory.max(PAGE))?;
        let start = word(bytes.len())?;
        bytes.extend_from_slice(content);
        pad(&mut bytes, in_file)?;
        let size = word(bytes.len())? - start;
        data = data.checked_add(size).ok_or(UkiError::TooLarge)?;
        table.extend_from_slice(bytes_of(&header(name, address, content.len(), start, size)?));
        address = address.checked_add(content.len()).ok_or(UkiError::TooLarge)?;
    }
    let size = word(up(address, in_memory)?)?;
    let place = bytes.get_mut(table_end..table_end + table.len()).ok_or(UkiError::TooLarge)?;
    place.copy_from_slice(&table);
    let headers = bytes.get_mut(stub.headers_at..).unwrap_or_default();
    let (headers, _) = from_bytes_mut::<ImageNtHeaders64>(headers).map_err(|()| UkiError::TooLarge)?;
    let count = stub.sections.len() + added.len();
    headers.file_header.number_of_sections.set(LE, u16::try_from(count).map_err(|_| UkiError::TooLarge)?);
    // They were behind the last section.
    headers.file_header.pointer_to_symbol_table.set(LE, 0);
    headers.file_header.number_of_symbols.set(LE, 0);
    let optional = &mut headers.optional_header;
    let all = optional.size_of_initialized_data.get(LE).checked_add(data).ok_or(UkiError::TooLarge)?;
    optional.size_of_initialized_data.set(LE, all);
    optional.size_of_image.set(LE, size);
    // Firmware does not look at it, and whoever signs the file computes it.
    optional.check_sum.set(LE, 0);
    Ok(bytes)
}

/// The stub without what is behind its last section, and the end of what is in memory. What lies between sections, or behind them,
/// is not in the hash that is signed, or not in that of every program.
fn ends(stub: &Pe<'_>) -> Result<(Vec<u8>, usize), UkiError> {
    let ranges = stub.sections.iter().filter_map(|section| stub.range(section));
    let in_file = ranges.map(|range| range.end).max().unwrap_or_default();
    let mut in_memory = stub.headers.optional_header.size_of_image.get(LE) as usize;
    for section in stub.sections {
        let (start, size) = (section.virtual_address.get(LE) as usize, section.virtual_size.get(LE) as usize);
        in_memory = in_memory.max(start.checked_add(size).ok_or(UkiError::TooLarge)?);
    }
    Ok((stub.bytes.get(..in_file).unwrap_or_default().to_vec(), in_memory))
}

/// Where the section table ends, when behind it are enough zeros for more headers.
fn check_room(stub: &Pe<'_>, wanted: usize) -> Result<usize, UkiError> {
    let each = size_of::<ImageSectionHeader>();
    let start = stub.table_at + size_of_val(stub.sections);
    let sections = stub.sections.iter().filter(|section| section.size_of_raw_data.get(LE) > 0);
    let first = sections.map(|section| section.pointer_to_raw_data.get(LE) as usize).min().unwrap_or_default();
    let end = first.min(stub.headers.optional_header.size_of_headers.get(LE) as usize);
    let room = stub.bytes.get(start..end).unwrap_or_default();
    let room = room.iter().take_while(|byte| **byte == 0).count() / each;
    if room < wanted { Err(UkiError::NoRoom { room, wanted }) } else { Ok(start) }
}

fn header(name: &[u8], address: usize, size: usize, start: u32, in_file: u32) -> Result<ImageSectionHeader, UkiError> {
    let mut padded = [0; 8];
    for (to, from) in padded.iter_mut().zip(name) {
        *to = *from;
    }
    let zero = U32::new(LE, 0);
    let header = ImageSectionHeader {
        name: padded,
        virtual_size: U32::new(LE, word(size)?),
        virtual_address: U32::new(LE, word(address)?),
        size_of_raw_data: U32::new(LE, in_file),
        pointer_to_raw_data: U32::new(LE, start),
        pointer_to_relocations: zero,
        pointer_to_linenumbers: zero,
        number_of_relocations: Default::default(),
        number_of_linenumbers: Default::default(),
        characteristics: U32::new(LE, pe::IMAGE_SCN_CNT_INITIALIZED_DATA | pe::IMAGE_SCN_MEM_READ),
    };
    debug_assert_eq!(raw_name(&header), name);
    Ok(header)
}

fn pad(bytes: &mut Vec<u8>, alignment: usize) -> Result<(), UkiError> {
    let end = up(bytes.len(), alignment)?;
    word(end)?;
    bytes.resize(end, 0);
    Ok(())
}

fn up(value: usize, alignment: usize) -> Result<usize, UkiError> {
    value.checked_next_multiple_of(alignment).ok_or(UkiError::TooLarge)
}

fn word(value: usize) -> Result<u32, UkiError> {
    u32::try_from(value).map_err(|_| UkiError::TooLarge)
}

#[cfg(test)]
#[path = "build_tests.rs"]
mod tests;
