//! Work in two stages with a barrier between them, both overlapping: ranges that the first stage leaves are handed to
//! the second once a barrier that began after they were left has passed. Must not know what is done to a range.

use std::{
    collections::VecDeque,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use cloud_machine_protocol::Extent;

use super::{Failure, run, threads_for};
use crate::ImageError;

/// Bytes that the first stage may leave before a barrier: few barriers, and yet something to do for both stages.
const BATCH: u64 = 64 << 20;

/// Where all threads stand.
#[derive(Default)]
struct Queue {
    /// First unit that nobody claimed.
    next: u64,
    /// Units of the first stage, and barriers, that are being worked on.
    running: u64,
    /// Left by the first stage since the last barrier began.
    left: Vec<Extent>,
    left_bytes: u64,
    /// Behind a barrier, and for the second stage.
    ready: VecDeque<Extent>,
}

/// What a thread does next.
enum Job {
    First(u64),
    Barrier(Vec<Extent>),
    Second(Extent),
    Wait,
    End,
}

impl Queue {
    /// `prefers_second` threads take what is ready before new units, the others the other way round, so that one stage
    /// uses the processor while the other waits for the disk.
    fn job(&mut self, count: u64, prefers_second: bool) -> Job {
        if self.left_bytes >= BATCH || (self.next == count && self.running == 0 && !self.left.is_empty()) {
            self.running += 1;
            self.left_bytes = 0;
            return Job::Barrier(std::mem::take(&mut self.left));
        }
        let unclaimed = self.next < count;
        if (prefers_second || !unclaimed)
            && let Some(range) = self.ready.pop_front()
        {
            return Job::Second(range);
        }
        if unclaimed {
            self.running += 1;
            self.next += 1;
            return Job::First(self.next - 1);
        }
        if self.running == 0 { Job::End } else { Job::Wait }
    }
}

/// Calls `first` once for every number below `count` and `second` once for every range that `first` gave, each after a
/// `barrier` that began when the range had been given. `threads` below 4 count as 4; each has a state made by `make`.
///
/// # Errors
/// The first error of any of them; what was not begun is left out then.
pub(crate) fn two_stages<S>(
    threads: usize,
    count: u64,
    make: impl Fn() -> S + Sync,
    first: impl Fn(&mut S, u64) -> Result<Vec<Extent>, ImageError> + Sync,
    barrier: impl Fn() -> Result<(), ImageError> + Sync,
    second: impl Fn(&mut S, Extent) -> Result<(), ImageError> + Sync,
) -> Result<(), ImageError> {
    let failure = Failure::new();
    let queue = Mutex::new(Queue::default());
    let changed = Condvar::new();
    let started = AtomicUsize::new(0);
    let lock = || queue.lock().unwrap_or_else(PoisonError::into_inner);
    let worker = || {
        let prefers_second = started.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
        let mut state = make();
        while !failure.is_reported() {
            let job = lock().job(count, prefers_second);
            let done = match job {
                Job::First(unit) => first(&mut state, unit).map(|ranges| {
                    let mut queue = lock();
                    queue.left_bytes += ranges.iter().map(|range| range.length).sum::<u64>();
                    queue.left.extend(ranges);
                    queue.running -= 1;
                }),
                Job::Barrier(left) => barrier().map(|()| {
                    let mut queue = lock();
                    queue.ready.extend(left);
                    queue.running -= 1;
                }),
                Job::Second(range) => second(&mut state, range),
                Job::Wait => {
                    wait(&changed, lock(), count, &failure);
                    continue;
                }
                Job::End => break,
            };
            if let Err(error) = done {
                failure.report(error);
            }
            // The lock makes sure that whoever decided to wait is waiting by now.
            let queue = lock();
            changed.notify_all();
            drop(queue);
        }
    };
    if count > 0 {
        run(threads_for(threads, count), &failure, worker);
    }
    failure.result()
}

/// Waits while other threads may still leave something to do.
fn wait(changed: &Condvar, queue: MutexGuard<'_, Queue>, count: u64, failure: &Failure) {
    let idle = |queue: &mut Queue| {
        let something = queue.next < count || !queue.ready.is_empty() || queue.running == 0;
        !something && !failure.is_reported()
    };
    drop(changed.wait_while(queue, idle).unwrap_or_else(PoisonError::into_inner));
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    fn leaf(unit: u64) -> Vec<Extent> {
        // Every third unit leaves nothing, and some leave enough for a barrier of their own.
        match unit % 3 {
            0 => Vec::new(),
            1 => vec![Extent { offset: unit, length: BATCH }],
            _ => vec![Extent { offset: unit, length: 1 }, Extent { offset: 1000 + unit, length: BATCH / 4 }],
        }
    }

    #[test]
    fn every_range_reaches_the_second_stage_once_and_behind_a_later_barrier() {
        for threads in [1, 4, 9] {
            let barriers = AtomicU64::new(0);
            let left = Mutex::new(Vec::new());
            let reached = Mutex::new(Vec::new());
            two_stages(
                threads,
                100,
                || (),
                |(), unit| {
                    let ranges = leaf(unit);
                    // Read before the range is handed over: only a barrier that ends after this one counts.
                    let began = barriers.load(Ordering::SeqCst);
                    left.lock().unwrap().extend(ranges.iter().map(|range| (range.offset, began)));
                    Ok(ranges)
                },
                || {
                    barriers.fetch_add(1, Ordering::SeqCst);
                    Ok(())
                },
                |(), range| {
                    reached.lock().unwrap().push((range.offset, barriers.load(Ordering::SeqCst)));
                    Ok(())
                },
            )
            .unwrap();
            let mut left = left.into_inner().unwrap();
            let mut reached = reached.into_inner().unwrap();
            left.sort_unstable();
            reached.sort_unstable();
            assert_eq!(left.len(), 99);
            assert_eq!(left.len(), reached.len());
            for (before, after) in left.iter().zip(&reached) {
                assert_eq!(before.0, after.0);
                assert!(after.1 > before.1, "range {} was not behind a barrier", before.0);
            }
        }
    }

    #[test]
    fn nothing_left_needs_no_barrier() {
        let barrier = || panic!("nothing was left");
        two_stages(4, 50, || (), |(), _| Ok(Vec::new()), barrier, |(), _| panic!("nothing was left")).unwrap();
        two_stages(4, 0, || panic!("no state"), |(): &mut (), _| Ok(Vec::new()), barrier, |(), _| Ok(())).unwrap();
    }

    #[test]
    fn an_error_of_any_stage_ends_all_threads() {
        let error = || Err(ImageError::RangeInvalid { offset: 1, length: 0, size: 0 });
        for stage in 0..3 {
            let result = two_stages(
                4,
                1000,
                || (),
                |(), unit| if stage == 0 && unit == 20 { error().map(|()| Vec::new()) } else { Ok(leaf(unit)) },
                || if stage == 1 { error() } else { Ok(()) },
                |(), _| if stage == 2 { error() } else { Ok(()) },
            );
            assert!(matches!(result, Err(ImageError::RangeInvalid { offset: 1, .. })), "stage {stage}");
        }
    }
}
