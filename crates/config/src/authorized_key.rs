//! Whether a line of `ssh_authorized_keys` is a public key, and whether it is a whole one. Must not judge its options,
//! nor whose key it is.

use ct_codecs::{Base64NoPadding, Decoder};

/// What a line may hold.
pub(crate) const ALLOWED: &str =
    "a list of public keys, one line of text each, such as [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI… you@example]";

/// How the base64 of every key begins: a length below 2^16.
const BEGINS: &str = "AAAA";

/// Whether `line` has a key: the word of its type, and behind it base64 that names the type again. Options may stand
/// before it, a comment behind it.
pub(crate) fn is_key(line: &str) -> bool {
    key(line).is_some()
}

/// Whether the key in `line` has lost its end or has more than its fields, so that no server takes it: it lets nobody
/// in. cloud-init hands it on all the same.
#[must_use]
pub fn is_key_cut_off(line: &str) -> bool {
    key(line).is_some_and(|end| end == End::Lost)
}

/// How a key ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Whole,
    Lost,
}

fn key(line: &str) -> Option<End> {
    if line.trim_start().starts_with('#') {
        return None;
    }
    let words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
    words.windows(2).find_map(|pair| match pair {
        [kind, key] if key.starts_with(BEGINS) => end(kind, key),
        _ => None,
    })
}

/// How `key` of the type `kind` ends; `None` when it is of no such type.
fn end(kind: &str, key: &str) -> Option<End> {
    let digits = key.trim_end_matches('=');
    // Of a text that was cut somewhere, whole groups of four are left.
    let bytes = Base64NoPadding::decode_to_vec(digits, None);
    let whole = bytes.is_ok() && key.len().is_multiple_of(4);
    let bytes =
        bytes.or_else(|_| Base64NoPadding::decode_to_vec(digits.get(..digits.len() / 4 * 4).unwrap_or(""), None));
    let (name, rest) = field(bytes.as_ref().ok()?)?;
    if name != kind.as_bytes() {
        return None;
    }
    // A certificate has numbers among its fields, which are not told apart here.
    let fields = match fields(rest) {
        _ if kind.contains("-cert-") => !rest.is_empty(),
        Some(lengths) => match kind {
            // RFC 8709, RFC 4253, RFC 5656.
            "ssh-ed25519" => lengths == [32],
            "ssh-rsa" | "ecdsa-sha2-nistp256" | "ecdsa-sha2-nistp384" | "ecdsa-sha2-nistp521" => lengths.len() == 2,
            _ => !lengths.is_empty(),
        },
        None => false,
    };
    Some(if whole && fields { End::Whole } else { End::Lost })
}

/// Lengths of the fields up to the last byte; `None` when the last one is cut off.
fn fields(mut rest: &[u8]) -> Option<Vec<usize>> {
    let mut lengths = Vec::new();
    while !rest.is_empty() {
        let (bytes, behind) = field(rest)?;
        lengths.push(bytes.len());
        rest = behind;
    }
    Some(lengths)
}

/// The first field (RFC 4251, `string`: its length in four bytes, then its bytes) and what lies behind it.
fn field(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    const ECDSA: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";

    #[test]
    fn a_key_is_known_with_options_and_a_comment_and_without() {
        let options = "from=\"10.0.0.0/8\",command=\"echo hi there\"";
        for line in [
            ED25519.to_owned(),
            ECDSA.to_owned(),
            format!("{ED25519} me@example of mine"),
            format!("{options} {ED25519} me"),
            format!("  cert-authority   {ED25519}"),
        ] {
            assert!(is_key(&line) && !is_key_cut_off(&line), "{line}");
        }
    }

    #[test]
    fn what_is_no_key_is_none() {
        let base64 = ED25519.split_once(' ').unwrap().1;
        for line in [
            "",
            "foo",
            "ssh-ed25519",
            "ssh-ed25519 AAAA me",
            base64,
            &format!("ssh-rsa {base64}"),
            "/root/.ssh/id_ed25519.pub",
            "gh:me",
            &format!("# {ED25519}"),
        ] {
            assert!(!is_key(line), "{line}");
        }
    }

    #[test]
    fn a_key_that_lost_its_end_is_a_key_and_told_apart() {
        for line in [
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 me",
            &ED25519[..ED25519.len() - 1],
            &ED25519[..ED25519.len() - 4],
            &ECDSA[..ECDSA.len() - 1],
            &format!("{ED25519}AAAA"),
            // Whole fields, but not all of them.
            "ssh-rsa AAAAB3NzaC1yc2EAAAADAQAB",
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAEE1lY2hhbmljYWwgZXhh",
        ] {
            assert!(is_key(line) && is_key_cut_off(line), "{line}");
        }
        assert!(!is_key_cut_off("foo"));
    }
}
