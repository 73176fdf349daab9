//! Servers that have no ranges, other ranges, too much, too little, another file or nothing at all.

use std::{net::TcpListener, thread, time::Duration};

use cloud_machine_fetch::{FetchError, Names, RangeLimits, Ranges};
use cloud_machine_protocol::causes;

use crate::{
    file::{ETAG, content, fault, head, limits, open, read, then},
    server::{Server, redirect},
    tls::Authority,
};

/// More than a client waits and less than a test may take.
const AGES: Duration = Duration::from_secs(30);
const SIZE: usize = 10_000;

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}\r\n{body}")
}

#[test]
fn files_that_cannot_be_opened() {
    let page = "<!DOCTYPE html><title>Login</title>";
    for (told, expected) in [
        (
            answer("200 OK", "Content-Length: 4\r\n", "file"),
            "{} does not serve ranges: it answered with the whole file",
        ),
        (
            answer("200 OK", "Content-Type: text/html; charset=utf-8\r\n", page),
            "{} answered with a web page instead of a part of the file",
        ),
        (
            answer("206 Partial", "Content-Range: bytes 0-0/*\r\nContent-Length: 1\r\n", "f"),
            "{} does not say how large the file is: it answered with Content-Range bytes 0-0/*",
        ),
        (
            answer("206 Partial", "Content-Length: 1\r\n", "f"),
            "{} was asked for bytes=0-0 and answered with no Content-Range",
        ),
        (
            answer("206 Partial", "Content-Range: bytes 0-3/4\r\nContent-Length: 4\r\n", "file"),
            "{} was asked for bytes=0-0 and answered with Content-Range bytes 0-3/4",
        ),
        (
            answer("206 Partial", "Content-Range: octets zero\r\nContent-Length: 1\r\n", "f"),
            "{} was asked for bytes=0-0 and answered with Content-Range octets zero",
        ),
        (
            answer("206 Partial", "Content-Range: bytes 0-0/4\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n", "f"),
            "{} was asked for bytes=0-0 and answered with Content-Encoding gzip",
        ),
        (
            answer("206 Partial", "Content-Range: bytes 0-0/4\r\nContent-Length: 4\r\n", "file"),
            "{} was asked for bytes=0-0 and sent more: 4 bytes",
        ),
        (
            answer(
                "206 Partial",
                "Content-Range: bytes 0-0/4\r\nTransfer-Encoding: chunked\r\n",
                "4\r\nfile\r\n0\r\n\r\n",
            ),
            "{} was asked for bytes=0-0 and sent more",
        ),
        (
            answer("416 Range Not Satisfiable", "Content-Range: bytes */0\r\nContent-Length: 0\r\n", ""),
            "{} has no bytes=0-0: the file has 0 bytes",
        ),
        (answer("416 Range Not Satisfiable", "Content-Length: 0\r\n", ""), "{} has no bytes=0-0"),
        (answer("404 Not Found", "Content-Length: 0\r\n", ""), "{} answered with status 404 Not Found"),
        (answer("403 Forbidden", "Content-Length: 0\r\n", ""), "{} answered with status 403 Forbidden"),
        (answer("204 No Content", "", ""), "{} answered with status 204 No Content"),
        (
            redirect("file:///etc/shadow"),
            "refused to follow {} to file:///etc/shadow: only http and https are followed",
        ),
    ] {
        let server = Server::say([told]);
        let error = open(&format!("{}/image?token=secret", server.address), 3).unwrap_err();
        assert_eq!(causes(&error), expected.replace("{}", &format!("{}/image", server.address)));
        assert_eq!(server.asked().len(), 1, "{expected}");
    }
}

/// A range of the file as it was opened, from another answer.
fn changed(told: String) -> (String, Server) {
    let server = then(content(SIZE), told);
    let ranges = open(&format!("{}/image?token=secret", server.address), 3).unwrap();
    (fault(read(&ranges, 100..200)), server)
}

