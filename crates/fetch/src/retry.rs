//! Attempts, the waits between them and the end of both. Must not know what an attempt is.

use std::{
    thread,
    time::{Duration, Instant},
};

use backon::{BackoffBuilder, ExponentialBuilder};

use crate::{FetchError, Limits, shown};

/// When attempts are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    /// The first wait; the following ones double.
    pub(crate) first_wait: Duration,
    /// One attempt.
    pub(crate) request: Duration,
    /// All attempts and the waits between them.
    pub(crate) total: Duration,
    /// Attempts; zero counts as one.
    pub(crate) attempts: usize,
}

impl From<&Limits> for Schedule {
    fn from(limits: &Limits) -> Self {
        let Limits { request, total, attempts, .. } = *limits;
        Self { first_wait: SHORTEST, request, total, attempts }
    }
}

/// The first wait for a document.
const SHORTEST: Duration = Duration::from_millis(500);
const MAX_WAIT: Duration = Duration::from_secs(8);
/// A day: more than anybody waits, and no clock runs over.
const FOREVER: Duration = Duration::from_secs(86_400);

/// Calls `attempt` with its deadline until it is good, fails for good, or attempts or time are used up. Says `retry`
/// before each wait. A wait that would outlast the time is not begun.
///
/// # Errors
/// What the attempt failed with; [`FetchError::GaveUp`] around it when it might have passed.
pub(crate) fn run<T>(
    url: &str,
    schedule: Schedule,
    start: Instant,
    retry: &dyn Fn(&FetchError, Duration),
    mut attempt: impl FnMut(Instant) -> Result<T, FetchError>,
) -> Result<(T, usize), FetchError> {
    let (request, end) = (schedule.request.min(FOREVER), start + schedule.total.min(FOREVER));
    let mut waits = waits(schedule);
    let mut attempts = 0;
    loop {
        attempts += 1;
        let error = match attempt(end.min(Instant::now() + request)) {
            Ok(good) => return Ok((good, attempts)),
            Err(error) if error.may_pass() => error,
            Err(error) => return Err(error),
        };
        let wait = waits.next().map(|wait| error.retry_after().unwrap_or(wait));
        match wait.filter(|wait| *wait < end.saturating_duration_since(Instant::now())) {
            Some(wait) => {
                retry(&error, wait);
                thread::sleep(wait);
            }
            None => {
                let (elapsed, source) = (start.elapsed(), Box::new(error));
                return Err(FetchError::GaveUp { url: shown(url), attempts, elapsed, source });
            }
        }
    }
}

/// One wait less than attempts. Jitter, because many machines may ask one server at the same time.
fn waits(schedule: Schedule) -> impl Iterator<Item = Duration> {
    ExponentialBuilder::new()
        .with_min_delay(schedule.first_wait)
        .with_max_delay(MAX_WAIT)
        .with_factor(2.0)
        .with_max_times(schedule.attempts.saturating_sub(1))
        .with_jitter()
        .build()
        .map(|wait| wait.min(MAX_WAIT))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use reqwest::StatusCode;

    use super::*;

    fn busy(seconds: Option<u64>) -> FetchError {
        FetchError::Status {
            url: "http://a.test/".to_owned(),
            status: StatusCode::SERVICE_UNAVAILABLE,
            retry_after: seconds.map(Duration::from_secs),
        }
    }

    fn schedule(attempts: usize, total: Duration) -> Schedule {
        Schedule::from(&Limits { bytes: 0, request: Duration::from_secs(7), total, attempts })
    }

    #[test]
    fn waits_double_within_their_bounds() {
        let waits: Vec<Duration> = waits(schedule(9, Duration::MAX)).collect();
        assert_eq!(waits.len(), 8);
        for (wait, doubled) in waits.iter().zip([1, 2, 4, 8, 16, 16, 16, 16]) {
            let low = SHORTEST * doubled;
            assert!(*wait >= low.min(MAX_WAIT) && *wait <= (2 * low).min(MAX_WAIT), "{waits:?}");
        }
        assert_eq!(super::waits(schedule(0, Duration::MAX)).count(), 0);
    }

    #[test]
    fn no_attempt_ends_after_the_whole_time() {
        let start = Instant::now();
        let total = Duration::from_secs(3);
        let deadlines = RefCell::new(Vec::new());
        let given = run("http://a.test/", schedule(2, total), start, &|_, _| {}, |deadline| {
            deadlines.borrow_mut().push(deadline);
            Err::<(), _>(busy(None))
        });
        assert!(matches!(given, Err(FetchError::GaveUp { attempts: 2, .. })), "{given:?}");
        assert!(deadlines.into_inner().into_iter().all(|deadline| deadline == start + total));
    }

    #[test]
    fn a_request_has_its_own_time_within_the_whole() {
        let start = Instant::now();
        let found = run("http://a.test/", schedule(1, Duration::from_secs(60)), start, &|_, _| {}, Ok).unwrap();
        let given = found.0 - start;
        assert!(given >= Duration::from_secs(7) && given < Duration::from_secs(30), "{given:?}");
    }

    #[test]
    fn the_servers_wait_counts() {
        let heard = RefCell::new(Vec::new());
        let mut left = 1;
        let retry = |error: &FetchError, wait| heard.borrow_mut().push((error.to_string(), wait));
        let found = run("http://a.test/", schedule(3, Duration::from_secs(60)), Instant::now(), &retry, |_| {
            left -= 1;
            if left == 0 { Err(busy(Some(0))) } else { Ok("good") }
        });
        assert_eq!(found.unwrap(), ("good", 2));
        let text = "http://a.test/ answered with status 503 Service Unavailable".to_owned();
        assert_eq!(heard.into_inner(), [(text, Duration::ZERO)]);
    }

    #[test]
    fn a_wait_beyond_the_end_is_not_begun() {
        let begun = Instant::now();
        let retry = |_: &FetchError, wait| panic!("waits {wait:?}");
        let schedule = schedule(3, Duration::from_secs(60));
        let error = run::<()>("http://u:p@a.test/?q", schedule, begun, &retry, |_| Err(busy(Some(3600)))).unwrap_err();
        assert!(error.to_string().starts_with("gave up on http://a.test/ after 1 attempt in 0."), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(30));
    }
}
