//! Which name server is asked, when, and how often. Must not know what becomes of an answer.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::{
    exchange::{Failure, ask},
    message::{Answer, Family, Name},
};

/// How often a server is asked that stays silent: a packet may be lost.
const ROUNDS: usize = 3;

/// Name servers, of which the one that answered last is asked first.
pub(super) struct Servers<'a> {
    servers: Vec<SocketAddr>,
    time: Duration,
    end: Instant,
    /// Whether the answer is of no use to anybody any more.
    abandoned: &'a dyn Fn() -> bool,
}

impl<'a> Servers<'a> {
    /// Each has `time` for one question; nothing is asked after `end`.
    pub(super) fn new(servers: Vec<SocketAddr>, time: Duration, end: Instant, abandoned: &'a dyn Fn() -> bool) -> Self {
        Self { servers, time, end, abandoned }
    }

    /// The first answer. A server that does not know leaves the question to the next one, as does a silent one, which is
    /// asked again when no other knew.
    pub(super) fn ask(&mut self, name: &Name, family: Family) -> Result<Answer, Failure> {
        let mut left = self.servers.clone();
        let mut failure = Failure::Silent(Duration::ZERO);
        for _ in 0..ROUNDS {
            for server in std::mem::take(&mut left) {
                let time = self.time.min(self.end.saturating_duration_since(Instant::now()));
                if time.is_zero() || (self.abandoned)() {
                    return Err(failure);
                }
                match ask(server, name, family, time) {
                    Ok(answer) => {
                        self.first(server);
                        return Ok(answer);
                    }
                    Err(silent @ Failure::Silent(_)) => {
                        left.push(server);
                        failure = silent;
                    }
                    Err(other) => failure = other,
                }
            }
        }
        Err(failure)
    }

    fn first(&mut self, server: SocketAddr) {
        if let Some(place) = self.servers.iter().position(|other| *other == server) {
            self.servers[..=place].rotate_right(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::names::{
        fake::{Fake, a, name, said},
        message::Rcode,
    };

    /// Short, and long enough for a machine with other work to do.
    const TIME: Duration = Duration::from_secs(1);
    const LONG: Duration = Duration::from_secs(60);
    const ADDRESS: &str = "192.0.2.7";

    fn good() -> Fake {
        Fake::start(|query, _| vec![said(query, Rcode::NOERROR, &[a("seed.test", ADDRESS)])])
    }

    fn says(code: Rcode) -> Fake {
        Fake::start(move |query, _| vec![said(query, code, &[])])
    }

    fn silent() -> Fake {
        Fake::start(|_, _| Vec::new())
    }

    fn find(servers: &mut Servers<'_>) -> Result<Vec<IpAddr>, Failure> {
        match servers.ask(&name("seed.test"), Family::V4)? {
            Answer::Addresses(addresses) => Ok(addresses),
            other => panic!("{other:?}"),
        }
    }

    fn servers(fakes: &[&Fake], time: Duration) -> Servers<'static> {
        Servers::new(fakes.iter().map(|fake| fake.address).collect(), time, Instant::now() + LONG, &|| false)
    }

    #[test]
    fn the_first_that_knows_is_asked_first_from_then_on() {
        for (first, time) in [(silent(), TIME), (says(Rcode::SERVFAIL), LONG), (says(Rcode::REFUSED), LONG)] {
            let second = good();
            let mut servers = servers(&[&first, &second], time);
            assert_eq!(find(&mut servers).unwrap(), [ADDRESS.parse::<IpAddr>().unwrap()]);
            assert_eq!((first.asked().len(), second.asked().len()), (1, 1));
            // Nobody waits for the first one again.
            servers.time = LONG;
            assert!(find(&mut servers).is_ok());
            assert_eq!((first.asked().len(), second.asked().len()), (1, 2));
        }
    }

    #[test]
    fn what_a_server_knows_is_asked_of_no_other() {
        let (first, second) = (says(Rcode::NXDOMAIN), good());
        let answer = servers(&[&first, &second], LONG).ask(&name("seed.test"), Family::V4).unwrap();
        assert_eq!(answer, Answer::NoName);
        assert_eq!(second.asked().len(), 0);
    }

    #[test]
    fn a_lost_packet_is_sent_again() {
        let lossy = Fake::start(|query, number| match number {
            0 | 1 => Vec::new(),
            _ => vec![said(query, Rcode::NOERROR, &[a("seed.test", ADDRESS)])],
        });
        assert!(find(&mut servers(&[&lossy], TIME)).is_ok());
        assert_eq!(lossy.asked().len(), 3);
    }

    #[test]
    fn silence_ends_after_three_questions_and_a_refusal_at_once() {
        let (silent, refuses) = (silent(), says(Rcode::SERVFAIL));
        let failure = find(&mut servers(&[&silent, &refuses], TIME)).unwrap_err();
        assert_eq!(failure.to_string(), "no answer within 1.0 s");
        assert_eq!((silent.asked().len(), refuses.asked().len()), (ROUNDS, 1));
        let failure = find(&mut servers(&[&refuses], LONG)).unwrap_err();
        assert_eq!(failure.to_string(), "the answer is SERVFAIL");
        assert_eq!(refuses.asked().len(), 2);
    }

    #[test]
    fn nothing_is_asked_after_the_end_or_when_nobody_listens() {
        let silent = silent();
        let begin = Instant::now();
        let mut servers = Servers::new(vec![silent.address; 8], LONG, begin + TIME, &|| false);
        assert!(matches!(find(&mut servers), Err(Failure::Silent(_))));
        assert!(begin.elapsed() < LONG / 2, "{:?}", begin.elapsed());
        assert_eq!(silent.asked().len(), 1);
        let mut servers = Servers::new(vec![silent.address; 8], LONG, begin + LONG, &|| true);
        assert!(find(&mut servers).is_err());
        assert_eq!(silent.asked().len(), 1);
    }
}
