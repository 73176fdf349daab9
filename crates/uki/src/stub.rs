//! Which stub of systemd a program of EFI has: what it measures depends on its version. Must not guess.

use crate::{
    KNOWN,
    error::{Part, UkiError},
    pe::Pe,
};

/// Most letters of a version.
const MAX_VERSION: usize = 100;

/// A version of systemd's stub.
pub(crate) struct Stub {
    /// As it calls itself, such as `systemd-stub 252.39-1~deb12u2`.
    pub(crate) name: String,
    pub(crate) version: u32,
}

impl Stub {
    /// That of `program`, by the text that loaders look for, too (systemd-boot(7)): `#### LoaderInfo: systemd-stub VERSION ####`.
    pub(crate) fn of(program: &Pe<'_>, part: Part) -> Result<Self, UkiError> {
        let none = || UkiError::NoStub { part };
        let section = program.find(".sdmagic").ok_or_else(none)?;
        let text = std::str::from_utf8(program.content(section)?).map_err(|_| none())?;
        let text =
            text.trim_end_matches('\0').strip_prefix("#### LoaderInfo: ").and_then(|text| text.strip_suffix(" ####"));
        let name =
            text.filter(|name| name.len() <= MAX_VERSION && name.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        let name = name.ok_or_else(none)?.to_owned();
        let version = name.strip_prefix("systemd-stub ").ok_or_else(none)?;
        let digits = version.bytes().take_while(u8::is_ascii_digit).count();
        let version = version.get(..digits).and_then(|digits| digits.parse().ok()).ok_or_else(none)?;
        if version != 252 && !KNOWN.contains(&version) {
            return Err(UkiError::UnknownStub { version: name });
        }
        Ok(Self { name, version })
    }
}
