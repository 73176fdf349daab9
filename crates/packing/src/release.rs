//! Releases of kernels, as `uname -r` prints them: what can be one, which one a kernel states, which one is newer. Must not
//! read a file.

use std::cmp::Ordering;

/// Whether a text can be a release, and so one part of a path.
pub(crate) fn is_release(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._+~-".contains(&byte);
    (1..=128).contains(&text.len()) && text.bytes().all(allowed) && !text.starts_with(['.', '-'])
}

/// The release in the header of a bzImage (Documentation/arch/x86/boot.rst, `kernel_version` at 0x20e).
pub(crate) fn stated_release(head: &[u8]) -> Option<String> {
    if head.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    let at = match head.get(0x20e..0x210)? {
        [0, 0] => return None,
        [low, high] => usize::from(u16::from_le_bytes([*low, *high])) + 0x200,
        _ => return None,
    };
    let text = head.get(at..)?.split(|byte| matches!(byte, b' ' | 0)).next()?;
    let text = std::str::from_utf8(text).ok()?;
    is_release(text).then(|| text.to_owned())
}

/// Compares releases part by part, numbers as numbers.
pub(crate) fn by_version(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one, other);
    loop {
        if one.is_empty() || other.is_empty() {
            return one.len().cmp(&other.len());
        }
        let (text, text_rest) = run(one, false);
        let (other_text, other_text_rest) = run(other, false);
        let (number, rest) = run(text_rest, true);
        let (other_number, other_rest) = run(other_text_rest, true);
        let plain = |number: &str| number.trim_start_matches('0').to_owned();
        let (number, other_number) = (plain(number), plain(other_number));
        let order = text
            .cmp(other_text)
            .then_with(|| number.len().cmp(&other_number.len()))
            .then_with(|| number.cmp(&other_number));
        if order != Ordering::Equal {
            return order;
        }
        (one, other) = (rest, other_rest);
    }
}

/// The digits, or what is none, in front of a text, and the rest.
fn run(text: &str, digits: bool) -> (&str, &str) {
    let end = text.find(|letter: char| letter.is_ascii_digit() != digits).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_compare_by_their_numbers() {
        let ordered = [
            "5.10.0-9-amd64",
            "6.1.0-9-amd64",
            "6.1.0-10-amd64",
            "6.1.10-1-amd64",
            "6.12.1-amd64",
            "6.12.1-cloud-amd64",
        ];
        for pair in ordered.windows(2) {
            assert_eq!(by_version(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(by_version(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
        }
        assert_eq!(by_version("6.1", "6.1"), Ordering::Equal);
    }
}
