//! A small HTTP server that answers what it is told to, byte for byte, over TCP or TLS. Each connection has a thread.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    ops::Range,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use cloud_machine_fetch::{FetchError, Fetched, Limits, Names, Source, fetch};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A connection whose request has been read.
pub(crate) trait Connection: Read + Write {}
impl<T: Read + Write> Connection for T {}

/// What the server does with a request; whether the connection goes on to the next.
type Answer = dyn Fn(&Asked, &mut dyn Connection) -> std::io::Result<bool> + Send + Sync;

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// From zero.
    pub(crate) number: usize,
    /// Number of the connection that it came over, from zero.
    pub(crate) connection: usize,
    pub(crate) head: String,
}

impl Asked {
    /// The value of a header, whose name is in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The bytes of the one range that it asks for.
    pub(crate) fn range(&self) -> Range<usize> {
        let value = self.header("range").and_then(|value| value.strip_prefix("bytes=")).expect("a range");
        let (first, last) = value.split_once('-').expect("a range");
        first.parse().expect("a number")..last.parse::<usize>().expect("a number") + 1
    }
}

pub(crate) struct Server {
    pub(crate) address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    pub(crate) fn start(
        answer: impl Fn(usize, &mut dyn Connection) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self::listen("http", None, Arc::new(move |asked, connection| answer(asked.number, connection).map(|()| false)))
    }

    /// Goes on to the next request of a connection where `answer` says so.
    pub(crate) fn start_kept(
        answer: impl Fn(&Asked, &mut dyn Connection) -> std::io::Result<bool> + Send + Sync + 'static,
    ) -> Self {
        Self::listen("http", None, Arc::new(answer))
    }

    pub(crate) fn start_tls(
        config: Arc<ServerConfig>,
        answer: impl Fn(usize, &mut dyn Connection) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let answer =
            move |asked: &Asked, connection: &mut dyn Connection| answer(asked.number, connection).map(|()| false);
        Self::listen("https", Some(config), Arc::new(answer))
    }

    /// Answers each request with the text of its number, the last one with all that follow.
    pub(crate) fn say<T: Into<String>>(answers: impl IntoIterator<Item = T>) -> Self {
        let answers: Vec<String> = answers.into_iter().map(Into::into).collect();
        Self::start(move |number, connection| connection.write_all(answers[number.min(answers.len() - 1)].as_bytes()))
    }

    fn listen(scheme: &str, config: Option<Arc<ServerConfig>>, answer: Arc<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("{scheme}://{}", listener.local_addr().expect("an address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&asked);
        thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let (stream, heard, answer) = (stream.expect("a connection"), Arc::clone(&heard), Arc::clone(&answer));
                let connection: Box<dyn Connection + Send> = match &config {
                    Some(config) => {
                        let tls = ServerConnection::new(Arc::clone(config)).expect("a TLS session");
                        Box::new(StreamOwned::new(tls, stream))
                    }
                    None => Box::new(stream),
                };
                thread::spawn(move || serve(connection, number, &heard, &*answer));
            }
        });
        Self { address, asked }
    }

    /// The heads of the requests that came.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.head).collect()
    }

    /// The requests that came.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("requests").clone()
    }
}

fn serve(connection: Box<dyn Connection + Send>, number: usize, heard: &Mutex<Vec<Asked>>, answer: &Answer) {
    let mut reader = BufReader::new(connection);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            // A client that hangs up, or whose handshake failed, is no request.
            if !matches!(reader.read_line(&mut head), Ok(1..)) {
                return;
            }
        }
        let asked = {
            let mut heard = heard.lock().expect("requests");
            let asked = Asked { number: heard.len(), connection: number, head };
            heard.push(asked.clone());
            asked
        };
        let connection = reader.get_mut();
        // A client that hangs up in the middle is what some tests are about.
        let goes_on = answer(&asked, connection).and_then(|goes_on| connection.flush().map(|()| goes_on));
        if !goes_on.unwrap_or(false) {
            return;
        }
    }
}

/// A whole answer with status 200.
pub(crate) fn good(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

pub(crate) fn redirect(to: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n")
}

/// Small enough for tests, large enough for a machine with other work to do.
pub(crate) fn limits(attempts: usize) -> Limits {
    Limits { bytes: 1000, request: Duration::from_secs(20), total: Duration::from_secs(60), attempts }
}

pub(crate) fn get(url: &str, limits: &Limits) -> Result<Fetched, FetchError> {
    fetch(&Source { url, sha256: None, ca: None }, limits, &Names::System, &|_, _| {})
}
