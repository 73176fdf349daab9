//! Work that takes minutes, on a thread of its own: the bus is served by one thread, which must answer others meanwhile. One at a time.
//! Must not go on after a panic, of which nobody could tell what it left.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    thread::Builder,
};

use crate::staging::StagingError;

/// Lets a panic end the process in builds that would unwind, as it does in those that are shipped. Whoever waits for an answer hears from
/// the bus that there is none, the lock against a shutdown ends with the process, what was staged in part counts for nothing, since
/// its control is written last, and systemd starts the service anew.
pub(crate) fn end_with_a_panic() {
    let said = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        said(panic);
        std::process::abort();
    }));
}

/// Who is at work.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turn(Arc<AtomicBool>);

/// Ends the turn, however the work ends.
struct Taken(Arc<AtomicBool>);

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl Turn {
    /// Begins `work` and gives what becomes of it. The work goes on when nobody waits for it any more.
    ///
    /// # Errors
    /// [`StagingError::Refused`] while other work goes on, [`StagingError::Failed`] when no thread can be started.
    pub(crate) fn take<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, StagingError> + Send + 'static,
    ) -> Result<Work<T>, StagingError> {
        if self.0.swap(true, Ordering::SeqCst) {
            return Err(StagingError::Refused("another request is being written or taken away".to_owned()));
        }
        let taken = Taken(Arc::clone(&self.0));
        let outcome = Arc::new(Mutex::new(Outcome { result: None, waker: None }));
        let ours = Arc::clone(&outcome);
        let run = move || {
            let result = work();
            // Whoever hears of the end may begin anew at once.
            drop(taken);
            let mut outcome = lock(&ours);
            outcome.result = Some(result);
            let waker = outcome.waker.take();
            drop(outcome);
            waker.into_iter().for_each(Waker::wake);
        };
        let started = Builder::new().name("staging".to_owned()).spawn(run);
        started.map_err(|error| StagingError::Failed(format!("cannot start a thread: {error}")))?;
        Ok(Work(outcome))
    }

    #[cfg(test)]
    pub(crate) fn is_taken(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// What becomes of the work.
pub(crate) struct Work<T>(Arc<Mutex<Outcome<T>>>);

struct Outcome<T> {
    result: Option<Result<T, StagingError>>,
    waker: Option<Waker>,
}

impl<T> Future for Work<T> {
    type Output = Result<T, StagingError>;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let mut outcome = lock(&self.0);
        match outcome.result.take() {
            Some(result) => Poll::Ready(result),
            None => {
                outcome.waker = Some(task.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// Nothing that could panic is done with it.
fn lock<T>(outcome: &Mutex<Outcome<T>>) -> MutexGuard<'_, Outcome<T>> {
    outcome.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::ExitStatusExt, process::Command, thread::sleep, time::Duration};

    use super::*;

    /// That the test is its own child, whose work panics.
    const CHILD: &str = "CLOUD_MACHINE_TEST_PANIC";

    #[test]
    fn a_panic_ends_the_process() {
        if std::env::var_os(CHILD).is_some() {
            end_with_a_panic();
            drop(Turn::default().take(|| -> Result<(), _> { panic!("a planted fault") }));
            return sleep(Duration::from_secs(20));
        }
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "turn::tests::a_panic_ends_the_process", "--nocapture"]).env(CHILD, "1");
        let output = child.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        // SIGABRT (signal(7)).
        assert_eq!(output.status.signal(), Some(6), "{said}");
        assert!(said.contains("a planted fault"), "{said}");
    }
}
