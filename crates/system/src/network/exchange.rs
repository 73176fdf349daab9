//! The dialogue with DHCP servers over a socket and in time: sends, waits, sends again. Must not judge what comes.

use std::{
    ffi::OsString,
    io,
    net::{Ipv4Addr, UdpSocket},
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

use backon::{BackoffBuilder, ExponentialBuilder};
use dhcproto::v4::{CLIENT_PORT, SERVER_PORT};
use nix::{
    libc,
    sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket, sockopt},
};

use super::{
    NetworkError,
    dialogue::{Dialogue, Heard},
    error::Unusable,
    lease::Lease,
    packet::{Client, MAX_MESSAGE},
};
use crate::SystemError;

/// The first wait for an answer; the following ones double. RFC 2131, 4.1 has 4 to 64 seconds, for networks of 1997.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(8);

/// Asks for a lease until there is one or `deadline` is over.
///
/// # Errors
/// [`NetworkError::NoLease`] with the last unusable answer, [`NetworkError::System`] when the socket fails.
pub(crate) fn lease(interface: &str, mac: [u8; 6], deadline: Instant) -> Result<Lease, NetworkError> {
    let socket = open(interface)?;
    let begin = Instant::now();
    let mut sent = 0;
    let mut unusable = None;
    let mut dialogue = Dialogue::new(client(mac)?);
    let mut waits = waits();
    while Instant::now() < deadline {
        let seconds = u16::try_from(begin.elapsed().as_secs()).unwrap_or(u16::MAX);
        send(&socket, &dialogue.message(seconds).map_err(NetworkError::Message)?, interface)?;
        sent += 1;
        let again = deadline.min(Instant::now() + waits.next().unwrap_or(LONGEST_WAIT));
        match listen(&socket, &mut dialogue, again, &mut unusable)? {
            Listened::Lease(lease) => return Ok(lease),
            Listened::Offer => waits = self::waits(),
            Listened::Refused => dialogue = Dialogue::new(client(mac)?),
            Listened::Nothing => {}
        }
    }
    Err(NetworkError::NoLease { interface: interface.to_owned(), elapsed: begin.elapsed(), sent, unusable })
}

/// What a time of listening brought.
enum Listened {
    Lease(Lease),
    Offer,
    Refused,
    Nothing,
}

/// Hears what comes until `end`, or until it asks for something. A refusal waits for the end: a server that always
/// refuses must not set the pace.
fn listen(
    socket: &UdpSocket,
    dialogue: &mut Dialogue,
    end: Instant,
    unusable: &mut Option<Unusable>,
) -> Result<Listened, SystemError> {
    let mut buffer = [0; MAX_MESSAGE];
    let mut listened = Listened::Nothing;
    while let Some(size) = receive(socket, &mut buffer, end)? {
        match dialogue.hear(buffer.get(..size).unwrap_or_default()) {
            // After a refusal this dialogue is over.
            _ if matches!(listened, Listened::Refused) => {}
            Heard::Lease(lease) => return Ok(Listened::Lease(lease)),
            Heard::Offer => return Ok(Listened::Offer),
            Heard::Unusable(answer) => *unusable = Some(answer),
            Heard::Refused(answer) => {
                *unusable = Some(answer);
                listened = Listened::Refused;
            }
            Heard::Nothing => {}
        }
    }
    Ok(listened)
}

/// The size of the next packet; `None` when there was none until `end`.
fn receive(socket: &UdpSocket, buffer: &mut [u8], end: Instant) -> Result<Option<usize>, SystemError> {
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        socket.set_read_timeout(Some(left)).map_err(SystemError::io("set the time limit of", "the DHCP socket"))?;
        match socket.recv(buffer) {
            Ok(size) => return Ok(Some(size)),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
                ) => {}
            // The link went away for a moment.
            Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => {}
            Err(error) => return Err(SystemError::io("read", "the DHCP socket")(error)),
        }
    }
}

/// Broadcasts a message. A link that is not ready yet has lost it, as any network may: the next one follows.
fn send(socket: &UdpSocket, message: &[u8], interface: &str) -> Result<(), SystemError> {
    match socket.send_to(message, (Ipv4Addr::BROADCAST, SERVER_PORT)) {
        Ok(_) => Ok(()),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENETDOWN | libc::ENETUNREACH | libc::ENOBUFS)) => {
            Ok(())
        }
        Err(error) => Err(SystemError::io("send a DHCP message on", interface)(error)),
    }
}

/// A socket that speaks through this interface alone, whatever addresses and routes there are.
fn open(interface: &str) -> Result<UdpSocket, SystemError> {
    let object = format!("the DHCP socket on {interface}");
    let descriptor = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
        .map_err(SystemError::io("open", &object))?;
    setsockopt(&descriptor, sockopt::ReuseAddr, &true).map_err(SystemError::io("share the port of", &object))?;
    setsockopt(&descriptor, sockopt::Broadcast, &true).map_err(SystemError::io("allow broadcasts on", &object))?;
    setsockopt(&descriptor, sockopt::BindToDevice, &OsString::from(interface))
        .map_err(SystemError::io("tie to its interface", &object))?;
    bind(descriptor.as_raw_fd(), &SockaddrIn::new(0, 0, 0, 0, CLIENT_PORT))
        .map_err(SystemError::io("bind", &object))?;
    Ok(UdpSocket::from(descriptor))
}

fn client(mac: [u8; 6]) -> Result<Client, SystemError> {
    let xid = getrandom::u32().map_err(SystemError::io("get", "random bytes"))?;
    Ok(Client { mac, xid })
}

fn waits() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::new()
        .with_min_delay(SHORTEST)
        .with_max_delay(LONGEST_WAIT)
        .with_factor(2.0)
        .without_max_times()
        .with_jitter()
        .build()
}