#[test]
fn parts_that_are_not_those_of_the_file() {
    let etag = format!("ETag: {ETAG}\r\n");
    let body = "x".repeat(100);
    let partial = |head: String| head + &body;
    for (told, expected) in [
        (
            partial(head(&(200..300), SIZE, &etag)),
            "{} was asked for bytes=100-199 and answered with Content-Range bytes 200-299/10000",
        ),
        (
            partial(head(&(100..199), SIZE, &etag)),
            "{} was asked for bytes=100-199 and answered with Content-Range bytes 100-198/10000",
        ),
        (
            partial(head(&(100..200), SIZE, &etag).replace("/10000", "/*")),
            "{} changed while it was read: its size was 10000 and is unknown",
        ),
        (partial(head(&(100..200), SIZE + 1, &etag)), "{} changed while it was read: its size was 10000 and is 10001"),
        (
            partial(head(&(100..200), SIZE, "ETag: \"v2\"\r\n")),
            "{} changed while it was read: its version was \"v1\" and is \"v2\"",
        ),
        (partial(head(&(100..200), SIZE, "")), "{} changed while it was read: its version was \"v1\" and is no ETag"),
        (
            answer("200 OK", "ETag: \"v2\"\r\nContent-Length: 4\r\n", "file"),
            "{} changed while it was read: its version was \"v1\" and is \"v2\"",
        ),
        (
            answer("200 OK", &format!("{etag}Content-Length: 4\r\n"), "file"),
            "{} changed while it was read: its size was 10000 and is 4",
        ),
        (
            answer("200 OK", &format!("{etag}Content-Length: 10000\r\n"), "file"),
            "{} does not serve ranges: it answered with the whole file",
        ),
        (
            answer("200 OK", "Content-Type: text/html\r\n", "<html>"),
            "{} answered with a web page instead of a part of the file",
        ),
        (
            answer("416 Range Not Satisfiable", "Content-Range: bytes */50\r\nContent-Length: 0\r\n", ""),
            "{} changed while it was read: its size was 10000 and is 50",
        ),
        (answer("416 Range Not Satisfiable", "Content-Length: 0\r\n", ""), "{} has no bytes=100-199"),
        (answer("404 Not Found", "Content-Length: 0\r\n", ""), "{} answered with status 404 Not Found"),
        (
            partial(head(&(100..200), SIZE, &etag).replace("Content-Length: 100", "Content-Length: 101")),
            "{} was asked for bytes=100-199 and sent more: 101 bytes",
        ),
        (
            head(&(100..200), SIZE, &etag).replace("Content-Length: 100", "Transfer-Encoding: chunked")
                + &format!("65\r\n{body}y\r\n0\r\n\r\n"),
            "{} was asked for bytes=100-199 and sent more",
        ),
    ] {
        let (text, server) = changed(told);
        assert_eq!(text, expected.replace("{}", &format!("{}/image", server.address)));
        assert_eq!(server.asked().len(), 2, "{expected}");
    }
}

#[test]
fn another_date_is_another_file() {
    let server = Server::start_kept(|asked, connection| {
        let date = format!("Last-Modified: Sun, 22 Nov 2026 10:00:0{} GMT\r\n", asked.number);
        connection.write_all(head(&asked.range(), SIZE, &date).as_bytes())?;
        connection.write_all(&vec![0; asked.range().len()])?;
        Ok(true)
    });
    let text = fault(read(&open(&server.address, 3).unwrap(), 0..10));
    let (before, now) = ("Sun, 22 Nov 2026 10:00:00 GMT", "Sun, 22 Nov 2026 10:00:01 GMT");
    assert!(text.ends_with(&format!("/ changed while it was read: its version was {before} and is {now}")), "{text}");
}

#[test]
fn what_always_breaks_is_given_up() {
    let etag = format!("ETag: {ETAG}\r\n");
    for (told, expected) in [
        (String::new(), "cannot reach {}"),
        ("SSH-2.0-OpenSSH_9.2p1\r\n".to_owned(), "cannot reach {}"),
        (answer("500 Internal", "Content-Length: 0\r\n", ""), "{} answered with status 500 Internal Server Error"),
        (head(&(100..200), SIZE, &etag), "the answer of {} broke off after 0 bytes of 100"),
        (
            head(&(100..200), SIZE, &etag).replace("Content-Length: 100", "Content-Length: 0"),
            "the answer of {} broke off after 0 bytes of 100",
        ),
    ] {
        let server = then(content(SIZE), told);
        let ranges = open(&format!("{}/image?token=secret", server.address), 3).unwrap();
        let text = fault(read(&ranges, 100..200));
        let url = format!("{}/image", server.address);
        assert!(text.starts_with(&format!("gave up on {url} after 3 attempts in ")), "{text}");
        assert!(text.contains(&expected.replace("{}", &url)), "{text}");
        assert!(!text.contains("secret"), "{text}");
        assert_eq!(server.asked().len(), 4, "{expected}");
    }
}

#[test]
fn a_server_that_is_down_is_given_up() {
    // No other test listens on this address, so that none can take the port meanwhile.
    let closed = TcpListener::bind("127.0.78.1:0").unwrap().local_addr().unwrap();
    let text = causes(&open(&format!("http://user:secret@{closed}/x?token=secret"), 2).unwrap_err());
    assert!(text.starts_with(&format!("gave up on http://{closed}/x after 2 attempts in ")), "{text}");
    assert!(text.contains("Connection refused") && !text.contains("secret"), "{text}");
}

