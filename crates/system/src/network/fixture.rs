//! Answers of DHCP servers, byte for byte after RFC 2131, figure 1: not by the encoder that is in use elsewhere.

use super::packet::Client;

pub(crate) const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
pub(crate) const CLIENT: Client = Client { mac: MAC, xid: 0x0102_0304 };
pub(crate) const OFFER: u8 = 2;
pub(crate) const ACK: u8 = 5;
pub(crate) const NAK: u8 = 6;

/// Options by code.
pub(crate) type Options<'a> = Vec<(u8, &'a [u8])>;

/// The options of a lease as nearly every server gives them.
pub(crate) fn usual(kind: &[u8; 1]) -> Options<'_> {
    vec![
        (53, kind),
        (54, &[10, 0, 2, 2]),
        (51, &[0, 0, 0x0e, 0x10]),
        (1, &[255, 255, 255, 0]),
        (3, &[10, 0, 2, 2]),
        (6, &[10, 0, 2, 3]),
    ]
}

/// The options with one of them replaced, added or, if it is empty, taken away.
pub(crate) fn with<'a>(mut options: Options<'a>, code: u8, value: &'a [u8]) -> Options<'a> {
    options.retain(|(known, _)| *known != code);
    if !value.is_empty() {
        options.push((code, value));
    }
    options
}

/// A packet for [`CLIENT`] that gives `address`. Options longer than 255 bytes are split (RFC 3396).
pub(crate) fn packet(address: [u8; 4], options: &Options<'_>) -> Vec<u8> {
    let mut bytes = vec![2, 1, 6, 0];
    bytes.extend(CLIENT.xid.to_be_bytes());
    bytes.extend([0; 8]);
    bytes.extend(address);
    bytes.extend([0; 8]);
    bytes.extend(MAC);
    bytes.resize(236, 0);
    bytes.extend([99, 130, 83, 99]);
    for (code, value) in options {
        for part in value.chunks(255) {
            bytes.extend([*code, u8::try_from(part.len()).unwrap()]);
            bytes.extend(part);
        }
    }
    bytes.push(255);
    bytes
}
