//! Hands numbered units of work to plain threads, each claiming the next from one counter; the first error stops all.
//! Must not know what a unit is.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use crate::ImageError;

pub(crate) use stages::two_stages;

mod stages;

/// Fewer threads leave a fast disk idle while one hashes: with 4 the scan keeps up with a plain read.
const MIN_THREADS: usize = 4;
/// More threads only cost memory: each holds up to three buffers of a frame.
const MAX_THREADS: usize = 64;

/// Stops all threads at the first error.
struct Failure {
    stop: AtomicBool,
    first: Mutex<Option<ImageError>>,
}

impl Failure {
    fn new() -> Self {
        Self { stop: AtomicBool::new(false), first: Mutex::new(None) }
    }

    fn is_reported(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn result(self) -> Result<(), ImageError> {
        let first = self.first.into_inner();
        first.unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    fn report(&self, error: ImageError) {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(error);
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Calls `work` once for every number below `count`, each thread with a state of its own made by `make`.
///
/// # Errors
/// The first error of any unit; units not yet claimed are left out then.
pub(crate) fn each<S>(
    threads: usize,
    count: u64,
    make: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, u64) -> Result<(), ImageError> + Sync,
) -> Result<(), ImageError> {
    let next = AtomicU64::new(0);
    let failure = Failure::new();
    let worker = || {
        let mut state = make();
        while !failure.is_reported() {
            let unit = next.fetch_add(1, Ordering::Relaxed);
            if unit >= count {
                break;
            }
            if let Err(error) = work(&mut state, unit) {
                failure.report(error);
            }
        }
    };
    if count > 0 {
        run(threads_for(threads, count), &failure, worker);
    }
    failure.result()
}

/// How many threads work on `count` units when `wanted` were asked for.
fn threads_for(wanted: usize, count: u64) -> u64 {
    (wanted.clamp(MIN_THREADS, MAX_THREADS) as u64).min(count)
}

/// Runs `worker` on so many threads, the calling one included, and returns when all have ended.
fn run(threads: u64, failure: &Failure, worker: impl Fn() + Sync) {
    thread::scope(|scope| {
        for _ in 1..threads {
            if let Err(source) = thread::Builder::new().spawn_scoped(scope, &worker) {
                failure.report(ImageError::Threads { source });
                break;
            }
        }
        worker();
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_worked_exactly_once() {
        let seen: Vec<AtomicU64> = (0..1000).map(|_| AtomicU64::new(0)).collect();
        each(
            8,
            1000,
            || (),
            |(), unit| {
                seen[unit as usize].fetch_add(1, Ordering::Relaxed);
                Ok(())
            },
        )
        .unwrap();
        assert!(seen.iter().all(|count| count.load(Ordering::Relaxed) == 1));
    }

    #[test]
    fn an_error_is_returned_and_stops_the_claiming() {
        let worked = AtomicU64::new(0);
        let result = each(
            4,
            u64::MAX,
            || (),
            |(), unit| {
                worked.fetch_add(1, Ordering::Relaxed);
                if unit == 10 {
                    return Err(ImageError::RangeInvalid { offset: 10, length: 0, size: 0 });
                }
                Ok(())
            },
        );
        assert!(matches!(result, Err(ImageError::RangeInvalid { offset: 10, .. })));
        assert!(worked.load(Ordering::Relaxed) > 10);
    }

    #[test]
    fn no_unit_is_no_work() {
        each(4, 0, || panic!("no state is needed"), |(): &mut (), _| panic!("no work")).unwrap();
    }
}
