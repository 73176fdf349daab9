//! The process between a machine's interface and QEMU's user network: frames in both directions, for as long as both ends are there.
//! Must hold nothing that anybody waits for: neither a port nor a disk.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    net::Shutdown,
    os::unix::{fs::OpenOptionsExt, net::UnixStream},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use cloud_machine_disk::lock::lock;

use super::{SOCKETS, filter};
use crate::socket;

/// The word by which a program that links this driver is told to be the relay, with [`serve`].
pub const RELAY: &str = "relay-network";
/// What it says once frames are carried.
pub(super) const READY: &[u8] = b"ready\n";
/// What it says on stderr, made by whoever starts it.
pub(super) const LOG: &str = "relay.log";
/// Its process id, locked while it runs.
pub(super) const PID: &str = "relay.pid";
/// The longest frame of QEMU (NET_BUFSIZE of its net/net.h).
const MAX_FRAME: usize = 4096 + 65536;
/// How long QEMU may take to accept: it runs already.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);

/// Carries the frames of the machine whose attempt's folder is the working directory, until its QEMU ends.
///
/// # Errors
/// When it could not begin, or a frame has no length that QEMU gives one.
pub fn serve() -> io::Result<()> {
    let folder = Path::new(".");
    is_an_attempts(folder)?;
    let _held = claim(folder)?;
    let until = Instant::now() + CONNECT_LIMIT;
    let [machine, network] = SOCKETS.map(|name| {
        open(&folder.join(name), until)
            .map_err(|error| io::Error::new(error.kind(), format!("connect to QEMU's socket {name}: {error}")))
    });
    let (machine, network) = (machine?, network?);
    let mut stdout = io::stdout();
    stdout.write_all(READY)?;
    stdout.flush()?;
    carry(&machine, &network)
}

/// Whoever starts the relay makes its log before. In any other folder it was started by hand.
fn is_an_attempts(folder: &Path) -> io::Result<()> {
    if folder.join(LOG).try_exists()? {
        return Ok(());
    }
    let text = format!(
        "`{RELAY}` is no command: cloud-machine starts it beside a machine on `network: user`, in the folder with the socket {}, \
         which is not this one",
        SOCKETS[0]
    );
    Err(io::Error::new(io::ErrorKind::NotFound, text))
}

/// Writes this process's number into `folder` and gives the file, which is locked for as long as it is open.
fn claim(folder: &Path) -> io::Result<File> {
    // What another relay has written there stays until the lock is this one's.
    let mut file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(folder.join(PID))?;
    if !lock(&file)? {
        return Err(io::Error::new(io::ErrorKind::WouldBlock, format!("another relay holds {PID}")));
    }
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())?;
    Ok(file)
}

/// Connects to a socket of QEMU, which makes those of its network in a thread of their own (net/stream.c) and may run before they
/// are there. No event tells when they are.
pub(super) fn open(path: &Path, until: Instant) -> io::Result<UnixStream> {
    loop {
        match socket::open(path, until) {
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
                    && Instant::now() < until =>
            {
                thread::sleep(Duration::from_millis(5));
            }
            opened => return opened,
        }
    }
}

/// Carries frames between the two until one of them is closed.
pub(super) fn carry(machine: &UnixStream, network: &UnixStream) -> io::Result<()> {
    let close = || {
        for end in [machine, network] {
            // It may be closed already, which is what is wanted.
            let _ = end.shutdown(Shutdown::Both);
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            let ended = io::copy(&mut &*network, &mut &*machine);
            tracing::debug!(?ended, "the network has ended");
            close();
        });
        let ended = filtered(machine, network);
        close();
        ended
    })
}

