//! An OpenSSH Ed25519 public key in one line: its grammar, so that nothing else reaches a `known_hosts` file, and whether
//! it can be a key at all. Must not say whose it is.

use ct_codecs::{Base64, Decoder};
use ed25519_dalek::VerifyingKey;

/// The first 19 bytes of the key's blob, `00 00 00 0b "ssh-ed25519" 00 00 00 20` (RFC 4253 section 6.6, RFC 8709
/// section 4).
const PREFIX: &[u8; 19] = b"\0\0\0\x0bssh-ed25519\0\0\0\x20";

/// Whether `line` is `ssh-ed25519 BASE64 COMMENT` with a point of the curve that only its owner can sign for: one of small
/// order verifies signatures that nobody made (RFC 8032, section 5.1.7; ed25519-dalek calls it weak).
pub(crate) fn is_usable(line: &str, comment: &str) -> bool {
    let mut words = line.split(' ');
    let (Some("ssh-ed25519"), Some(blob), Some(found), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return false;
    };
    found == comment && point(blob).is_some_and(|point| !point.is_weak())
}

fn point(blob: &str) -> Option<VerifyingKey> {
    let mut bytes = [0; 51];
    // Base64 has one spelling for these bytes: padding and stray bits are refused by the decoder.
    let blob = Base64::decode(&mut bytes, blob, None).ok()?;
    let key: &[u8; 32] = blob.strip_prefix(PREFIX)?.try_into().ok()?;
    VerifyingKey::from_bytes(key).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    #[test]
    fn one_line_of_the_right_kind_and_nothing_else() {
        assert!(is_usable(&format!("{KEY} demo"), "demo"));
        for line in [
            String::new(),
            "ssh-ed25519".to_owned(),
            "ssh-ed25519 AAAA demo".to_owned(),
            KEY.to_owned(),
            format!("{KEY} other"),
            format!("{KEY} demo\n"),
            format!("{KEY}\n demo"),
            format!("{KEY} demo b"),
            format!("{KEY}  demo"),
            format!(" {KEY} demo"),
            format!("{KEY}A demo"),
            format!("{KEY}= demo"),
            KEY.replace("ssh-ed25519 ", "ssh-ed25519\n") + " demo",
            KEY.replace("ssh-ed25519", "ssh-rsa") + " demo",
            KEY.replace("JdD7", "Jd-7") + " demo",
            KEY.replace("AAAAIJ", "AAAAIZ") + " demo",
            KEY.replace("NzaC1l", "NzaC1m") + " demo",
            format!("@cert-authority * {KEY} demo"),
        ] {
            assert!(!is_usable(&line, "demo"), "{line:?}");
        }
    }

    #[test]
    fn a_key_that_anybody_can_sign_for_is_none() {
        use ct_codecs::Encoder;
        let line = |point: [u8; 32]| {
            let blob = Base64::encode_to_string([PREFIX.as_slice(), &point].concat()).unwrap();
            format!("ssh-ed25519 {blob} demo")
        };
        let (mut neutral, mut order_two, mut order_four) = ([0; 32], [0xff; 32], [0; 32]);
        neutral[0] = 1;
        // -1 modulo 2^255 - 19, little-endian.
        order_two[0] = 0xec;
        order_two[31] = 0x7f;
        // y = 0; and a y that is on no point of the curve.
        order_four[31] = 0x80;
        let mut beside = [0; 32];
        beside[0] = 2;
        for point in [[0; 32], neutral, order_two, order_four, beside] {
            assert!(!is_usable(&line(point), "demo"), "{point:?}");
        }
    }
}
