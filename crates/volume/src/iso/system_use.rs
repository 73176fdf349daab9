//! The fields that Rock Ridge adds to records (System Use Sharing Protocol): whether they are there, a file's own name,
//! and what is no file. Must not follow more continuations than a name can need.

use std::io;

use super::{
    SECTOR,
    record::{Extent, Records},
};
use crate::{error::damaged, little_endian::u32_at};

/// Most continuations of one record; a name of 255 bytes needs two.
const MAX_CONTINUATIONS: u32 = 4;
/// Longest name, in bytes.
const MAX_NAME: usize = 255;
const NAME_CONTINUES: u8 = 1;

/// What the fields of a record say of it.
#[derive(Default)]
pub(crate) struct Said {
    pub(crate) name: Option<String>,
    /// Why its extent is not its content.
    pub(crate) other: Option<&'static str>,
}

/// Whether the root folder announces Rock Ridge, and then how many bytes stand before the fields of each record.
pub(crate) fn rock_ridge(volume: &[u8], root: Extent) -> io::Result<Option<usize>> {
    let folder = root.of(volume).ok_or_else(|| damaged("the root folder lies beyond the end"))?;
    let Some(itself) = Records::of(folder).next().transpose()? else { return Ok(None) };
    let mut skip = None;
    for field in Fields::of(volume, itself.system_use) {
        match (field?, skip) {
            ((b"SP", [0xbe, 0xef, bytes, ..]), _) => skip = Some(usize::from(*bytes)),
            ((b"ER", [length, _, _, _, text @ ..]), Some(_)) => {
                if let Some(b"RRIP_1991A" | b"IEEE_P1282" | b"IEEE_1282") = text.get(..usize::from(*length)) {
                    return Ok(skip);
                }
            }
            // The announcement comes first, or there is none.
            (_, None) => return Ok(None),
            _ => {}
        }
    }
    Ok(None)
}

/// What the fields in `area` say.
pub(crate) fn of_entry(volume: &[u8], area: &[u8]) -> io::Result<Said> {
    let mut said = Said::default();
    let (mut name, mut complete) = (Vec::new(), false);
    for field in Fields::of(volume, area) {
        match field? {
            (b"NM", [flags, text @ ..]) if !complete => {
                name.extend_from_slice(text);
                complete = flags & NAME_CONTINUES == 0;
            }
            (b"SL", _) => said.other = Some("it is a symbolic link"),
            (b"CL", _) => said.other = Some("it is a folder that was moved for its depth"),
            (b"ZF", _) => said.other = Some("it is compressed"),
            _ => {}
        }
        if name.len() > MAX_NAME {
            return Err(damaged("a name has more than 255 bytes"));
        }
    }
    if !name.is_empty() {
        said.name = Some(String::from_utf8_lossy(&name).into_owned());
    }
    Ok(said)
}

/// Fields of one record, in its own area and then in those that continue it.
struct Fields<'a> {
    volume: &'a [u8],
    area: &'a [u8],
    next: Option<&'a [u8]>,
    continuations: u32,
}

impl<'a> Fields<'a> {
    fn of(volume: &'a [u8], area: &'a [u8]) -> Self {
        Self { volume, area, next: None, continuations: 0 }
    }

    /// The next field of this area. What is too short for one, or says so of itself, is padding.
    fn split(&mut self) -> Option<(&'a [u8; 2], &'a [u8])> {
        let (signature, rest) = self.area.split_first_chunk::<2>()?;
        let length = usize::from(*rest.first()?);
        let content = self.area.get(4..length)?;
        self.area = self.area.get(length..)?;
        Some((signature, content))
    }

    /// The area that a field `CE` points to: block, offset and length, each in both byte orders.
    fn continuation(&self, field: &[u8]) -> Option<&'a [u8]> {
        let [block, offset, length] = [0, 8, 16].map(|at| u32_at(field, at).and_then(|n| usize::try_from(n).ok()));
        let start = block?.checked_mul(SECTOR)?.checked_add(offset?)?;
        let area = self.volume.get(start..start.checked_add(length?)?)?;
        (area.len() <= SECTOR).then_some(area)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = io::Result<(&'a [u8; 2], &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.split() {
                Some((b"CE", field)) => match self.continuation(field) {
                    Some(area) => self.next = Some(area),
                    None => {
                        (self.area, self.next) = (&[], None);
                        return Some(Err(damaged("fields of an entry lie beyond the end")));
                    }
                },
                Some((b"ST", _)) => self.area = &[],
                Some(field) => return Some(Ok(field)),
                None => {
                    self.area = self.next.take()?;
                    self.continuations += 1;
                    if self.continuations > MAX_CONTINUATIONS {
                        self.area = &[];
                        return Some(Err(damaged("fields of an entry have no end")));
                    }
                }
            }
        }
    }
}
