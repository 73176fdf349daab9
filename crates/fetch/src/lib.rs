//! One small document, or parts of a large file, over HTTP or HTTPS, bounded in size and time, with retries and one's
//! own roots of trust. Must not know what they are for, and reads nothing of the machine but its clock and its network.

mod attempt;
mod error;
mod names;
mod ranges;
mod redirect;
mod retry;
mod shown;
mod trust;

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use cloud_machine_protocol::{Algorithm, Digest};
use ring::digest::{SHA256, digest};

pub use error::{FetchError, Refusal};
pub use ranges::{RangeLimits, Ranges, Told};
pub use shown::shown;

/// Redirects that are followed in one attempt.
const MAX_REDIRECTS: usize = 5;

/// What to get, and why to believe it.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// An `http:` or `https:` address.
    pub url: &'a str,
    /// The SHA-256 that the document must have. A digest of another algorithm never matches.
    pub sha256: Option<Digest>,
    /// CA certificates in PEM (RFC 7468), which HTTPS servers are held against in place of the public roots.
    pub ca: Option<&'a str>,
}

/// How much may come, and how long it may take; a day counts as forever.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the document.
    pub bytes: usize,
    /// One attempt: names, connections, redirects, headers and the whole body.
    pub request: Duration,
    /// All attempts and the waits between them.
    pub total: Duration,
    /// Attempts; zero counts as one.
    pub attempts: usize,
}

impl Limits {
    /// Up to `bytes` in five attempts of 15 seconds each, a minute in all.
    #[must_use]
    pub const fn of(bytes: usize) -> Self {
        Self { bytes, request: Duration::from_secs(15), total: Duration::from_secs(60), attempts: 5 }
    }
}

/// Who knows the address of a host's name.
#[derive(Clone, Debug)]
pub enum Names {
    /// The C library, as for every other program. A static program without `/etc` has none that works.
    System,
    /// These DNS servers, port 53 over UDP and, for what is too long for it, TCP. Nothing else is asked or read.
    Servers(Vec<IpAddr>),
}

/// A document that kept every limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The document.
    pub bytes: Vec<u8>,
    /// Its SHA-256.
    pub digest: Digest,
    /// Attempts that were made, the good one included.
    pub attempts: usize,
}

/// Whether `url` is an address, and `ca`, if any, certificates, without asking anybody.
///
/// # Errors
/// [`FetchError::InvalidUrl`] or [`FetchError::InvalidCa`].
pub fn check(url: &str, ca: Option<&str>) -> Result<(), FetchError> {
    redirect::parse(url)?;
    trust::roots(url, ca).map(|_| ())
}

/// A client with the trust, the names and the habits of [`fetch`], for an adapter that speaks to one service: no redirects,
/// no proxy of the environment. `kept` connections stay open for later requests; a request without a time of its own may
/// have `patience`. Not to be made or called inside an asynchronous runtime.
///
/// # Errors
/// [`FetchError::InvalidUrl`], [`FetchError::InvalidCa`] or [`FetchError::Client`].
pub fn client(
    url: &str,
    ca: Option<&str>,
    names: &Names,
    kept: usize,
    patience: Duration,
) -> Result<reqwest::blocking::Client, FetchError> {
    redirect::parse(url)?;
    attempt::client(trust::roots(url, ca)?, names, kept, patience)
}

/// Why a request of such a client has no answer, when it is not the time: [`FetchError::Certificate`] or
/// [`FetchError::Unreachable`], without what an address may hide.
#[must_use]
pub fn unanswered(url: &reqwest::Url, error: reqwest::Error) -> FetchError {
    attempt::unanswered(url, error)
}

/// Gets one document with GET (RFC 9110); only status 200 counts. What may pass by itself is tried again after a wait
/// that doubles from half a second to eight, of which `retry` hears before each. A `Retry-After` in seconds takes its
/// place. No proxy, no cookie, no compression; not to be called inside an asynchronous runtime.
///
/// A body that ends with its connection, without `Content-Length` or chunks, cannot be told from a truncated one: only
/// the pin can.
///
/// # Errors
/// [`FetchError`]: one that cannot pass at once, one that may pass as [`FetchError::GaveUp`] after the last attempt.
pub fn fetch(
    source: &Source<'_>,
    limits: &Limits,
    names: &Names,
    retry: &dyn Fn(&FetchError, Duration),
) -> Result<Fetched, FetchError> {
    let start = Instant::now();
    let url = redirect::parse(source.url)?;
    let client = attempt::client(trust::roots(source.url, source.ca)?, names, 0, limits.request)?;
    let (bytes, attempts) = retry::run(source.url, limits.into(), start, retry, |deadline| {
        attempt::run(&client, &url, limits.bytes, deadline)
    })?;
    let digest = sha256(&bytes);
    match source.sha256 {
        Some(expected) if expected != digest => {
            Err(FetchError::WrongDigest { url: shown(source.url), expected, found: digest })
        }
        _ => Ok(Fetched { bytes, digest, attempts }),
    }
}
fn sha256(bytes: &[u8]) -> Digest {
    let mut found = [0; 32];
    found.copy_from_slice(digest(&SHA256, bytes).as_ref());
    Digest::new(Algorithm::Sha256, found)
}
