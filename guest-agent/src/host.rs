//! The conversation with the host, as typed messages over its channel. Owns how often progress is told.

use std::{
    fs,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use cloud_machine_boot_report as boot_report;
use cloud_machine_protocol::{
    AgentMessage, Event, FORMAT_VERSION, Hello, HostMessage, MAX_LINE, Nonce, Read, Report, Secrets, StepId, volume,
};
use cloud_machine_system::{SystemError, channel::Channel, kernel};

use crate::{error::AgentError, running_in::RunningIn};

/// How long the host may take to answer the hello.
const SECRETS_TIME: Duration = Duration::from_secs(60);
/// How long bytes may take to arrive.
const BYTES_TIME: Duration = Duration::from_secs(300);

/// The host at the other end of the channel.
pub(crate) struct Host {
    line: Line,
    started: Instant,
    running_in: RunningIn,
}

/// The channel, for whoever has something to say or to ask.
#[derive(Clone)]
pub(crate) struct Line(Arc<Shared>);

struct Shared {
    channel: Box<dyn Channel>,
    /// Reads that were sent, which the host answers in that order.
    sent: Mutex<u64>,
    /// Reads that were answered.
    answered: Mutex<u64>,
    /// Tells that it is the next one's turn.
    turn: Condvar,
}

impl Host {
    /// Speaks over `channel`; times are counted from `started`.
    pub(crate) fn new(running_in: RunningIn, channel: Box<dyn Channel>, started: Instant) -> Self {
        let (sent, answered) = (Mutex::new(0), Mutex::new(0));
        Self { line: Line(Arc::new(Shared { channel, sent, answered, turn: Condvar::new() })), started, running_in }
    }

    /// The way to the host for somebody else.
    pub(crate) fn line(&self) -> Line {
        self.line.clone()
    }

    pub(crate) fn hello(&mut self, boot_id: &str) -> Result<(), AgentError> {
        self.send(&AgentMessage::Hello(Hello {
            version: FORMAT_VERSION,
            agent: env!("CARGO_PKG_VERSION").to_owned(),
            boot_id: boot_id.to_owned(),
        }))
    }

    /// Tells what is going on.
    pub(crate) fn event(&mut self, step: Option<&StepId>, message: &str) -> Result<(), AgentError> {
        kernel::log(message);
        self.progress(step, message, None)
    }

    /// Tells how far a step is; `bytes` is done and total.
    pub(crate) fn progress(
        &mut self,
        step: Option<&StepId>,
        message: &str,
        bytes: Option<(u64, u64)>,
    ) -> Result<(), AgentError> {
        self.send(&AgentMessage::Event(Event {
            at: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            step: step.cloned(),
            message: message.to_owned(),
            done: bytes.map(|(done, _)| done),
            total: bytes.map(|(_, total)| total),
        }))
    }

    /// Sends the report and keeps a copy for the new system. None is kept on a rescue system, of whose memory the reset leaves
    /// nothing: there it could only fail, and the host would never hear the report.
    pub(crate) fn report(&mut self, report: Report) -> Result<(), AgentError> {
        if !self.running_in.ends_in_reset() {
            let copy = serde_json::to_vec_pretty(&report).map_err(AgentError::Encode)?;
            fs::create_dir_all(boot_report::FOLDER)
                .and_then(|()| fs::write(boot_report::PATH, copy))
                .map_err(SystemError::io("write", boot_report::PATH))?;
        }
        self.send(&AgentMessage::Report(Box::new(report)))
    }

    /// What the host tells over the channel alone, as its answer to the hello. It is read once, and then nowhere but in the
    /// memory of this process, which ends before the machine's own system starts.
    pub(crate) fn secrets(&mut self) -> Result<Secrets, AgentError> {
        match self.answer(Instant::now() + SECRETS_TIME)? {
            HostMessage::Secrets(secrets) => Ok(secrets),
            HostMessage::Stop { reason } => Err(AgentError::Refused { reason }),
            _ => Err(AgentError::OutOfTurn { expected: "what answers the hello" }),
        }
    }

    /// The volume, from a host that has not attached it.
    pub(crate) fn volume(&mut self) -> Result<Vec<u8>, AgentError> {
        let deadline = Instant::now() + BYTES_TIME;
        match self.answer(deadline)? {
            HostMessage::Volume { bytes } if bytes <= volume::MAX_SIZE => {
                let length = usize::try_from(bytes).unwrap_or(usize::MAX);
                Ok(self.line.channel().receive_bytes(length, deadline)?)
            }
            HostMessage::Volume { bytes } => Err(AgentError::VolumeTooLarge { bytes, limit: volume::MAX_SIZE }),
            HostMessage::Stop { reason } => Err(AgentError::Refused { reason }),
            _ => Err(AgentError::OutOfTurn { expected: "its volume" }),
        }
    }

    /// Waits until the host accepts the report of this attempt, and gives the certificate that it made.
    pub(crate) fn wait_for_go(
        &mut self,
        expected: Option<Nonce>,
        deadline: Instant,
    ) -> Result<Option<String>, AgentError> {
        match self.answer(deadline)? {
            HostMessage::Go { nonce, certificate } if Some(nonce) == expected => Ok(certificate),
            HostMessage::Go { .. } => Err(AgentError::ForeignNonce),
            HostMessage::Stop { reason } => Err(AgentError::Refused { reason }),
            _ => Err(AgentError::OutOfTurn { expected: "its word on the report" }),
        }
    }

    fn answer(&mut self, deadline: Instant) -> Result<HostMessage, AgentError> {
        answer(self.line.channel(), deadline)
    }

    fn send(&mut self, message: &AgentMessage) -> Result<(), AgentError> {
        send(self.line.channel(), message)
    }
}

impl Line {
    /// Bytes of the packed image, from a host that has not attached it. Threads that ask at the same time wait for one way there
    /// and back, and not for one each.
    pub(crate) fn read(&self, offset: u64, length: u64) -> Result<Vec<u8>, AgentError> {
        let Shared { sent, answered, turn, .. } = &*self.0;
        let mine = {
            let mut sent = lock(sent);
            send(self.channel(), &AgentMessage::Read(Read { offset, length }))?;
            *sent = sent.wrapping_add(1);
            *sent
        };
        let answered = lock(answered);
        let mut answered = turn
            .wait_while(answered, |answered| answered.wrapping_add(1) != mine)
            .unwrap_or_else(PoisonError::into_inner);
        // Also of one that failed: all that follow it fail for themselves.
        *answered = mine;
        let bytes = self.bytes(length);
        drop(answered);
        turn.notify_all();
        bytes
    }

    fn bytes(&self, length: u64) -> Result<Vec<u8>, AgentError> {
        let deadline = Instant::now() + BYTES_TIME;
        match answer(self.channel(), deadline)? {
            HostMessage::Data { bytes } if bytes == length => {
                Ok(self.channel().receive_bytes(usize::try_from(length).unwrap_or(usize::MAX), deadline)?)
            }
            HostMessage::Stop { reason } => Err(AgentError::Refused { reason }),
            _ => Err(AgentError::OutOfTurn { expected: "the bytes of the image that were asked for" }),
        }
    }

    fn channel(&self) -> &dyn Channel {
        &*self.0.channel
    }
}

/// Whoever panicked with it ends with its process.
fn lock(count: &Mutex<u64>) -> MutexGuard<'_, u64> {
    count.lock().unwrap_or_else(PoisonError::into_inner)
}

