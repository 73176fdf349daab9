//! Requests for a place that fails in every way that it can.

use std::{
    fs::File,
    io::{Read, Write, pipe},
    os::fd::OwnedFd,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use super::*;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    NoRecovery,
    Refused,
    Failed,
}

/// A place in memory: the token is what the stream has.
struct Fake {
    fault: Mutex<Fault>,
    token: Mutex<Option<String>>,
}

impl Fake {
    fn new(fault: Fault) -> Reimage<Self> {
        Reimage::new(Self { fault: Mutex::new(fault), token: Mutex::new(None) })
    }

    fn check(&self) -> Result<(), StagingError> {
        let fault = *self.fault.lock().unwrap();
        match fault {
            Fault::None => Ok(()),
            Fault::NoRecovery => Err(StagingError::NoRecovery("a".to_owned())),
            Fault::Refused => Err(StagingError::Refused("b".to_owned())),
            Fault::Failed => Err(StagingError::Failed("c".to_owned())),
        }
    }
}

impl Staging for Fake {
    fn stage(&self, stream: &mut dyn Read) -> Result<String, StagingError> {
        let mut token = String::new();
        stream.read_to_string(&mut token).map_err(|error| StagingError::Failed(error.to_string()))?;
        self.check()?;
        *self.token.lock().unwrap() = Some(token.clone());
        Ok(token)
    }

    fn cancel(&self, token: &str) -> Result<(), StagingError> {
        self.check()?;
        let mut staged = self.token.lock().unwrap();
        if staged.as_deref() != Some(token) {
            return Err(StagingError::Refused("none with this token waits".to_owned()));
        }
        *staged = None;
        Ok(())
    }

    fn staged(&self) -> Result<Option<String>, StagingError> {
        self.check()?;
        Ok(self.token.lock().unwrap().clone())
    }
}

/// Stands for the lock of logind: says when it is given back.
struct Held(Arc<AtomicBool>);

impl Held {
    fn take() -> (Self, Arc<AtomicBool>) {
        let held = Arc::new(AtomicBool::new(true));
        (Self(Arc::clone(&held)), held)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// A stream with these bytes, which ends.
fn stream(bytes: &[u8]) -> Stream {
    let (reader, mut writer) = pipe().unwrap();
    writer.write_all(bytes).unwrap();
    Stream::new(OwnedFd::from(reader), Duration::from_secs(20))
}

fn write(reimage: &Reimage<Fake>, stream: Stream) -> (Result<String, StagingError>, bool) {
    let (lock, held) = Held::take();
    let result = zbus::block_on(reimage.write(stream, lock));
    (result, held.load(Ordering::SeqCst))
}

fn until(is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(20), "it does not come");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_request_is_staged_once_and_cancelled_by_its_token_alone() {
    let reimage = Fake::new(Fault::None);
    assert_eq!(zbus::block_on(reimage.waiting()), Ok(String::new()));
    assert_eq!(write(&reimage, stream(b"one")), (Ok("one".to_owned()), false));
    assert_eq!(zbus::block_on(reimage.waiting()), Ok("one".to_owned()));
    let other = zbus::block_on(reimage.take_away("two".to_owned()));
    assert_eq!(other, Err(StagingError::Refused("none with this token waits".to_owned())));
    assert_eq!(zbus::block_on(reimage.take_away("one".to_owned())), Ok(()));
    assert_eq!(zbus::block_on(reimage.waiting()), Ok(String::new()));
}

#[test]
fn each_fault_has_its_answer_and_gives_back_the_lock_and_the_turn() {
    for (fault, expected) in [
        (Fault::NoRecovery, StagingError::NoRecovery("a".to_owned())),
        (Fault::Refused, StagingError::Refused("b".to_owned())),
        (Fault::Failed, StagingError::Failed("c".to_owned())),
    ] {
        let reimage = Fake::new(fault);
        assert_eq!(write(&reimage, stream(b"one")), (Err(expected.clone()), false), "{fault:?}");
        assert_eq!(zbus::block_on(reimage.take_away("one".to_owned())), Err(expected));
        *reimage.staging.fault.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Fault::None;
        assert_eq!(zbus::block_on(reimage.waiting()), Ok(String::new()), "{fault:?}: something is staged");
        assert_eq!(write(&reimage, stream(b"two")), (Ok("two".to_owned()), false), "{fault:?}");
    }
}

#[test]
fn a_silent_caller_and_one_without_a_stream_hold_nothing() {
    let reimage = Fake::new(Fault::None);
    let (reader, _writer) = pipe().unwrap();
    let silent = Stream::new(OwnedFd::from(reader), Duration::from_millis(50));
    let (result, held) = write(&reimage, silent);
    assert_eq!((result, held), (Err(StagingError::Failed("nothing came for 0 s".to_owned())), false));
    let folder = Stream::new(OwnedFd::from(File::open("/").unwrap()), Duration::from_secs(20));
    let (result, held) = write(&reimage, folder);
    assert_eq!((result, held), (Err(StagingError::Failed("Is a directory (os error 21)".to_owned())), false));
}

#[test]
fn there_is_one_writer_at_a_time_and_it_goes_on_when_its_caller_is_gone() {
    let reimage = Arc::new(Fake::new(Fault::None));
    let (reader, mut writer) = pipe().unwrap();
    let (lock, held) = Held::take();
    let slow = Stream::new(OwnedFd::from(reader), Duration::from_secs(20));
    let (sender, ended) = mpsc::channel();
    let theirs = Arc::clone(&reimage);
    thread::spawn(move || sender.send(zbus::block_on(theirs.write(slow, lock))));
    // The first has its turn from when it reads: until then the second could have it.
    writer.write_all(b"o").unwrap();
    until(|| reimage.turn.is_taken());
    let busy = StagingError::Refused("another request is being written or taken away".to_owned());
    assert_eq!(write(&reimage, stream(b"two")), (Err(busy.clone()), false));
    assert_eq!(zbus::block_on(reimage.take_away("one".to_owned())), Err(busy));
    assert!(held.load(Ordering::SeqCst), "the lock is given back before the end");
    writer.write_all(b"ne").unwrap();
    drop(writer);
    assert_eq!(ended.recv_timeout(Duration::from_secs(20)).unwrap(), Ok("one".to_owned()));

    // Nobody waits for this one.
    let (lock, held) = Held::take();
    let mut slow = stream(b"");
    let staging = Arc::clone(&reimage.staging);
    drop(reimage.turn.take(move || {
        let _held = lock;
        staging.cancel("one")?;
        staging.stage(&mut slow)
    }));
    until(|| !held.load(Ordering::SeqCst));
    assert_eq!(zbus::block_on(reimage.waiting()), Ok(String::new()));
}
