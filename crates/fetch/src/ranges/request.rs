//! One request for a range: where it goes, what its answer must say, and its body into the caller's buffer. Must not
//! ask again for what broke.

use std::{
    io::{self, Read},
    ops::Range,
    sync::atomic::Ordering,
    time::Instant,
};

use reqwest::{
    StatusCode, Url,
    blocking::Response,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_RANGE, LAST_MODIFIED, RANGE},
};

use super::{
    Ranges,
    answer::{self, ContentRange, Version},
};
use crate::{
    FetchError,
    attempt::{is_timeout, location, retry_after, text, unanswered},
    redirect,
    shown::shown_url,
};

/// The file as it was when it was opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) size: u64,
    pub(super) version: Version,
}

/// An answer that is no redirect.
pub(super) struct Answer {
    response: Response,
    /// Who gave it, for people.
    url: String,
}

/// Asks for `range`, and follows where the server sends the client. Redirects are remembered, so that only the first
/// request pays for them. Where they led may be good for a while only: what is refused there is asked for at the origin
/// once more.
pub(super) fn send(ranges: &Ranges<'_>, range: &Range<u64>, condition: Option<&str>) -> Result<Answer, FetchError> {
    let current = ranges.current();
    let answer = follow(ranges, current.clone(), range, condition)?;
    let passed = matches!(answer.response.status().as_u16(), 401 | 403 | 404 | 410);
    if passed && current != ranges.origin {
        return follow(ranges, ranges.origin.clone(), range, condition);
    }
    Ok(answer)
}

fn follow(
    ranges: &Ranges<'_>,
    mut url: Url,
    range: &Range<u64>,
    condition: Option<&str>,
) -> Result<Answer, FetchError> {
    let mut followed = 0;
    loop {
        let response = ask(ranges, &url, range, condition)?;
        match location(&response) {
            Some(location) => url = redirect::next(&ranges.origin, &url, &location, followed)?,
            None => {
                ranges.set_current(&url);
                return Ok(Answer { response, url: shown_url(&url) });
            }
        }
        followed += 1;
    }
}

fn ask(ranges: &Ranges<'_>, url: &Url, range: &Range<u64>, condition: Option<&str>) -> Result<Response, FetchError> {
    ranges.requests.fetch_add(1, Ordering::Relaxed);
    let mut request = ranges.client.get(url.clone()).header(RANGE, answer::range(range));
    // The bytes are those of the file, not of a compressed form that the server makes of it.
    request = request.header(ACCEPT_ENCODING, "identity");
    if let Some(condition) = condition {
        request = request.header(IF_RANGE, condition);
    }
    request.send().map_err(|error| match error.is_timeout() {
        true => FetchError::Stalled { url: shown_url(url), patience: ranges.limits.patience },
        false => unanswered(url, error),
    })
}

/// Size and version from the answer to the request for the first byte.
pub(super) fn opened(answer: &Answer) -> Result<Opened, FetchError> {
    let (range, version) = partial(answer, &(0..1), None)?;
    match range.total {
        Some(size) => Ok(Opened { size, version }),
        None => Err(FetchError::NoSize { url: answer.url.clone(), found: content_range(&answer.response) }),
    }
}

/// Refuses an answer that is not `range` of the file that was opened.
pub(super) fn check(answer: &Answer, range: &Range<u64>, file: &Opened) -> Result<(), FetchError> {
    let (found, version) = partial(answer, range, Some(file))?;
    if found.total != Some(file.size) {
        return Err(changed_size(answer, file, found.total));
    }
    same_version(answer, file, &version)
}

/// The head of an answer with status 206 and just this range.
fn partial(answer: &Answer, range: &Range<u64>, file: Option<&Opened>) -> Result<(ContentRange, Version), FetchError> {
    let Answer { response, url } = answer;
    let version = version(response);
    let found = text(response, &CONTENT_RANGE).as_deref().and_then(ContentRange::parse);
    match response.status() {
        StatusCode::PARTIAL_CONTENT => {}
        StatusCode::OK => return Err(whole(answer, file, &version)),
        StatusCode::RANGE_NOT_SATISFIABLE => return Err(no_such_range(answer, range, file, found)),
        status => {
            return Err(FetchError::Status { url: url.clone(), status, retry_after: retry_after(response) });
        }
    }
    let asked = || answer::range(range);
    let wrong = |found| FetchError::WrongRange { url: url.clone(), asked: asked(), found };
    if let Some(encoding) = text(response, &CONTENT_ENCODING).filter(|encoding| encoding != "identity") {
        return Err(wrong(format!("Content-Encoding {}", answer::cut(&encoding))));
    }
    let found = found.filter(|found| found.bytes.as_ref() == Some(range));
    let found = found.ok_or_else(|| wrong(content_range(response)))?;
    let announced = response.content_length().filter(|bytes| *bytes > range.end - range.start);
    match announced {
        Some(_) => Err(FetchError::TooMany { url: url.clone(), asked: asked(), announced }),
        None => Ok((found, version)),
    }
}

