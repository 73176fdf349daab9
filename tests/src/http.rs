//! An HTTP server of a test's own on the loopback interface, which a machine reaches as 10.0.2.2: it gives one document,
//! or breaks the way in which it is told to. Must not outlive its test.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
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
    /// With half of the document, although it announces all of it.
    Half(Vec<u8>),
    /// With one byte of the document a second.
    Slowly(Vec<u8>),
}

/// A running server.
pub struct Server {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
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
        let (counted, seen) = (Arc::clone(&requests), Arc::clone(&ended));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if seen.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                counted.fetch_add(1, Ordering::SeqCst);
                // A client that hangs up in the middle is what some tests are about.
                serve(stream, &answer, &seen).unwrap_or_default();
            }
        });
        Self { address, requests, ended, thread: Some(thread) }
    }

    /// The server's address as a machine on QEMU's user network has it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://10.0.2.2:{}/machine.yaml", self.address.port())
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

fn serve(mut stream: TcpStream, answer: &Answer, ended: &AtomicBool) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            count => request.extend_from_slice(&buffer[..count]),
        }
    }
    let head = |length: usize| format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    match answer {
        Answer::Document(document) => {
            stream.write_all(head(document.len()).as_bytes())?;
            stream.write_all(document)
        }
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