fn answer(channel: &dyn Channel, deadline: Instant) -> Result<HostMessage, AgentError> {
    let line = channel.receive(MAX_LINE, deadline)?;
    serde_json::from_slice(&line).map_err(AgentError::Answer)
}

fn send(channel: &dyn Channel, message: &AgentMessage) -> Result<(), AgentError> {
    let line = serde_json::to_vec(message).map_err(AgentError::Encode)?;
    Ok(channel.send(&line)?)
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        sync::atomic::{AtomicUsize, Ordering},
        thread,
    };

    use cloud_machine_system::SystemError;

    use super::*;

    /// A host that answers nothing before it has been asked several times.
    #[derive(Debug, Default)]
    struct Slow {
        asked: Mutex<VecDeque<Read>>,
        more: Condvar,
        answered: AtomicUsize,
    }

    const AT_ONCE: usize = 4;

    impl Channel for Slow {
        fn send(&self, line: &[u8]) -> Result<(), SystemError> {
            let AgentMessage::Read(read) = serde_json::from_slice(line).unwrap() else { panic!("no read") };
            self.asked.lock().unwrap().push_back(read);
            self.more.notify_all();
            Ok(())
        }

        fn receive(&self, _: usize, _: Instant) -> Result<Vec<u8>, SystemError> {
            let asked = self.asked.lock().unwrap();
            let first = self.answered.load(Ordering::SeqCst) == 0;
            let all = Duration::from_secs(20);
            let (asked, waited) =
                self.more.wait_timeout_while(asked, all, |asked| first && asked.len() < AT_ONCE).unwrap();
            assert!(!waited.timed_out(), "the threads wait for one another");
            Ok(format!("{{\"kind\":\"data\",\"bytes\":{}}}", asked.front().unwrap().length).into_bytes())
        }

        fn receive_bytes(&self, length: usize, _: Instant) -> Result<Vec<u8>, SystemError> {
            let read = self.asked.lock().unwrap().pop_front().unwrap();
            self.answered.fetch_add(1, Ordering::SeqCst);
            Ok(vec![u8::try_from(read.offset).unwrap(); length])
        }
    }

    #[test]
    fn threads_that_read_wait_together_and_each_gets_its_own_bytes() {
        let line = Host::new(RunningIn::RescueSystem, Box::new(Slow::default()), Instant::now()).line();
        thread::scope(|scope| {
            for thread in 0..AT_ONCE as u64 {
                let line = line.clone();
                scope.spawn(move || {
                    for offset in [thread, thread + 100] {
                        let length = offset + 1;
                        let bytes = line.read(offset, length).unwrap();
                        assert_eq!(bytes, vec![u8::try_from(offset).unwrap(); usize::try_from(length).unwrap()]);
                    }
                });
            }
        });
    }
}