#[test]
fn silence_ends_with_the_patience() {
    // Silent from the beginning, and in the middle of an answer.
    for start in [String::new(), head(&(100..200), SIZE, &format!("ETag: {ETAG}\r\n"))] {
        let file = content(SIZE);
        let server = Server::start_kept(move |asked, connection| match asked.number {
            0 => crate::file::good(&file, asked, connection),
            _ => {
                connection.write_all(start.as_bytes())?;
                connection.flush()?;
                thread::sleep(AGES);
                Ok(false)
            }
        });
        let limits = RangeLimits { patience: Duration::from_secs(1), ..limits(2) };
        let ranges = Ranges::open(&server.address, None, limits, &Names::System, &|_, _| {}).unwrap();
        let text = fault(read(&ranges, 100..200));
        assert!(text.contains(" after 2 attempts in "), "{text}");
        assert!(text.ends_with(&format!(": {}/ sent nothing for 1.0 s", server.address)), "{text}");
        assert_eq!(server.asked().len(), 3);
    }
}

#[test]
fn a_trickle_ends_with_the_whole_time() {
    let file = content(SIZE);
    let server = Server::start_kept(move |asked, connection| {
        if asked.number == 0 {
            return crate::file::good(&file, asked, connection);
        }
        connection.write_all(head(&asked.range(), SIZE, &format!("ETag: {ETAG}\r\n")).as_bytes())?;
        // Never silent for long, and never done in time.
        for byte in &file[asked.range()] {
            connection.write_all(&[*byte])?;
            connection.flush()?;
            thread::sleep(Duration::from_millis(50));
        }
        Ok(false)
    });
    let limits = RangeLimits { total: Duration::from_secs(2), ..limits(9) };
    let ranges = Ranges::open(&server.address, None, limits, &Names::System, &|_, _| {}).unwrap();
    let text = fault(read(&ranges, 0..SIZE));
    assert!(text.ends_with(&format!(": no whole answer from {}/ within 2.0 s", server.address)), "{text}");
    assert_eq!(server.asked().len(), 2);
}

#[test]
fn addresses_that_are_none() {
    for (url, expected) in [
        ("ftp://a.test/x", "ftp://a.test/x is not a URL to fetch from"),
        ("debian-12", "(not an address) is not a URL to fetch from"),
    ] {
        assert_eq!(open(url, 1).unwrap_err().to_string(), expected);
    }
    let error = Ranges::open("https://a.test/", Some(""), limits(1), &Names::System, &|_, _| {}).unwrap_err();
    assert_eq!(causes(&error), "cannot use the CA certificates for https://a.test/: no certificate is in them");
}

#[test]
fn servers_that_are_not_believed() {
    let authority = Authority::new();
    let server = Server::start_tls(authority.certify("127.0.0.1", |_| {}), |_, _| Ok(()));
    for ca in [None, Some(Authority::new().pem)] {
        let opened = Ranges::open(&server.address, ca.as_deref(), limits(3), &Names::System, &|_, _| {});
        let error = opened.unwrap_err();
        assert!(matches!(error, FetchError::Certificate { .. }), "{error:?}");
        assert!(error.to_string().starts_with(&format!("the certificate for {}/ is not accepted", server.address)));
    }
    assert!(server.asked().is_empty());
    // A server without TLS where TLS is spoken.
    let open_server = Server::say(["HTTP/1.1 400 Bad Request\r\n\r\n"]);
    let url = open_server.address.replace("http:", "https:");
    let text = causes(&open(&url, 1).unwrap_err());
    assert!(text.contains(&format!("cannot reach {url}/: ")), "{text}");
}

#[test]
fn https_is_not_left_for_http() {
    let authority = Authority::new();
    let to = Server::say(["HTTP/1.1 404 Not Found\r\n\r\n"]);
    let told = redirect(&to.address);
    let server = Server::start_tls(authority.certify("127.0.0.1", |_| {}), move |_, connection| {
        connection.write_all(told.as_bytes())
    });
    let ca = Some(authority.pem.as_str());
    let error = Ranges::open(&server.address, ca, limits(3), &Names::System, &|_, _| {}).unwrap_err();
    let expected = format!("refused to follow {}/ to {}/: https is not left for http", server.address, to.address);
    assert_eq!(causes(&error), expected);
    assert!(to.asked().is_empty());
}
