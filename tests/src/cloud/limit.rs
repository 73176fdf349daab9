//! How many requests a token may make: so many an hour, given back bit by bit.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::wire::Answer;

/// Requests that are left.
#[derive(Debug)]
pub(super) struct Limit {
    per_hour: u32,
    left: f64,
    seen: Instant,
}

impl Limit {
    pub(super) fn new(per_hour: u32) -> Self {
        Self { per_hour, left: f64::from(per_hour), seen: Instant::now() }
    }

    /// Whether there may be one more request.
    pub(super) fn take(&mut self) -> bool {
        let passed = self.seen.elapsed().as_secs_f64();
        self.seen = Instant::now();
        self.left = (self.left + passed * self.per_second()).min(f64::from(self.per_hour));
        let allowed = self.left >= 1.0;
        if allowed {
            self.left -= 1.0;
        }
        allowed
    }

    fn per_second(&self) -> f64 {
        f64::from(self.per_hour) / 3600.0
    }

    /// Says in an answer what is left, and when all of it is there again.
    pub(super) fn tell(&self, answer: &mut Answer) {
        let missing = f64::from(self.per_hour) - self.left;
        let full = Duration::from_secs_f64(missing / self.per_second().max(f64::MIN_POSITIVE).max(1e-6));
        let reset = SystemTime::now() + full.min(Duration::from_secs(3600));
        let reset = reset.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64().ceil();
        headers(answer, self.per_hour, self.left.floor(), reset);
        if answer.status == 429 {
            let wait = ((1.0 - self.left) / self.per_second().max(1e-6)).ceil().max(1.0);
            answer.headers.push(("Retry-After", format!("{wait:.0}")));
        }
    }
}

/// The same for an answer that is injected: nothing is left for so long.
pub(super) fn tell_of_none(answer: &mut Answer, per_hour: u32, wait: Duration) {
    let reset = (SystemTime::now() + wait).duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64().ceil();
    headers(answer, per_hour, 0.0, reset);
    answer.headers.push(("Retry-After", format!("{:.0}", wait.as_secs_f64().ceil())));
}

fn headers(answer: &mut Answer, limit: u32, left: f64, reset: f64) {
    answer.headers.push(("RateLimit-Limit", limit.to_string()));
    answer.headers.push(("RateLimit-Remaining", format!("{left:.0}")));
    answer.headers.push(("RateLimit-Reset", format!("{reset:.0}")));
}
