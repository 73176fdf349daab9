//! One question to one server: over UDP, and again over TCP when the answer is too long for it. Must not ask anybody else,
//! and takes nothing for an answer that does not come from the server's own address and port.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use super::message::{Answer, Family, Name, Query, Rcode, Reply};

/// Bytes of a message over UDP. No server may send more than 512 that was not told so (RFC 1035, 2.3.4); one that does is read.
const MAX_DATAGRAM: usize = 4096;

/// Why a server gave no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("no answer within {:.1} s", .0.as_secs_f64())]
    Silent(Duration),
    #[error("the answer is {0}")]
    Refused(Rcode),
    #[error("the answer cannot be read")]
    Garbled,
    #[error("cannot ask it")]
    Io(#[from] io::Error),
}

/// Asks `server`, which has `time` for an answer over UDP, and again for one over TCP.
pub(super) fn ask(server: SocketAddr, name: &Name, family: Family, time: Duration) -> Result<Answer, Failure> {
    let reply = match by(time, |end| datagram(server, name, family, end))? {
        Reply::Truncated => by(time, |end| stream(server, name, family, end))?,
        reply => reply,
    };
    match reply {
        Reply::Answer(answer) => Ok(answer),
        Reply::Refused(code) => Err(Failure::Refused(code)),
        // Over TCP nothing is too long.
        Reply::Truncated | Reply::Garbled => Err(Failure::Garbled),
    }
}

fn by(time: Duration, exchange: impl FnOnce(Instant) -> io::Result<Reply>) -> Result<Reply, Failure> {
    exchange(Instant::now() + time).map_err(|error| match error.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => Failure::Silent(time),
        _ => Failure::Io(error),
    })
}

