//! Ports on 127.0.0.1 that lead to machines: a free one, and whether SSH answers there. Must not log in.

use std::{
    io::{self, Read},
    net::{Ipv4Addr, TcpListener, TcpStream, ToSocketAddrs},
    thread,
    time::{Duration, Instant},
};

use cloud_machine_protocol::escape;

use super::{SshError, host::Host};

/// How long one connection may stay silent. QEMU's user network accepts connections for a machine that does not
/// listen yet and then says nothing, so waiting longer on one connection is in vain.
const PATIENCE: Duration = Duration::from_secs(2);
/// Pause between tries. A refused connection comes back at once, and no event tells when the next would not.
const PAUSE: Duration = Duration::from_millis(200);
/// Bytes that a server may say before its banner (RFC 4253, 4.2, allows other lines before it).
const MAX_BANNER: usize = 8 << 10;

/// What sshd(8) says instead of its banner to more connections than it serves at once (`MaxStartups`), and from OpenSSH 9.8 on to
/// somebody whose connections ended without a login (`PerSourcePenalties`), for as many seconds. The tries of a slow boot pile
/// up in QEMU's user network and all reach the server when it starts.
const BUSY: [&[u8]; 2] = [b"Exceeded MaxStartups", b"Not allowed at this time"];

/// A port on 127.0.0.1 that was free a moment ago. Another process may take it before QEMU does; QEMU then refuses to
/// start (see `QemuError::is_port_taken`) and another port must be asked for.
///
/// # Errors
/// [`SshError::Port`].
pub fn free_port() -> Result<u16, SshError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(SshError::Port)?;
    Ok(listener.local_addr().map_err(SshError::Port)?.port())
}

/// Waits until somebody says `SSH-2.0-` on `port` of `host`, and gives that line, safe to show. `alive` is asked
/// between tries whether waiting still makes sense.
///
/// # Errors
/// [`SshError::Silent`], [`SshError::Ended`] when `alive` says no, [`SshError::NoSsh`].
pub fn wait_banner(host: &Host, port: u16, deadline: Instant, alive: &dyn Fn() -> bool) -> Result<String, SshError> {
    let place = || host.place(port);
    loop {
        if !alive() {
            return Err(SshError::Ended { place: place() });
        }
        let last = match attempt(host, port, deadline) {
            Ok(Some(banner)) => return Ok(banner),
            Ok(None) => "the connection was closed without a word".to_owned(),
            Err(Heard::Other(stderr)) => return Err(SshError::NoSsh { place: place(), stderr }),
            Err(Heard::Error(error)) => error.to_string(),
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(SshError::Silent { place: place(), last });
        }
        thread::sleep(PAUSE.min(left));
    }
}

enum Heard {
    Other(String),
    Error(io::Error),
}

impl From<io::Error> for Heard {
    fn from(error: io::Error) -> Self {
        Self::Error(error)
    }
}

/// One connection; `None` when it was closed before a whole line.
fn attempt(host: &Host, port: u16, deadline: Instant) -> Result<Option<String>, Heard> {
    let until = deadline.min(Instant::now() + PATIENCE);
    // Zero would mean no limit at all, or be refused.
    let left = || until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let address = (host.name().as_str(), port).to_socket_addrs()?.next();
    let address = address.ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))?;
    let mut stream = TcpStream::connect_timeout(&address, left())?;
    let (mut received, mut chunk) = (Vec::new(), [0; 256]);
    loop {
        for line in received.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")) {
            if line.starts_with(b"SSH-2.0-") {
                return Ok(Some(escape::line(line.trim_ascii_end(), 255)));
            }
        }
        if received.len() > MAX_BANNER {
            return Err(Heard::Other(escape::line(&received, 80)));
        }
        if Instant::now() >= until {
            return Err(Heard::Error(io::ErrorKind::TimedOut.into()));
        }
        stream.set_read_timeout(Some(left()))?;
        match stream.read(&mut chunk) {
            Ok(0) if received.is_empty() => return Ok(None),
            Ok(0) if BUSY.iter().any(|busy| received.starts_with(busy)) => {
                return Err(Heard::Error(io::ErrorKind::ConnectionRefused.into()));
            }
            Ok(0) => return Err(Heard::Other(escape::line(&received, 80))),
            Ok(count) => received.extend_from_slice(chunk.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        sync::atomic::{AtomicU32, Ordering},
    };

    use super::*;

    /// Answers each connection with the next of `answers`; `None` stays silent with the connection open.
    fn server(answers: &'static [Option<&'static [u8]>]) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            let mut open = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                match answer {
                    Some(bytes) => stream.write_all(bytes).unwrap(),
                    None => open.push(stream),
                }
            }
        });
        port
    }

    fn within(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(seconds)
    }

    #[test]
    fn silence_closure_and_a_busy_server_are_tried_again_until_the_banner() {
        let port = server(&[
            Some(b""),
            None,
            Some(b"Exceeded MaxStartups\r\n"),
            Some(b"Not allowed at this time\r\n"),
            Some(b"hello\r\nSSH-2.0-Open\x1bSSH_9.2\r\n"),
        ]);
        assert_eq!(wait_banner(&Host::Forwarded, port, within(20), &|| true).unwrap(), "SSH-2.0-Open\\u{1b}SSH_9.2");
    }

    #[test]
    fn nobody_there_ends_at_the_deadline_with_the_last_reason() {
        let port = free_port().unwrap();
        let started = Instant::now();
        let error = wait_banner(&Host::Forwarded, port, started + Duration::from_millis(500), &|| true).unwrap_err();
        assert!(started.elapsed() < Duration::from_secs(5));
        let stderr = error.to_string();
        assert!(
            stderr.starts_with(&format!("no SSH banner on 127.0.0.1:{port} before the deadline (last error: ")),
            "{stderr}"
        );
        assert!(stderr.contains("refused"), "{stderr}");
    }

    #[test]
    fn a_dead_machine_is_not_waited_for() {
        let port = free_port().unwrap();
        let asked = AtomicU32::new(0);
        let error =
            wait_banner(&Host::Forwarded, port, within(60), &|| asked.fetch_add(1, Ordering::Relaxed) < 2).unwrap_err();
        assert_eq!(error.to_string(), format!("the machine ended before it spoke SSH on 127.0.0.1:{port}"));
    }

    #[test]
    fn another_protocol_is_named() {
        let port = server(&[Some(b"HTTP/1.1 400\x07 Bad\r\n")]);
        let error = wait_banner(&Host::Forwarded, port, within(20), &|| true).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("what answers on 127.0.0.1:{port} does not speak SSH: HTTP/1.1 400\\u{{7}} Bad\\r\\n")
        );
    }

    #[test]
    fn a_flood_before_the_banner_ends() {
        static FLOOD: [u8; 64 << 10] = [b'x'; 64 << 10];
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                // The reader goes away in the middle.
                let _ = stream.write_all(&FLOOD);
            }
        });
        assert!(matches!(wait_banner(&Host::Forwarded, port, within(20), &|| true), Err(SshError::NoSsh { .. })));
    }
}
