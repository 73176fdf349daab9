//! What can go wrong with a document or a file from the network. Must not name what an address may hide: user, password, query.

use std::{
    error::Error,
    io,
    time::{Duration, SystemTime},
};

use cloud_machine_protocol::Digest;

/// Why there is no document, or no part of a file. Every `url` is as [`crate::shown`] writes it.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The address is none, or not one of HTTP or HTTPS.
    #[error("{url} is not a URL to fetch from")]
    InvalidUrl {
        /// The address.
        url: String,
        /// What is wrong with it.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The CA certificates cannot be used.
    #[error("cannot use the CA certificates for {url}")]
    InvalidCa {
        /// The address.
        url: String,
        /// What is wrong with them.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The client could not be made: no thread, no socket, no memory.
    #[error("cannot prepare an HTTP client")]
    Client(#[source] Box<dyn Error + Send + Sync>),
    /// No answer: the name, the connection or the start of the answer failed. May pass.
    #[error("cannot reach {url}")]
    Unreachable {
        /// The address.
        url: String,
        /// What the client said.
        #[source]
        source: reqwest::Error,
    },
    /// The server's certificate was not accepted.
    #[error("the certificate for {url} is not accepted; this machine's clock says {}", utc(*clock))]
    Certificate {
        /// The address.
        url: String,
        /// What the clock said: a certificate is good only in its time.
        clock: SystemTime,
        /// What the client said.
        #[source]
        source: reqwest::Error,
    },
    /// The document was not there in time. May pass.
    #[error("no whole answer from {url} within {:.1} s", limit.as_secs_f64())]
    TimedOut {
        /// The address.
        url: String,
        /// The time that the attempt had.
        limit: Duration,
    },
    /// The body ended early. May pass.
    #[error("the answer of {url} broke off after {received} bytes{}", of(*announced))]
    BrokenOff {
        /// The address.
        url: String,
        /// Bytes that came.
        received: usize,
        /// Bytes that `Content-Length` announced.
        announced: Option<u64>,
        /// What the client said.
        #[source]
        source: io::Error,
    },
    /// A status other than 200. 408, 429 and 5xx may pass.
    #[error("{url} answered with status {status}")]
    Status {
        /// The address.
        url: String,
        /// The code.
        status: reqwest::StatusCode,
        /// `Retry-After`, where it was a number of seconds.
        retry_after: Option<Duration>,
    },
    /// The server announced or sent more than was allowed.
    #[error("{url} has {}more than the allowed {limit} bytes", announcement(*announced))]
    TooLarge {
        /// The address.
        url: String,
        /// Bytes allowed.
        limit: usize,
        /// Bytes that `Content-Length` announced, where it was that which was refused.
        announced: Option<u64>,
    },
    /// The server sent the client to where it does not go.
    #[error("refused to follow {from} to {to}: {refusal}")]
    Redirect {
        /// The address that answered.
        from: String,
        /// The address it named.
        to: String,
        /// Why not.
        refusal: Refusal,
    },
    /// The server answers a range with the whole file.
    #[error("{url} does not serve ranges: it answered with the whole file")]
    NoRanges {
        /// The address.
        url: String,
    },
    /// A page for people in place of a range: a login, a portal, or a server's own way to say that nothing is there.
    #[error("{url} answered with a web page instead of a part of the file")]
    Page {
        /// The address.
        url: String,
    },
    /// The server has a range, but does not say how large the whole is.
    #[error("{url} does not say how large the file is: it answered with {found}")]
    NoSize {
        /// The address.
        url: String,
        /// `Content-Range`.
        found: String,
    },
    /// The range that came is another one than was asked for.
    #[error("{url} was asked for {asked} and answered with {found}")]
    WrongRange {
        /// The address.
        url: String,
        /// `Range`.
        asked: String,
        /// `Content-Range`, or what stands in its place.
        found: String,
    },
    /// The server says that it has no such bytes (416).
    #[error("{url} has no {asked}{}", whole(*size))]
    NoSuchRange {
        /// The address.
        url: String,
        /// `Range`.
        asked: String,
        /// Bytes of the whole, where the server said so.
        size: Option<u64>,
    },
    /// The server announced or sent more bytes than the range has.
    #[error("{url} was asked for {asked} and sent more{}", announced.map(|bytes| format!(": {bytes} bytes")).unwrap_or_default())]
    TooMany {
        /// The address.
        url: String,
        /// `Range`.
        asked: String,
        /// Bytes that `Content-Length` announced, where it was that which was refused.
        announced: Option<u64>,
    },
    /// The file is another one than when it was opened.
    #[error("{url} changed while it was read: {what} was {before} and is {now}")]
    FileChanged {
        /// The address.
        url: String,
        /// What differs: `its size`, `its version`.
        what: &'static str,
        /// When it was opened.
        before: String,
        /// Now.
        now: String,
    },
    /// The server said nothing for too long. May pass.
    #[error("{url} sent nothing for {:.1} s", patience.as_secs_f64())]
    Stalled {
        /// The address.
        url: String,
        /// How long it may be silent.
        patience: Duration,
    },
    /// The document is not the pinned one.
    #[error("{url} has digest {found}, expected {expected}")]
    WrongDigest {
        /// The address.
        url: String,
        /// The pin.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// Every attempt failed, or the time for all of them is used up.
    #[error("gave up on {url} after {attempts} attempt{} in {:.1} s", plural(*attempts), elapsed.as_secs_f64())]
    GaveUp {
        /// The address.
        url: String,
        /// Attempts that were made.
        attempts: usize,
        /// Time that was used.
        elapsed: Duration,
        /// The last failure.
        #[source]
        source: Box<FetchError>,
    },
}

/// Why a redirect is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A chain that is too long, or a loop.
    #[error("more than {} redirects", crate::MAX_REDIRECTS)]
    TooMany,
    /// No address at all.
    #[error("it is not a URL")]
    Invalid,
    /// `file:`, `ftp:` and the like.
    #[error("only http and https are followed")]
    Scheme,
    /// From an encrypted to an open connection.
    #[error("https is not left for http")]
    Downgrade,
    /// From elsewhere to this machine or its link, where metadata services are.
    #[error("an address of this machine or its link is not reached from elsewhere")]
    Local,
}

impl FetchError {
    /// Whether the next attempt may have better luck.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::BrokenOff { .. } | Self::Stalled { .. } => true,
            Self::Status { status, .. } => status.is_server_error() || matches!(status.as_u16(), 408 | 429),
            _ => false,
        }
    }

    /// How long the server asked to be left alone.
    pub(crate) const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// A time in UTC as RFC 3339 writes it, to the second; one before 1970 is its first. Here, since a library for times makes the agent
/// 24 KB larger for this one line.
fn utc(clock: SystemTime) -> String {
    let seconds = clock.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years of 400 that begin in March: the day that not each year has is then the last (Hinnant, chrono-compatible dates).
    let day = days + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year + next;
    format!("{year:04}-{month:02}-{date:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

fn of(bytes: Option<u64>) -> String {
    bytes.map(|bytes| format!(" of {bytes}")).unwrap_or_default()
}

fn announcement(bytes: Option<u64>) -> String {
    bytes.map(|bytes| format!("{bytes} bytes, ")).unwrap_or_default()
}

fn whole(size: Option<u64>) -> String {
    size.map(|bytes| format!(": the file has {bytes} bytes")).unwrap_or_default()
}

const fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_that_of_another_library() {
        let starts = [0, 951_782_399, 951_782_400, 951_868_800, 1_709_164_800, 4_107_542_400, 253_402_000_000];
        for seconds in starts.into_iter().chain((0..4_000_000_000).step_by(86_400 * 13 + 4_321)) {
            let expected = jiff::Timestamp::from_second(seconds).unwrap().to_string();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap());
            assert_eq!(utc(time), expected);
        }
        assert_eq!(utc(SystemTime::UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01T00:00:00Z");
    }
}
