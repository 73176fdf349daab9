//! A server of a test's own for one large file by ranges, on the loopback interface: keeps connections, serves several
//! at once, and breaks as it is told to. Must not outlive its test.

use std::{
    io::{self, BufRead, BufReader, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// How the server behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// As RFC 9110 says.
    Good,
    /// Of a hundred answers about `broken` end early or do not begin, by a sequence that `seed` begins. The first
    /// answer is always good.
    Breaks {
        /// Begins the sequence.
        seed: u64,
        /// Of a hundred.
        broken: u64,
    },
    /// Answers every request with the whole file.
    IgnoresRanges,
}

/// What the server did so far.
#[derive(Debug, Default)]
struct Count {
    requests: AtomicU64,
    broken: AtomicU64,
    bytes: AtomicU64,
    connections: AtomicU64,
}

struct Shared {
    file: Vec<u8>,
    behaviour: Behaviour,
    ended: AtomicBool,
    count: Count,
    dice: Mutex<u64>,
    head: Mutex<String>,
    open: Mutex<Vec<TcpStream>>,
}

/// A running server.
pub struct ImageServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl ImageServer {
    /// Starts a server on a free port.
    ///
    /// # Panics
    /// When there is no free port on the loopback interface.
    #[must_use]
    pub fn start(file: Vec<u8>, behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let seed = if let Behaviour::Breaks { seed, .. } = behaviour { seed } else { 0 };
        let shared = Arc::new(Shared {
            file,
            behaviour,
            ended: AtomicBool::new(false),
            count: Count::default(),
            dice: Mutex::new(seed),
            head: Mutex::default(),
            open: Mutex::new(Vec::new()),
        });
        let seen = Arc::clone(&shared);
        let thread = thread::spawn(move || listen(&listener, &seen));
        Self { address, shared, thread: Some(thread) }
    }

    /// The file's address on this host.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/image", self.address)
    }

    /// The file's address as a machine on QEMU's user network has it.
    #[must_use]
    pub fn url_for_machine(&self) -> String {
        format!("http://10.0.2.2:{}/image", self.address.port())
    }

    /// Requests so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.shared.count.requests.load(Ordering::SeqCst)
    }

    /// Whether the head of the last request, in small letters, has `text`.
    #[must_use]
    pub fn asked_with(&self, text: &str) -> bool {
        self.shared.head.lock().unwrap_or_else(PoisonError::into_inner).contains(text)
    }

    /// Requests that were not answered as they should have been.
    #[must_use]
    pub fn broken(&self) -> u64 {
        self.shared.count.broken.load(Ordering::SeqCst)
    }

    /// Bytes of the file that were sent so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.shared.count.bytes.load(Ordering::SeqCst)
    }

    /// Connections so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.count.connections.load(Ordering::SeqCst)
    }
}

impl Drop for ImageServer {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for a client, and those that wait for a request.
        drop(TcpStream::connect(self.address));
        for stream in self.shared.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            stream.shutdown(Shutdown::Both).unwrap_or_default();
        }
        if let Some(thread) = self.thread.take() {
            let joined = thread.join();
            assert!(joined.is_ok() || thread::panicking(), "the server has panicked");
        }
    }
}

fn listen(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut threads = Vec::new();
    for stream in listener.incoming() {
        if shared.ended.load(Ordering::SeqCst) {
            break;
        }
        let Ok(stream) = stream else { continue };
        shared.count.connections.fetch_add(1, Ordering::SeqCst);
        if let Ok(copy) = stream.try_clone() {
            shared.open.lock().unwrap_or_else(PoisonError::into_inner).push(copy);
        }
        let shared = Arc::clone(shared);
        threads.push(thread::spawn(move || {
            // A client that hangs up in the middle is what some tests are about.
            serve(&stream, &shared).unwrap_or_default();
            // The copy would keep the connection open.
            stream.shutdown(Shutdown::Both).unwrap_or_default();
        }));
    }
    for thread in threads {
        thread.join().expect("a connection's thread");
    }
}

fn serve(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        *shared.head.lock().unwrap_or_else(PoisonError::into_inner) = head.to_ascii_lowercase();
        let number = shared.count.requests.fetch_add(1, Ordering::SeqCst);
        if !answer(stream, shared, number, asked(&head, shared.file.len()))? {
            return Ok(());
        }
    }
}

/// The range of a request, both ends as they are used here, when it asks for one that the file has.
fn asked(head: &str, size: usize) -> Option<Range<usize>> {
    let range =
        head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
    let range = range?;
    let (first, last) = range.split_once('-')?;
    let range = first.parse().ok()?..last.parse::<usize>().ok()?.checked_add(1)?;
    (range.start < range.end && range.end <= size).then_some(range)
}

/// Whether the connection goes on.
fn answer(mut stream: &TcpStream, shared: &Shared, number: u64, range: Option<Range<usize>>) -> io::Result<bool> {
    let size = shared.file.len();
    let range = match range {
        Some(range) if shared.behaviour != Behaviour::IgnoresRanges => range,
        _ => {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nETag: \"1\"\r\n\r\n")?;
            return send(stream, shared, 0..size).map(|()| true);
        }
    };
    let (first, last, length) = (range.start, range.end - 1, range.len());
    let head = format!(
        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {first}-{last}/{size}\r\nContent-Length: {length}\r\nETag: \"1\"\r\n\r\n"
    );
    let Some(dice) = breaks(shared, number) else {
        stream.write_all(head.as_bytes())?;
        return send(stream, shared, range).map(|()| true);
    };
    shared.count.broken.fetch_add(1, Ordering::SeqCst);
    match dice % 3 {
        0 => Ok(false),
        1 => {
            write!(stream, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 0\r\n\r\n")?;
            Ok(true)
        }
        _ => {
            stream.write_all(head.as_bytes())?;
            let part = (dice >> 8) as usize % length;
            send(stream, shared, range.start..range.start + part).map(|()| false)
        }
    }
}

/// What breaks this answer, if anything does.
fn breaks(shared: &Shared, number: u64) -> Option<u64> {
    let Behaviour::Breaks { broken, .. } = shared.behaviour else { return None };
    let mut state = shared.dice.lock().unwrap_or_else(PoisonError::into_inner);
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    let dice = *state >> 24;
    (number > 0 && dice % 100 < broken).then_some(dice / 100)
}

fn send(mut stream: &TcpStream, shared: &Shared, range: Range<usize>) -> io::Result<()> {
    for part in shared.file[range].chunks(16 << 10) {
        stream.write_all(part)?;
        shared.count.bytes.fetch_add(part.len() as u64, Ordering::SeqCst);
    }
    Ok(())
}