/// Each frame has its length before it, four bytes long and the highest first.
fn filtered(mut machine: &UnixStream, mut network: &UnixStream) -> io::Result<()> {
    let mut frame = vec![0; 4 + MAX_FRAME];
    loop {
        let Some((length, rest)) = frame.split_first_chunk_mut::<4>() else { return Ok(()) };
        match machine.read_exact(length) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            read => read?,
        }
        let size = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let Some(rest) = rest.get_mut(..size) else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {size} bytes")));
        };
        machine.read_exact(rest)?;
        if filter::lets_through(rest) {
            network.write_all(frame.get(..4 + size).unwrap_or_default())?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(frame: &[u8]) -> Vec<u8> {
        [&u32::try_from(frame.len()).unwrap().to_be_bytes(), frame].concat()
    }

    /// A frame of ARP, which goes on.
    fn good(size: usize) -> Vec<u8> {
        let mut frame = vec![7; size];
        frame[12..14].copy_from_slice(&[8, 6]);
        frame
    }

    #[test]
    fn frames_go_both_ways_and_what_is_kept_back_leaves_no_trace() {
        let (mut interface, machine) = UnixStream::pair().unwrap();
        let (mut outside, network) = UnixStream::pair().unwrap();
        let relay = thread::spawn(move || carry(&machine, &network));
        let (long, short) = (framed(&good(MAX_FRAME)), framed(&good(60)));
        let kept = framed(&[0; 60]);
        let writer = thread::spawn({
            let sent = [&kept, &long, &kept, &short].map(|frame| frame.to_vec()).concat();
            move || interface.write_all(&sent).map(|()| interface).unwrap()
        });
        let mut found = vec![0; long.len() + short.len()];
        outside.read_exact(&mut found).unwrap();
        assert!(found == [long, short].concat(), "other bytes arrived");
        let mut interface = writer.join().unwrap();
        outside.write_all(&kept).unwrap();
        let mut back = vec![0; kept.len()];
        interface.read_exact(&mut back).unwrap();
        assert_eq!(back, kept, "what comes from outside is not judged");
        drop(interface);
        relay.join().unwrap().unwrap();
        assert_eq!(outside.read(&mut [0; 1]).unwrap(), 0, "the other end is closed, too");
    }

    #[test]
    fn nobody_starts_it_by_hand() {
        let folder = tempfile::tempdir().unwrap();
        let error = is_an_attempts(folder.path()).unwrap_err().to_string();
        assert!(error.starts_with("`relay-network` is no command: ") && error.contains("interface.sock"), "{error}");
        std::fs::write(folder.path().join(LOG), "").unwrap();
        is_an_attempts(folder.path()).unwrap();
    }

    #[test]
    fn a_second_relay_of_one_machine_is_none_and_leaves_the_number_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let number = || std::fs::read_to_string(folder.path().join(PID)).unwrap();
        std::fs::write(folder.path().join(PID), "of one that ended long ago\n").unwrap();
        let held = claim(folder.path()).unwrap();
        let own = format!("{}\n", std::process::id());
        assert_eq!(number(), own);
        let error = claim(folder.path()).unwrap_err();
        assert_eq!((error.kind(), number()), (io::ErrorKind::WouldBlock, own));
        drop(held);
        claim(folder.path()).unwrap();
    }

    #[test]
    fn a_socket_that_is_made_late_is_waited_for_and_one_that_never_comes_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("late.sock");
        let opens = thread::spawn({
            let path = path.clone();
            move || open(&path, Instant::now() + CONNECT_LIMIT)
        });
        // Bound and not listening is refused, too: both states are on the way.
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        opens.join().unwrap().unwrap();
        listener.accept().unwrap();
        let never = open(&folder.path().join("never.sock"), Instant::now());
        assert_eq!(never.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn the_relay_ends_with_either_end_and_at_a_frame_that_qemu_never_sends() {
        let (interface, machine) = UnixStream::pair().unwrap();
        let (outside, network) = UnixStream::pair().unwrap();
        let relay = thread::spawn(move || carry(&machine, &network));
        drop(outside);
        relay.join().unwrap().unwrap();
        drop(interface);

        let (mut interface, machine) = UnixStream::pair().unwrap();
        let (_outside, network) = UnixStream::pair().unwrap();
        interface.write_all(&u32::MAX.to_be_bytes()).unwrap();
        assert_eq!(carry(&machine, &network).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
