//! PE files as firmware reads them (Microsoft, "PE Format"): headers and section table, of which nothing is believed that is not
//! in the file. Must not know what a section means.

use std::ops::Range;

use object::{
    LittleEndian as LE,
    pe::{self, ImageDosHeader, ImageNtHeaders64, ImageSectionHeader},
    read::pe::{ImageNtHeaders, ImageOptionalHeader},
};

use crate::error::{Part, UkiError};

/// Most sections of a file for Windows; firmware and stubs allow no more either.
const MAX_SECTIONS: u16 = 96;

/// A PE file for x86-64 that firmware starts as a program. All sections are in the file.
pub(crate) struct Pe<'a> {
    part: Part,
    pub(crate) bytes: &'a [u8],
    pub(crate) headers: &'a ImageNtHeaders64,
    /// Where `headers` are.
    pub(crate) headers_at: usize,
    pub(crate) sections: &'a [ImageSectionHeader],
    /// Where the first of `sections` is.
    pub(crate) table_at: usize,
    /// Where its signatures are in the file, and how many bytes they have; `None` when it has none. Nothing is known of them.
    pub(crate) signatures: Option<(usize, usize)>,
}

impl<'a> Pe<'a> {
    /// Reads the headers of `bytes`, which `part` of a fault is.
    pub(crate) fn read(bytes: &'a [u8], part: Part) -> Result<Self, UkiError> {
        let no = |why: &str| UkiError::NoProgram { part, why: why.to_owned() };
        let bad = |error: object::read::Error| no(&error.to_string());
        let start = ImageDosHeader::parse(bytes).map_err(bad)?.nt_headers_offset();
        let mut at = u64::from(start);
        let (headers, directories) = ImageNtHeaders64::parse(bytes, &mut at).map_err(bad)?;
        let (file, optional) = (&headers.file_header, &headers.optional_header);
        if file.machine.get(LE) != pe::IMAGE_FILE_MACHINE_AMD64 {
            return Err(no("it is for another processor"));
        }
        if optional.subsystem.get(LE) != pe::IMAGE_SUBSYSTEM_EFI_APPLICATION {
            return Err(no("it is a PE file for another system"));
        }
        if file.number_of_sections.get(LE) > MAX_SECTIONS {
            return Err(no("it has more than 96 sections"));
        }
        let aligned = |value: u32| value.is_power_of_two();
        if !aligned(optional.section_alignment()) || !aligned(optional.file_alignment()) {
            return Err(no("its alignment is no power of two"));
        }
        let count = usize::from(file.number_of_sections.get(LE));
        let table_at = usize::try_from(at).map_err(|_| no("its headers have no end"))?;
        let table = bytes.get(table_at..).unwrap_or_default();
        let (sections, _) = object::pod::slice_from_bytes::<ImageSectionHeader>(table, count)
            .map_err(|()| no("its section table is cut off"))?;
        let security = directories.get(pe::IMAGE_DIRECTORY_ENTRY_SECURITY);
        let signatures = security
            .map(|entry| (entry.virtual_address.get(LE) as usize, entry.size.get(LE) as usize))
            .filter(|(at, _)| *at != 0);
        let headers_at = start as usize;
        let read = Self { part, bytes, headers, headers_at, sections, table_at, signatures };
        if let Some(section) = sections.iter().find(|section| read.range(section).is_none()) {
            return Err(read.cut_off(section));
        }
        // A kernel is loaded by the stub, which knows of its sections only where it begins.
        if part != Part::Kernel {
            read.check_memory()?;
        }
        Ok(read)
    }

    /// Refuses sections of which not all is in memory what the file has in them: one over another, over the headers or behind the
    /// memory of the program. Firmware checks little of it, and lays them in one after the other.
    fn check_memory(&self) -> Result<(), UkiError> {
        let optional = &self.headers.optional_header;
        let table_end = self.table_at + size_of_val(self.sections);
        let headers = u64::from(optional.size_of_headers.get(LE)).max(table_end as u64);
        let image = u64::from(optional.size_of_image.get(LE));
        for (index, section) in self.sections.iter().enumerate() {
            let (used, filled) = in_memory(section);
            let before = self.sections.get(..index).unwrap_or_default();
            let misplaced = |other| UkiError::Misplaced { part: self.part, section: shown_name(section), other };
            if used.start < headers && !used.is_empty() {
                return Err(misplaced("the headers".to_owned()));
            }
            if used.end > image {
                return Err(misplaced("the end of the program's memory".to_owned()));
            }
            let over = |other: &&ImageSectionHeader| {
                let (other, _) = in_memory(other);
                overlap(&used, &other) || overlap(&filled, &other)
            };
            if let Some(other) = before.iter().find(over) {
                return Err(misplaced(format!("section {}", shown_name(other))));
            }
        }
        Ok(())
    }

    /// The section of that name, and whether there is only one.
    pub(crate) fn find(&self, name: &str) -> Option<&'a ImageSectionHeader> {
        self.sections.iter().find(|section| raw_name(section) == name.as_bytes())
    }

    /// What the section holds when it is in memory. A section of which the memory is larger than the file, as of variables,
    /// counts as cut off: none that is read here is one.
    pub(crate) fn content(&self, section: &ImageSectionHeader) -> Result<&'a [u8], UkiError> {
        let size = section.virtual_size.get(LE) as usize;
        let all = self.range(section).and_then(|range| self.bytes.get(range));
        all.and_then(|all| all.get(..size)).ok_or_else(|| self.cut_off(section))
    }

    /// Where a section lies in the file; `None` where that is not in it.
    pub(crate) fn range(&self, section: &ImageSectionHeader) -> Option<Range<usize>> {
        let size = section.size_of_raw_data.get(LE) as usize;
        if size == 0 {
            return Some(0..0);
        }
        let start = section.pointer_to_raw_data.get(LE) as usize;
        let range = start..start.checked_add(size)?;
        (range.end <= self.bytes.len()).then_some(range)
    }

    fn cut_off(&self, section: &ImageSectionHeader) -> UkiError {
        UkiError::CutOff { part: self.part, section: shown_name(section) }
    }
}

/// Where a section is in memory, and where loaders may write when they lay it in: some copy all that the file has, with what fills its
/// last block (EDK II does where the size in memory is 0). What later sections have is written over that, as in Debian's stub.
fn in_memory(section: &ImageSectionHeader) -> (Range<u64>, Range<u64>) {
    let start = u64::from(section.virtual_address.get(LE));
    let (size, in_file) = (u64::from(section.virtual_size.get(LE)), u64::from(section.size_of_raw_data.get(LE)));
    let used = if size == 0 { in_file } else { size };
    (start..start + used, start..start + used.max(in_file))
}

fn overlap(one: &Range<u64>, other: &Range<u64>) -> bool {
    one.start.max(other.start) < one.end.min(other.end)
}

/// A name without the zeros behind it.
pub(crate) fn raw_name(section: &ImageSectionHeader) -> &[u8] {
    let end = section.name.iter().position(|byte| *byte == 0).unwrap_or(section.name.len());
    section.name.get(..end).unwrap_or_default()
}

/// A name, safe to show.
pub(crate) fn shown_name(section: &ImageSectionHeader) -> String {
    raw_name(section).escape_ascii().to_string()
}
