//! An HTTP server of a test's own on the loopback interface, which a machine reaches as 10.0.2.2: it gives one document or some
//! files and takes what is posted, or breaks the way in which it is told to. Must not outlive its test.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

/// How the server answers every request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// With the document.
    Document(Vec<u8>),
    /// With the file of the path, or 404 where there is none.
    Files(BTreeMap<String, Vec<u8>>),
    /// With half of the document, although it announces all of it.
    Half(Vec<u8>),
    /// With one byte of the document a second.
    Slowly(Vec<u8>),
}

/// Bodies of requests to which something was posted, in their order.
type Posts = Arc<Mutex<Vec<String>>>;

/// A running server.
pub struct Server {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    posts: Posts,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a server on a free port.
    ///
    /// # Panics
    /// When there is no free port on the loopback interface.
    #[must_use]
    pub fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (requests, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let posts = Posts::default();
        let (counted, seen, posted) = (Arc::clone(&requests), Arc::clone(&ended), Arc::clone(&posts));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if seen.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                counted.fetch_add(1, Ordering::SeqCst);
                // A client that hangs up in the middle is what some tests are about.
                serve(stream, &answer, &posted, &seen).unwrap_or_default();
            }
        });
        Self { address, requests, posts, ended, thread: Some(thread) }
    }

    /// The server's address as a machine on QEMU's user network has it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://10.0.2.2:{}/machine.yaml", self.address.port())
    }

    /// The root of its files, likewise.
    #[must_use]
    pub fn root(&self) -> String {
        format!("http://10.0.2.2:{}/", self.address.port())
    }

    /// What was posted so far.
    #[must_use]
    pub fn posts(&self) -> Vec<String> {
        self.posts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Requests so far.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for a client.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            let joined = thread.join();
            assert!(joined.is_ok() || std::thread::panicking(), "the server has panicked");
        }
    }
}

fn serve(mut stream: TcpStream, answer: &Answer, posts: &Posts, ended: &AtomicBool) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let Some((request, body)) = request(&mut stream)? else { return Ok(()) };
    if request.starts_with("POST ") {
        posts.lock().unwrap_or_else(PoisonError::into_inner).push(body);
        return stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    let head = |length: usize| format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    match answer {
        Answer::Document(document) => {
            stream.write_all(head(document.len()).as_bytes())?;
            stream.write_all(document)
        }
        Answer::Files(files) => match request.split(' ').nth(1).and_then(|path| files.get(path)) {
            Some(file) => {
                stream.write_all(head(file.len()).as_bytes())?;
                stream.write_all(file)
            }
            None => stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
        },
        Answer::Half(document) => {
            stream.write_all(head(document.len()).as_bytes())?;
            stream.write_all(&document[..document.len() / 2])
        }
        Answer::Slowly(document) => {
            stream.write_all(head(document.len()).as_bytes())?;
            for byte in document {
                if ended.load(Ordering::SeqCst) {
                    return Ok(());
                }
                stream.write_all(&[*byte])?;
                std::thread::sleep(Duration::from_secs(1));
            }
            Ok(())
        }
    }
}

/// The head of a request and its body; nothing when the client hangs up before.
fn request(stream: &mut TcpStream) -> std::io::Result<Option<(String, String)>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Ok(Some((head.to_owned(), body.to_owned())));
            }
        }
        match stream.read(&mut buffer)? {
            0 => return Ok(None),
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}