/// Why a range was answered with status 200.
fn whole(answer: &Answer, file: Option<&Opened>, version: &Version) -> FetchError {
    let url = answer.url.clone();
    if text(&answer.response, &CONTENT_TYPE).is_some_and(|kind| answer::is_page(&kind)) {
        return FetchError::Page { url };
    }
    // A server that serves ranges answers so when the file is no longer what `If-Range` says.
    let Some(file) = file else { return FetchError::NoRanges { url } };
    if let Err(error) = same_version(answer, file, version) {
        return error;
    }
    match answer.response.content_length().filter(|bytes| *bytes != file.size) {
        Some(bytes) => changed_size(answer, file, Some(bytes)),
        None => FetchError::NoRanges { url },
    }
}

fn no_such_range(
    answer: &Answer,
    range: &Range<u64>,
    file: Option<&Opened>,
    found: Option<ContentRange>,
) -> FetchError {
    let size = found.and_then(|found| found.total);
    match file {
        Some(file) if size.is_some_and(|size| size != file.size) => changed_size(answer, file, size),
        _ => FetchError::NoSuchRange { url: answer.url.clone(), asked: answer::range(range), size },
    }
}

fn same_version(answer: &Answer, file: &Opened, version: &Version) -> Result<(), FetchError> {
    match file.version.differs(version) {
        Some((before, now)) => Err(FetchError::FileChanged {
            url: answer.url.clone(),
            what: "its version",
            before: answer::cut(before),
            now: answer::cut(now),
        }),
        None => Ok(()),
    }
}

fn changed_size(answer: &Answer, file: &Opened, now: Option<u64>) -> FetchError {
    FetchError::FileChanged {
        url: answer.url.clone(),
        what: "its size",
        before: file.size.to_string(),
        now: now.map_or_else(|| "unknown".to_owned(), |now| now.to_string()),
    }
}

fn version(response: &Response) -> Version {
    Version { etag: text(response, &ETAG), modified: text(response, &LAST_MODIFIED) }
}

/// `Content-Range` as an error shows it.
fn content_range(response: &Response) -> String {
    match text(response, &CONTENT_RANGE) {
        Some(found) => format!("Content-Range {}", answer::cut(&found)),
        None => "no Content-Range".to_owned(),
    }
}

/// Reads the body into all of `buffer`, which is as long as `range`.
///
/// # Errors
/// How many bytes came before, and why no more did.
pub(super) fn fill(
    ranges: &Ranges<'_>,
    answer: Answer,
    range: &Range<u64>,
    buffer: &mut [u8],
    deadline: Instant,
) -> Result<(), (usize, FetchError)> {
    let Answer { mut response, url } = answer;
    let mut done = 0;
    let broken = |received, source| FetchError::BrokenOff {
        url: url.clone(),
        received,
        announced: Some(range.end - range.start),
        source,
    };
    while done < buffer.len() {
        match response.read(&mut buffer[done..]) {
            Ok(0) => return Err((done, broken(done, io::ErrorKind::UnexpectedEof.into()))),
            Ok(more) => {
                done += more;
                ranges.received.fetch_add(more as u64, Ordering::Relaxed);
            }
            Err(error) if is_timeout(&error) => {
                return Err((done, FetchError::Stalled { url, patience: ranges.limits.patience }));
            }
            Err(error) => return Err((done, broken(done, error))),
        }
        if done < buffer.len() && Instant::now() >= deadline {
            return Err((done, FetchError::TimedOut { url, limit: ranges.limits.total }));
        }
    }
    // The end of the body is read too: only then is the connection free for the next request. That it fails behind the
    // last byte does no harm.
    match response.read(&mut [0]) {
        Ok(1..) => Err((0, FetchError::TooMany { url, asked: answer::range(range), announced: None })),
        Ok(0) | Err(_) => Ok(()),
    }
}
