//! A document that is compressed with gzip (RFC 1952), which cloud-init takes too. Must not make more of it than a document may
//! have.

use std::{borrow::Cow, io::Read};

use flate2::read::MultiGzDecoder;

use crate::{
    error::{ConfigError, ConfigErrors},
    limits::MAX_DOCUMENT,
    source::{Form, LayerKind, Mark, Source},
};

/// How such a document begins.
const MAGIC: &[u8] = b"\x1f\x8b";

/// A byte order mark, with which only a text begins.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The document in `bytes`: what is in them, or they themselves when they are not compressed.
///
/// # Errors
/// When they cannot be decompressed, or to more than [`MAX_DOCUMENT`] bytes, or stand behind a byte order mark, which
/// hides from cloud-init that they are compressed.
pub(crate) fn decompressed<'bytes>(
    layer: LayerKind,
    name: &str,
    bytes: &'bytes [u8],
) -> Result<Cow<'bytes, [u8]>, ConfigErrors> {
    let is_marked = bytes.strip_prefix(BYTE_ORDER_MARK).is_some_and(|rest| rest.starts_with(MAGIC));
    if !(is_marked || bytes.starts_with(MAGIC)) || bytes.len() > MAX_DOCUMENT {
        return Ok(Cow::Borrowed(bytes));
    }
    let refused = |message: String, allowed: String| -> ConfigErrors {
        let source = Source::new(layer, name, "", Form::Text);
        ConfigError::new(&source, Mark::START, "", message).allowed(allowed).into()
    };
    if is_marked {
        return Err(refused(
            "the document is compressed with gzip, and a byte order mark stands before it".to_owned(),
            "gzip from the first byte on: `tail --bytes=+4` leaves the mark out".to_owned(),
        ));
    }
    let mut document = Vec::new();
    // One byte more tells a document that is too large from one that just fits.
    let read = MultiGzDecoder::new(bytes).take(MAX_DOCUMENT as u64 + 1).read_to_end(&mut document);
    if document.len() > MAX_DOCUMENT {
        let message = format!("the document has more than {MAX_DOCUMENT} bytes when it is decompressed");
        return Err(refused(message, format!("at most {MAX_DOCUMENT} bytes")));
    }
    match read {
        Ok(_) => Ok(Cow::Owned(document)),
        Err(error) => Err(refused(
            format!("the document is compressed with gzip and cannot be decompressed: {error}"),
            "whole members of gzip, which `gzip --test` accepts, and nothing behind them".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;
    use crate::parse;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn shown(bytes: &[u8]) -> String {
        match parse(LayerKind::Project, "f", bytes) {
            Ok(document) => crate::merge(&[document]).unwrap().to_yaml(),
            Err(errors) => errors.to_string(),
        }
    }

    #[test]
    fn what_is_compressed_is_read_as_what_it_was() {
        let text = b"\xef\xbb\xbf#cloud-config\r\nhostname: x\r\n";
        assert_eq!(shown(&gzip(text)), shown(text));
        assert_eq!(shown(&gzip(text)), "hostname: x\n");
        // Two members are one document (RFC 1952, 2.2).
        assert_eq!(shown(&[gzip(b"a: 1\n"), gzip(b"b: 2\n")].concat()), "a: 1\nb: 2\n");
        let error = shown(&gzip(b"a: 1\nb: {\n"));
        assert!(error.contains("f:3:1"), "the place is the one in the document: {error}");
    }

    #[test]
    fn what_is_no_document_when_decompressed_is_refused_as_if_it_were_not_compressed() {
        assert!(shown(&gzip(b"#!/bin/sh\n")).contains("this is a script"));
        assert!(shown(&gzip(&gzip(b"a: 1\n"))).contains("compressed with gzip twice"));
    }

    #[test]
    fn a_byte_order_mark_before_it_is_told_as_that() {
        let error = shown(&[BYTE_ORDER_MARK, &gzip(b"a: 1\n")].concat());
        assert!(error.contains("f:1:1: the document is compressed with gzip, and a byte order mark"), "{error}");
        assert!(error.contains("tail --bytes=+4") && !error.contains("twice"), "{error}");
        assert!(shown(&[BYTE_ORDER_MARK, b"a: 1\n"].concat()) == "a: 1\n");
    }

    #[test]
    fn a_small_file_cannot_become_a_large_document() {
        let fits = [b"#".repeat(MAX_DOCUMENT - 6), b"\na: 1\n".to_vec()].concat();
        assert_eq!((fits.len(), shown(&gzip(&fits)).as_str()), (MAX_DOCUMENT, "a: 1\n"));
        let bomb = gzip(&vec![b'#'; 64 << 20]);
        assert!(bomb.len() < MAX_DOCUMENT);
        let error = shown(&bomb);
        assert!(error.contains("more than 1048576 bytes when it is decompressed"), "{error}");
    }

    #[test]
    fn what_is_damaged_is_told() {
        let whole = gzip(b"hostname: x\n");
        for end in 2..whole.len() {
            let error = shown(&whole[..end]);
            assert!(error.contains("cannot be decompressed") && error.contains("gzip --test"), "{end}: {error}");
        }
        let mut flipped = whole.clone();
        flipped[14] ^= 0x10;
        assert!(shown(&flipped).contains("cannot be decompressed"));
        assert!(shown(&[whole, b"rest".to_vec()].concat()).contains("cannot be decompressed"));
    }
}
