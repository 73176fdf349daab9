//! The grammar of an OpenSSH Ed25519 public key in one line, so that nothing else reaches a `known_hosts` file. Must
//! not look at the key's value.

/// The first 19 bytes of the key's blob, `00 00 00 0b "ssh-ed25519" 00 00 00 20` (RFC 4253 section 6.6, RFC 8709
/// section 4), in base64: 25 digits and two bits.
const PREFIX: &str = "AAAAC3NzaC1lZDI1NTE5AAAAI";
/// Base64 digits of the blob's 51 bytes; there is no padding.
const DIGITS: usize = 68;

/// Whether `line` is `ssh-ed25519 BASE64`, with at most a printable comment of one word after it.
pub(crate) fn is_ed25519(line: &str) -> bool {
    let mut words = line.split(' ');
    let (Some("ssh-ed25519"), Some(blob)) = (words.next(), words.next()) else { return false };
    let comment = words.next();
    let printable = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic());
    words.next().is_none() && comment.is_none_or(printable) && is_blob(blob)
}

fn is_blob(blob: &str) -> bool {
    let digit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    // The two bits after the prefix are zero as well, which leaves A to P.
    let next = blob.as_bytes().get(PREFIX.len()).copied();
    blob.len() == DIGITS
        && blob.bytes().all(digit)
        && blob.starts_with(PREFIX)
        && next.is_some_and(|byte| (b'A'..=b'P').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    #[test]
    fn one_line_of_the_right_kind_and_nothing_else() {
        assert!(is_ed25519(KEY));
        assert!(is_ed25519(&format!("{KEY} root@demo")));
        for line in [
            String::new(),
            "ssh-ed25519".to_owned(),
            "ssh-ed25519 AAAA".to_owned(),
            format!("{KEY}\n"),
            format!("{KEY} a b"),
            format!("{KEY} "),
            format!("{KEY} a\u{1b}[31m"),
            format!(" {KEY}"),
            format!("{KEY}A"),
            KEY.replace("ssh-ed25519 ", "ssh-ed25519\n"),
            KEY.replace("ssh-ed25519", "ssh-rsa"),
            KEY.replace("JdD7", "Jd-7"),
            KEY.replace("AAAAIJ", "AAAAIZ"),
            KEY.replace("NzaC1l", "NzaC1m"),
            format!("@cert-authority * {KEY}"),
        ] {
            assert!(!is_ed25519(&line), "{line:?}");
        }
    }
}