/// A socket of its own for each question, so that its port cannot be guessed either: the kernel draws one. A connected
/// socket hears its peer alone.
fn datagram(server: SocketAddr, name: &Name, family: Family, end: Instant) -> io::Result<Reply> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    let query = Query::new(name, family)?;
    socket.send(query.bytes())?;
    let mut buffer = [0; MAX_DATAGRAM];
    loop {
        socket.set_read_timeout(Some(left(end)?))?;
        match socket.recv(&mut buffer) {
            // What is no answer does not end the waiting: else whoever guesses could keep the right one away.
            Ok(length) => {
                if let Some(reply) = query.reply(&buffer[..length]) {
                    return Ok(reply);
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Each message follows its length (RFC 1035, 4.2.2).
fn stream(server: SocketAddr, name: &Name, family: Family, end: Instant) -> io::Result<Reply> {
    let mut connection = Timed { stream: TcpStream::connect_timeout(&server, left(end)?)?, end };
    let query = Query::new(name, family)?;
    let length = u16::try_from(query.bytes().len()).map_err(io::Error::other)?;
    // In one piece: some servers read no further than the first.
    connection.write_all(&[&length.to_be_bytes(), query.bytes()].concat())?;
    let mut length = [0; 2];
    connection.read_exact(&mut length)?;
    let mut answer = vec![0; u16::from_be_bytes(length).into()];
    connection.read_exact(&mut answer)?;
    Ok(query.reply(&answer).unwrap_or(Reply::Garbled))
}

/// A connection that has until `end`, however little comes at a time.
struct Timed {
    stream: TcpStream,
    end: Instant,
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(left(self.end)?))?;
        self.stream.read(buffer)
    }
}

impl Write for Timed {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(left(self.end)?))?;
        self.stream.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Never zero, which would mean without end.
fn left(end: Instant) -> io::Result<Duration> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, thread};

    use super::*;
    use crate::names::fake::{Fake, a, name, said, send, truncated};

    /// Short, and long enough for a machine with other work to do.
    const TIME: Duration = Duration::from_millis(500);
    const LONG: Duration = Duration::from_secs(60);
    const GOOD: &str = "192.0.2.1";
    const EVIL: &str = "192.0.2.66";

    fn find(fake: &Fake, time: Duration) -> Result<Answer, String> {
        ask(fake.address, &name("seed.test"), Family::V4, time).map_err(|error| error.to_string())
    }

    fn good() -> Result<Answer, String> {
        Ok(Answer::Addresses(vec![GOOD.parse().unwrap()]))
    }

    fn records(address: &str) -> [crate::names::fake::Entry; 1] {
        [a("seed.test", address)]
    }

    #[test]
    fn each_question_has_a_port_and_a_number_of_its_own() {
        let fake = Fake::start(|query, _| vec![said(query, Rcode::NOERROR, &records(GOOD))]);
        for _ in 0..16 {
            assert_eq!(find(&fake, LONG), good());
        }
        let asked = fake.asked();
        let ports: BTreeSet<u16> = asked.iter().map(|asked| asked.from.port()).collect();
        let numbers: BTreeSet<u16> = asked.iter().map(|asked| asked.query.header().id()).collect();
        assert!(ports.len() > 10 && numbers.len() > 10, "{ports:?} {numbers:?}");
        assert!(asked.iter().all(|asked| !asked.tcp && asked.question() == "seed.test A"));
    }

    #[test]
    fn only_the_server_that_was_asked_is_heard() {
        let stranger = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let fake = Fake::with(
            move |asked, _, socket| {
                // Right in everything but where it comes from. The client's kernel refuses it, so that it may say so.
                drop(stranger.send_to(&said(&asked.query, Rcode::NOERROR, &records(EVIL)), asked.from));
                thread::sleep(Duration::from_millis(100));
                socket.send_to(&said(&asked.query, Rcode::NOERROR, &records(GOOD)), asked.from).unwrap();
            },
            |_, _| {},
        );
        assert_eq!(find(&fake, LONG), good());
    }

    #[test]
    fn what_is_no_answer_is_not_heard_and_does_not_end_the_waiting() {
        let fake = Fake::start(|query, _| {
            let evil = said(query, Rcode::NOERROR, &records(EVIL));
            let changed = |place: usize| {
                let mut bytes = evil.clone();
                bytes[place] ^= 0x80;
                bytes
            };
            // Another number, no answer, another name; then noise; then the right one, and one too late.
            let good = said(query, Rcode::NOERROR, &records(GOOD));
            vec![changed(0), changed(2), changed(14), vec![7; 3], good, evil.clone()]
        });
        assert_eq!(find(&fake, LONG), good());
        let never = Fake::start(|query, _| {
            let mut evil = said(query, Rcode::NOERROR, &records(EVIL));
            evil[1] ^= 1;
            vec![evil; 100]
        });
        assert_eq!(find(&never, TIME), Err("no answer within 0.5 s".to_owned()));
    }

    #[test]
    fn failures_are_told() {
        let silent = Fake::start(|_, _| Vec::new());
        assert_eq!(find(&silent, TIME), Err("no answer within 0.5 s".to_owned()));
        let refuses = Fake::start(|query, _| vec![said(query, Rcode::REFUSED, &[])]);
        assert_eq!(find(&refuses, LONG), Err("the answer is REFUSED".to_owned()));
        let garbles = Fake::start(|query, _| {
            let mut answer = said(query, Rcode::NOERROR, &records(GOOD));
            answer.truncate(answer.len() - 1);
            vec![answer]
        });
        assert_eq!(find(&garbles, LONG), Err("the answer cannot be read".to_owned()));
        // Nobody listens: the kernel says so at once. No other test takes a port of this address.
        let closed = UdpSocket::bind("127.0.77.2:0").unwrap().local_addr().unwrap();
        let failure = ask(closed, &name("seed.test"), Family::V4, LONG).unwrap_err();
        assert!(matches!(&failure, Failure::Io(error) if error.kind() == ErrorKind::ConnectionRefused), "{failure:?}");
    }

    #[test]
    fn what_is_too_long_for_udp_comes_over_tcp() {
        let many: Vec<_> = (0..100).map(|host| a("seed.test", &format!("192.0.2.{host}"))).collect();
        let fake = Fake::truncating(move |query, connection| send(connection, &said(query, Rcode::NOERROR, &many)));
        let Answer::Addresses(found) = find(&fake, LONG).unwrap() else { panic!() };
        assert_eq!(found.len(), 100);
        let asked: Vec<_> = fake.asked().iter().map(|asked| (asked.question(), asked.tcp)).collect();
        assert_eq!(asked, [("seed.test A".to_owned(), false), ("seed.test A".to_owned(), true)]);
    }

    #[test]
    fn more_than_a_server_may_send_over_udp_is_read() {
        let many: Vec<_> = (0..100).map(|host| a("seed.test", &format!("192.0.2.{host}"))).collect();
        let fake = Fake::start(move |query, _| vec![said(query, Rcode::NOERROR, &many)]);
        let Answer::Addresses(found) = find(&fake, LONG).unwrap() else { panic!() };
        assert_eq!(found.len(), 100);
    }

    #[test]
    fn tcp_is_believed_no_more_than_udp() {
        let other = Fake::truncating(|query, connection| {
            let mut evil = said(query, Rcode::NOERROR, &records(EVIL));
            evil[0] ^= 1;
            send(connection, &evil);
        });
        assert_eq!(find(&other, LONG), Err("the answer cannot be read".to_owned()));
        let again = Fake::truncating(|query, connection| send(connection, &truncated(query)));
        assert_eq!(find(&again, LONG), Err("the answer cannot be read".to_owned()));
        let cut = Fake::truncating(|query, connection| {
            let answer = said(query, Rcode::NOERROR, &records(GOOD));
            // Less than its length says.
            drop(connection.write_all(&[&[1, 0], answer.as_slice()].concat()));
        });
        assert_eq!(find(&cut, LONG), Err("cannot ask it".to_owned()));
    }

    #[test]
    fn a_stream_that_trickles_ends_in_time() {
        let fake = Fake::truncating(|_, connection| {
            // A length that nobody reaches.
            while connection.write_all(&[0xff]).is_ok() {
                thread::sleep(Duration::from_millis(50));
            }
        });
        let begin = Instant::now();
        assert_eq!(find(&fake, TIME), Err("no answer within 0.5 s".to_owned()));
        assert!(begin.elapsed() < LONG / 2, "{:?}", begin.elapsed());
    }
}
