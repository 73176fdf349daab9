//! A large file behind an address as blocks: each reading is one or more requests for a range, and what breaks is
//! resumed where it broke. Owns what stays the same from one request to the next; must not keep bytes of the file.

mod answer;
mod request;

use std::{
    error::Error,
    fmt, io,
    ops::Range,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use cloud_machine_image::ReadBlocks;
use reqwest::{Url, blocking::Client};

use crate::{FetchError, Names, attempt, redirect, retry, shown, trust};
use answer::Version;
use request::Opened;

/// Connections that are kept for the next request: as many as threads may read at once.
const KEPT_CONNECTIONS: usize = 64;
/// The first wait after a failure. Shorter than for a document: a reading in the middle of many is only resumed.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// Called before each wait for another attempt, from whichever thread waits.
pub type Told<'a> = &'a (dyn Fn(&FetchError, Duration) + Sync);

/// How long a reading may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeLimits {
    /// How long the server may send nothing: until its answer begins, and within it.
    pub patience: Duration,
    /// One reading with all attempts and waits. The last answer of all may end up to [`RangeLimits::patience`] later.
    pub total: Duration,
    /// Attempts for one reading; zero counts as one.
    pub attempts: usize,
}

impl Default for RangeLimits {
    /// Twenty seconds of silence, three minutes and eight attempts: a server that is started anew is waited for.
    fn default() -> Self {
        Self { patience: Duration::from_secs(20), total: Duration::from_secs(180), attempts: 8 }
    }
}

/// A file behind an `http:` or `https:` address whose server serves ranges (RFC 9110, section 14).
///
/// Several threads may read at once: each has a request of its own in flight, over connections that are kept. An answer
/// counts only with status 206, just the bytes that were asked for, and the size and version that the file had when it
/// was opened. It is read straight into the caller's buffer, and no byte beyond.
///
/// Nothing here proves what the bytes are, over `http:` least of all: whoever reads must compare them with digests from
/// elsewhere before using them, as the image engine does with every frame before it is written. HTTPS adds that nobody
/// on the way sees which image is read, or can make the reading fail.
pub struct Ranges<'a> {
    client: Client,
    /// As it was given, for requests.
    origin: Url,
    /// As it was given, for people.
    url: String,
    /// Where the last redirect led to.
    current: Mutex<Url>,
    opened: Opened,
    limits: RangeLimits,
    told: Told<'a>,
    requests: AtomicU64,
    received: AtomicU64,
}

impl fmt::Debug for Ranges<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Ranges").field("url", &self.url).field("opened", &self.opened).finish_non_exhaustive()
    }
}

impl<'a> Ranges<'a> {
    /// Asks for the first byte of the file, which tells its size, its version and whether ranges are served. HTTPS
    /// servers are held against the certificates of `ca` in PEM, or against the public roots. `told` hears of every
    /// wait, now and later. Not to be called inside an asynchronous runtime.
    ///
    /// # Errors
    /// [`FetchError`]: one that cannot pass at once, one that may pass as [`FetchError::GaveUp`] after the last attempt.
    pub fn open(
        url: &str,
        ca: Option<&str>,
        limits: RangeLimits,
        names: &Names,
        told: Told<'a>,
    ) -> Result<Self, FetchError> {
        let origin = redirect::parse(url)?;
        let client = attempt::client(trust::roots(url, ca)?, names, KEPT_CONNECTIONS, limits.patience)?;
        let mut ranges = Self {
            client,
            current: Mutex::new(origin.clone()),
            origin,
            url: shown(url),
            opened: Opened { size: 1, version: Version::default() },
            limits,
            told,
            requests: AtomicU64::new(0),
            received: AtomicU64::new(0),
        };
        let mut first = [0];
        let (opened, _) = ranges.attempts(|ranges, deadline| {
            let answer = request::send(ranges, &(0..1), None)?;
            let opened = request::opened(&answer)?;
            request::fill(ranges, answer, &(0..1), &mut first, deadline).map_err(|(_, error)| error)?;
            Ok(opened)
        })?;
        ranges.opened = opened;
        Ok(ranges)
    }

    /// The address without user, password, query and fragment.
    #[must_use]
    pub fn redacted(&self) -> &str {
        &self.url
    }

    /// Requests so far, redirects included.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Bytes of the file that were received so far, those of answers that broke included.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Reads one range, resumed where it breaks.
    fn read(&self, buffer: &mut [u8], range: &Range<u64>) -> Result<(), FetchError> {
        let mut done = 0;
        let read = self.attempts(|ranges, deadline| {
            let rest = range.start + done as u64..range.end;
            let answer = request::send(ranges, &rest, ranges.opened.version.condition())?;
            request::check(&answer, &rest, &ranges.opened)?;
            request::fill(ranges, answer, &rest, &mut buffer[done..], deadline).map_err(|(more, error)| {
                done += more;
                error
            })
        });
        read.map(|((), _)| ())
    }

    fn attempts<T>(
        &self,
        mut attempt: impl FnMut(&Self, Instant) -> Result<T, FetchError>,
    ) -> Result<(T, usize), FetchError> {
        let schedule = retry::Schedule {
            first_wait: FIRST_WAIT,
            request: self.limits.total,
            total: self.limits.total,
            attempts: self.limits.attempts,
        };
        retry::run(&self.url, schedule, Instant::now(), &self.told, |deadline| attempt(self, deadline))
    }

    fn current(&self) -> Url {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_current(&self, url: &Url) {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone_from(url);
    }
}

impl ReadBlocks for Ranges<'_> {
    fn size(&self) -> u64 {
        self.opened.size
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64).filter(|end| *end <= self.opened.size);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        if buffer.is_empty() {
            return Ok(());
        }
        self.read(buffer, &(offset..end)).map_err(|error| io::Error::other(Box::<dyn Error + Send + Sync>::from(error)))
    }
}
