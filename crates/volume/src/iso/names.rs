//! Names of ISO 9660 and what they stand for: text in UTF-16 of Joliet, and the short capitals of a plain volume. Must
//! not look into folders.

/// Which names the entries have.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Names {
    /// Capitals, digits and `_`, with a version.
    Plain,
    /// UTF-16.
    Joliet,
    /// Any bytes, in fields of the record behind so many bytes.
    RockRidge { skip: usize },
}

/// `USER_DAT.;1` is `user_dat`, as Linux shows it.
pub(crate) fn plain(stored: &[u8]) -> String {
    let name = String::from_utf8_lossy(stored).to_ascii_lowercase();
    let name = without_version(&name);
    name.strip_suffix('.').unwrap_or(name).to_owned()
}

/// A name in UTF-16, most significant byte first.
pub(crate) fn joliet(stored: &[u8]) -> String {
    let units = stored.as_chunks::<2>().0.iter().map(|unit| u16::from_be_bytes(*unit));
    let name: String = char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
    without_version(&name).to_owned()
}

fn without_version(name: &str) -> &str {
    match name.rsplit_once(';') {
        Some((name, version)) if version.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => name,
    }
}

/// Whether a plain volume stores the file `wanted` as `name`: itself, or with what a plain name cannot have replaced
/// (`user_data`), and at level 1 also cut to 8 and 3 characters (`user_dat`).
pub(crate) fn is_plain_of(name: &str, wanted: &str) -> bool {
    name.eq_ignore_ascii_case(wanted)
        || name == replaced(wanted, usize::MAX, usize::MAX)
        || name == replaced(wanted, 8, 3)
}

fn replaced(wanted: &str, stem: usize, suffix: usize) -> String {
    let part = |text: &str, length: usize| -> String {
        let allowed = |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '_' };
        text.chars().take(length).map(allowed).collect()
    };
    match wanted.rsplit_once('.') {
        Some((before, after)) => format!("{}.{}", part(before, stem), part(after, suffix)),
        None => part(wanted, stem),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_name_stands_for_what_its_writer_was_given() {
        for (stored, shown, wanted) in [
            (&b"USER_DAT.;1"[..], "user_dat", "user-data"),
            (b"USER_DATA.;1", "user_data", "user-data"),
            (b"user-data", "user-data", "user-data"),
            (b"CLOUD_MA", "cloud_ma", "cloud-machine"),
            (b"REQUEST.JSO;1", "request.jso", "request.json"),
            (b"REQUEST.JSON;1", "request.json", "request.json"),
        ] {
            assert_eq!(plain(stored), shown);
            assert!(is_plain_of(shown, wanted), "{shown} {wanted}");
            assert!(!is_plain_of(shown, "meta-data"), "{shown}");
        }
    }

    #[test]
    fn a_joliet_name_is_text_even_when_it_is_none() {
        assert_eq!(joliet(b"\0u\0s\0e\0r\0;\x001"), "user");
        assert_eq!(joliet(b"\xd8\0\0a;"), "\u{fffd}a");
        assert_eq!(joliet(b""), "");
    }
}
