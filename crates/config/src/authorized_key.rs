//! Whether a line of `ssh_authorized_keys` can let anybody log in: whether it has a whole public key. Must not judge its
//! options, nor whose key it is.

use ct_codecs::{Base64, Decoder};

/// What a line may hold.
pub(crate) const ALLOWED: &str =
    "a list of public keys, one line of text each, such as [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI… you@example]";

/// How the base64 of every key begins: a length below 2^16.
const BEGINS: &str = "AAAA";

/// Whether `line` has a key: the word of its type, and behind it the key in base64, which names the type again and is
/// not cut off. Options may stand before it, a comment behind it.
pub(crate) fn is_key(line: &str) -> bool {
    let words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
    words.windows(2).any(|pair| matches!(pair, [kind, key] if key.starts_with(BEGINS) && is_of(kind, key)))
}

fn is_of(kind: &str, key: &str) -> bool {
    let Ok(bytes) = Base64::decode_to_vec(key, None) else { return false };
    match field(&bytes) {
        // A certificate has numbers among its fields, which are not told apart here.
        Some((name, rest)) if name == kind.as_bytes() => {
            !rest.is_empty() && (kind.contains("-cert-") || is_whole(rest))
        }
        _ => false,
    }
}

/// Whether there are fields up to the last byte.
fn is_whole(mut rest: &[u8]) -> bool {
    while !rest.is_empty() {
        match field(rest) {
            Some((_, behind)) => rest = behind,
            None => return false,
        }
    }
    true
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
            assert!(is_key(&line), "{line}");
        }
    }

    #[test]
    fn what_lets_nobody_in_is_no_key() {
        let base64 = ED25519.split_once(' ').unwrap().1;
        for line in [
            "",
            "foo",
            "ssh-ed25519",
            "ssh-ed25519 AAAA me",
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 me",
            base64,
            &format!("ssh-rsa {base64}"),
            &ED25519[..ED25519.len() - 1],
            &ED25519[..ED25519.len() - 4],
            &format!("{ED25519}AAAA"),
            "/root/.ssh/id_ed25519.pub",
            "gh:me",
        ] {
            assert!(!is_key(line), "{line}");
        }
    }
}
