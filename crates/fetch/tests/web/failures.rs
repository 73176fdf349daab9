//! Servers that fail, lie, send too much or never end.

use std::{
    net::TcpListener,
    thread,
    time::{Duration, Instant},
};

use cloud_machine_fetch::{FetchError, Limits, Names, Source, fetch};
use cloud_machine_protocol::causes;

use crate::server::{Server, get, limits};

/// More than a client waits and less than a test may take.
const AGES: Duration = Duration::from_secs(30);

#[test]
fn other_statuses_are_final() {
    for (status, body) in [
        ("404 Not Found", "Content-Length: 0\r\n\r\n"),
        ("403 Forbidden", "Content-Length: 0\r\n\r\n"),
        ("204 No Content", "\r\n"),
        ("206 Partial Content", "Content-Range: bytes 0-3/4\r\nContent-Length: 4\r\n\r\nseed"),
        ("300 Multiple Choices", "Location: /other\r\nContent-Length: 0\r\n\r\n"),
        ("302 Found", "Content-Length: 0\r\n\r\n"),
        ("304 Not Modified", "\r\n"),
    ] {
        let server = Server::say([format!("HTTP/1.1 {status}\r\n{body}")]);
        let error = get(&format!("{}/x?token=secret", server.address), &limits(3)).unwrap_err();
        assert_eq!(causes(&error), format!("{}/x answered with status {status}", server.address));
        assert_eq!(server.requests().len(), 1, "{status}");
    }
}

#[test]
fn a_document_that_is_always_truncated_is_given_up() {
    for (answer, of) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n#cloud", " of 14"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n#cloud\r\n", ""),
    ] {
        let server = Server::say([answer]);
        let error = get(&server.address, &limits(2)).unwrap_err();
        let text = causes(&error);
        assert!(text.starts_with(&format!("gave up on {}/ after 2 attempts in ", server.address)), "{text}");
        assert!(text.contains(&format!("/ broke off after 6 bytes{of}: ")), "{text}");
        assert_eq!(server.requests().len(), 2);
    }
}

#[test]
fn what_is_no_http_is_given_up() {
    let server = Server::say(["SSH-2.0-OpenSSH_9.2p1\r\n"]);
    let error = get(&server.address, &limits(2)).unwrap_err();
    let FetchError::GaveUp { attempts: 2, source, .. } = &error else { panic!("{error:?}") };
    assert!(matches!(**source, FetchError::Unreachable { .. }), "{error:?}");
}

#[test]
fn a_server_that_is_down_is_given_up() {
    // No other test listens on this address, so that none can take the port meanwhile.
    let closed = TcpListener::bind("127.0.77.1:0").unwrap().local_addr().unwrap();
    let error = get(&format!("http://user:secret@{closed}/x?token=secret"), &limits(2)).unwrap_err();
    let text = causes(&error);
    assert!(text.starts_with(&format!("gave up on http://{closed}/x after 2 attempts in ")), "{text}");
    assert!(text.contains(&format!(": cannot reach http://{closed}/x: ")), "{text}");
    assert!(text.contains("Connection refused"), "{text}");
    assert!(!text.contains("secret"), "{text}");
}

#[test]
fn slow_headers_end_with_the_request() {
    let server = Server::start(|_, _| {
        thread::sleep(AGES);
        Ok(())
    });
    let limits = Limits { request: Duration::from_secs(1), ..limits(2) };
    let begin = Instant::now();
    let error = get(&server.address, &limits).unwrap_err();
    assert!(causes(&error).ends_with(&format!(": no whole answer from {}/ within 1.0 s", server.address)), "{error:?}");
    assert!(begin.elapsed() < AGES / 2);
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_body_that_trickles_ends_with_the_request() {
    let server = Server::start(|_, connection| {
        connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 600\r\n\r\n")?;
        for _ in 0..600 {
            connection.write_all(b"x")?;
            connection.flush()?;
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    });
    let limits = Limits { request: Duration::from_secs(1), ..limits(2) };
    let begin = Instant::now();
    let error = get(&server.address, &limits).unwrap_err();
    assert!(causes(&error).ends_with(" within 1.0 s"), "{error:?}");
    assert!(begin.elapsed() < AGES / 2, "{:?}", begin.elapsed());
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn no_attempt_outlives_the_whole_time() {
    let server = Server::start(|_, _| {
        thread::sleep(AGES);
        Ok(())
    });
    let limits = Limits { request: AGES, total: Duration::from_secs(1), ..limits(9) };
    let begin = Instant::now();
    let error = get(&server.address, &limits).unwrap_err();
    assert!(begin.elapsed() < AGES / 2, "{:?}", begin.elapsed());
    assert!(causes(&error).contains(" after 1 attempt in 1."), "{error:?}");
}

#[test]
fn what_is_announced_too_large_is_not_read() {
    let server = Server::start(|_, connection| {
        connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n")?;
        connection.flush()?;
        thread::sleep(AGES);
        Ok(())
    });
    let begin = Instant::now();
    let error = get(&server.address, &limits(3)).unwrap_err();
    let expected = format!("{}/ has 1001 bytes, more than the allowed 1000 bytes", server.address);
    assert_eq!(causes(&error), expected);
    assert!(begin.elapsed() < AGES / 2);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn what_gets_too_large_is_refused_while_it_comes() {
    for head in ["Transfer-Encoding: chunked\r\n\r\n", "\r\n"] {
        let chunked = head.starts_with('T');
        let server = Server::start(move |_, connection| {
            write!(connection, "HTTP/1.1 200 OK\r\n{head}")?;
            // Without end: only the client can stop it.
            loop {
                connection.write_all(if chunked { b"4\r\nseed\r\n" } else { b"seed" })?;
            }
        });
        let error = get(&server.address, &limits(3)).unwrap_err();
        assert_eq!(causes(&error), format!("{}/ has more than the allowed 1000 bytes", server.address));
        assert_eq!(server.requests().len(), 1);
    }
}

#[test]
fn as_much_as_is_allowed_is_allowed() {
    let body = "x".repeat(1000);
    for answer in [crate::server::good(&body), format!("HTTP/1.1 200 OK\r\n\r\n{body}")] {
        let server = Server::say([answer]);
        assert_eq!(get(&server.address, &limits(1)).unwrap().bytes.len(), 1000);
    }
}

#[test]
fn a_name_without_name_server_or_host_is_given_up() {
    let source = Source { url: "http://user:secret@seed.test/?token=secret", sha256: None, ca: None };
    let error = fetch(&source, &limits(1), &Names::Servers(Vec::new()), &|_, _| {}).unwrap_err();
    let text = causes(&error);
    assert!(text.ends_with(": cannot resolve seed.test: no name server is known"), "{text}");
    assert!(!text.contains("secret"), "{text}");
    // RFC 6761, 6.4: no resolver knows a name below it.
    let error = get("http://seed.invalid/", &limits(1)).unwrap_err();
    assert!(matches!(error, FetchError::GaveUp { attempts: 1, .. }), "{error:?}");
}

#[test]
fn the_c_library_knows_localhost() {
    let server = Server::say([crate::server::good("seed")]);
    let url = server.address.replace("127.0.0.1", "localhost");
    assert_eq!(get(&url, &limits(1)).unwrap().bytes, b"seed");
}

#[test]
fn an_address_needs_no_name_server() {
    let server = Server::say([crate::server::good("seed")]);
    let source = Source { url: &server.address, sha256: None, ca: None };
    assert!(fetch(&source, &limits(1), &Names::Servers(Vec::new()), &|_, _| {}).is_ok());
}
