//! A file on a server that serves ranges as it should, for tests that break one thing.

use std::{error::Error, io, ops::Range, time::Duration};

use cloud_machine_fetch::{FetchError, Names, RangeLimits, Ranges};
use cloud_machine_image::ReadBlocks;
use cloud_machine_protocol::causes;

use crate::server::{Asked, Connection, Server};

pub(crate) const ETAG: &str = "\"v1\"";

/// Bytes that differ everywhere, the same at every run.
pub(crate) fn content(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// The head of an answer with a range and further header lines.
pub(crate) fn head(range: &Range<usize>, total: usize, more: &str) -> String {
    let (first, last, length) = (range.start, range.end - 1, range.len());
    format!(
        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {first}-{last}/{total}\r\nContent-Length: {length}\r\n{more}\r\n"
    )
}

/// Answers as a server should.
pub(crate) fn good(content: &[u8], asked: &Asked, connection: &mut dyn Connection) -> io::Result<bool> {
    let range = asked.range();
    connection.write_all(head(&range, content.len(), &format!("ETag: {ETAG}\r\n")).as_bytes())?;
    connection.write_all(&content[range])?;
    Ok(true)
}

/// A server that is good to the first request, which opens the file, and then says the same to all others.
pub(crate) fn then(content: Vec<u8>, answer: impl Into<Vec<u8>>) -> Server {
    let answer = answer.into();
    Server::start_kept(move |asked, connection| match asked.number {
        0 => good(&content, asked, connection),
        _ => connection.write_all(&answer).map(|()| false),
    })
}

/// Small enough for tests, large enough for a machine with other work to do.
pub(crate) const fn limits(attempts: usize) -> RangeLimits {
    RangeLimits { patience: Duration::from_secs(20), total: Duration::from_secs(60), attempts }
}

pub(crate) fn open(url: &str, attempts: usize) -> Result<Ranges<'static>, FetchError> {
    Ranges::open(url, None, limits(attempts), &Names::System, &|_, _| {})
}

pub(crate) fn read(ranges: &Ranges<'_>, range: Range<usize>) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; range.len()];
    ranges.read_at(&mut buffer, range.start as u64).map(|()| buffer)
}

/// What a reading failed with, and all that caused it.
pub(crate) fn fault(read: io::Result<Vec<u8>>) -> String {
    let error = read.expect_err("it was read");
    let found = error.get_ref().and_then(|inner| inner.downcast_ref::<FetchError>()).expect("an error of this crate");
    // Who knows nothing of this crate hears the same.
    let (text, source) = (error.to_string(), error.source().map(ToString::to_string));
    assert_eq!((text, source), (found.to_string(), found.source().map(ToString::to_string)));
    causes(found)
}
