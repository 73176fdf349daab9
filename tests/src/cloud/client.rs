//! A client of the API that does no more than it is told: no retries, no waiting. Must not be what a driver uses.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::Cloud;

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Of the first line.
    pub status: u16,
    /// Names in small letters.
    pub headers: Vec<(String, String)>,
    /// Null if there is none.
    pub body: Value,
}

impl Reply {
    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The code of an error, or nothing.
    #[must_use]
    pub fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }
}

impl Cloud {
    /// Sends a request, such as `GET /servers`, with the right token; the body is empty if it is null.
    ///
    /// # Errors
    /// When no whole answer comes within five seconds.
    pub fn ask(&self, request: &str, body: &Value) -> io::Result<Reply> {
        self.ask_as(self.token(), request, body)
    }

    /// The same with another token.
    ///
    /// # Errors
    /// When no whole answer comes within five seconds.
    pub fn ask_as(&self, token: &str, request: &str, body: &Value) -> io::Result<Reply> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let (method, path) = request.split_once(' ').unwrap_or(("GET", request));
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (host, length) = (self.address, body.len());
        write!(
            stream,
            "{method} /v1{path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n{body}"
        )?;
        read(&mut stream)
    }

    /// Waits for the end of the action of an answer, and tells whether it succeeded.
    ///
    /// # Panics
    /// When the answer has no action, or the action has no end within a minute.
    #[must_use]
    pub fn succeeds(&self, reply: &Reply) -> bool {
        let id = reply.body["action"]["id"].as_u64().unwrap_or_else(|| panic!("an answer with an action: {reply:?}"));
        self.wait_for(id)
    }

    /// Waits for the end of an action, and tells whether it succeeded.
    ///
    /// # Panics
    /// When there is none, or it has no end within a minute.
    #[must_use]
    pub fn wait_for(&self, action: u64) -> bool {
        let began = Instant::now();
        loop {
            let action = self.ask(&format!("GET /actions/{action}"), &Value::Null).expect("an answer").body;
            match action["action"]["status"].as_str() {
                Some("success") => return true,
                Some("error") => return false,
                Some("running") if began.elapsed() < Duration::from_secs(60) => {
                    thread::sleep(Duration::from_millis(5));
                }
                _ => panic!("no end of the action: {action}"),
            }
        }
    }
}

fn read(stream: &mut TcpStream) -> io::Result<Reply> {
    let cut = || io::Error::new(io::ErrorKind::UnexpectedEof, "the answer is not whole");
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let mut lines = head.lines();
            let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).ok_or_else(cut)?;
            let headers = lines.filter_map(|line| line.split_once(": "));
            let headers: Vec<_> = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
            let length = headers.iter().find(|(name, _)| name == "content-length");
            let length = length.map_or(Some(0), |(_, value)| value.parse().ok()).ok_or_else(cut)?;
            if body.len() >= length {
                let body = if body.is_empty() { Value::Null } else { serde_json::from_str(body)? };
                return Ok(Reply { status, headers, body });
            }
        }
        match stream.read(&mut buffer)? {
            0 => return Err(cut()),
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}
