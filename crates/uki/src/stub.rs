//! Which stub of systemd a program of EFI has: what it measures depends on its version. Must not guess.

use crate::{
    KNOWN, OLD,
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
        if !version.starts_with(|first: char| first.is_ascii_digit()) {
            return Err(none());
        }
        match known(version) {
            Some(version) => Ok(Self { name, version }),
            None => Err(UkiError::UnknownStub { version: name }),
        }
    }
}

/// The version of systemd in `text`, when what that stub measures is known. Distributions backport what a stub measures without another
/// version of systemd: `252-32.el9_4` of RHEL measures sections that 252 does not. So only Debian's packages count, and, since 254,
/// numbers without any suffix.
fn known(text: &str) -> Option<u32> {
    let (upstream, revision) = text.split_once('-').map_or((text, None), |(before, after)| (before, Some(after)));
    let (version, point) = upstream.split_once('.').map_or((upstream, None), |(version, point)| (version, Some(point)));
    let is_debian = match revision {
        Some(revision) if point.is_some() && is_revision(revision) => true,
        Some(_) => return None,
        None => false,
    };
    if !is_number(version) || point.is_some_and(|point| !is_number(point)) {
        return None;
    }
    let version = version.parse().ok()?;
    (KNOWN.contains(&version) || version == OLD && is_debian).then_some(version)
}

/// Whether a package's revision is one of Debian: `1`, `1~deb12u2`, `1+deb13u1` or `1~bpo12+1`, and not `1.fc39` or `1ubuntu8`.
fn is_revision(text: &str) -> bool {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, suffix) = text.split_at(digits);
    let of = |start: &str, between| {
        let parts = suffix.strip_prefix(start).and_then(|rest| rest.split_once(between));
        parts.is_some_and(|(release, update)| is_number(release) && is_number(update))
    };
    is_number(number) && (suffix.is_empty() || of("~deb", 'u') || of("+deb", 'u') || of("~bpo", '+'))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_versions_that_were_compared_are_known() {
        for (text, version) in [
            ("252.39-1~deb12u2", 252),
            ("252.6-1", 252),
            ("254", 254),
            ("254.26", 254),
            ("254.26-1~bpo12+1", 254),
            ("257.13-1~deb13u1", 257),
            ("257.9-1+deb13u1", 257),
            ("262.1-1", 262),
        ] {
            assert_eq!(known(text), Some(version), "{text}");
        }
        for text in [
            "252-32.el9_4",
            "252",
            "252.4",
            "252-3",
            "252.18-1.fc37",
            "252.5-2ubuntu3",
            "253.1-1",
            "254.26-1.fc39",
            "255.4-1ubuntu8.6",
            "256~rc1",
            "257-9.el10",
            "257-9-g0123abc",
            "257.2-1-arch",
            "254.10+suse.84.ge8d77af424",
            "257.13-",
            "257.13-1~deb13",
            "257.",
            "263",
            "99999999999",
        ] {
            assert_eq!(known(text), None, "{text}");
        }
    }
}
