//! Documents that arrive, and those that are not the pinned ones.

use std::{sync::Mutex, time::Duration};

use cloud_machine_fetch::{FetchError, Names, Source, fetch};
use cloud_machine_protocol::causes;

use crate::server::{Server, get, good, limits};

const SEED: &str = "#cloud-config\n";
/// As `sha256sum` prints it.
const SEED_SHA256: &str = "sha256:88c95955b024402aa9572b663f7eeb134f01343bb92af27b50e97e72b22c565f";

#[test]
fn a_document_comes_with_its_digest() {
    let server = Server::say([good(SEED)]);
    let fetched = get(&format!("{}/seed.yaml?token=secret", server.address), &limits(1)).unwrap();
    assert_eq!(fetched.bytes, SEED.as_bytes());
    assert_eq!(fetched.digest.to_string(), SEED_SHA256);
    assert_eq!(fetched.attempts, 1);
    let head = server.requests().concat();
    assert!(head.starts_with("GET /seed.yaml?token=secret HTTP/1.1\r\n"), "{head}");
    let lower = head.to_lowercase();
    assert!(lower.contains(&format!("user-agent: cloud-machine/{}\r\n", env!("CARGO_PKG_VERSION"))), "{head}");
    for unasked in ["accept-encoding", "cookie", "referer", "authorization"] {
        assert!(!lower.contains(unasked), "{head}");
    }
}

#[test]
fn a_pinned_document_is_the_pinned_one() {
    let server = Server::say([good(SEED)]);
    let url = format!("{}/seed.yaml", server.address);
    let source = Source { url: &url, sha256: Some(SEED_SHA256.parse().unwrap()), ca: None };
    assert_eq!(fetch(&source, &limits(1), &Names::System, &|_, _| {}).unwrap().bytes, SEED.as_bytes());
}

#[test]
fn another_document_is_refused_at_once() {
    let server = Server::say([good("#cloud-config\nevil\n")]);
    let url = format!("{}/seed.yaml?token=secret", server.address);
    let source = Source { url: &url, sha256: Some(SEED_SHA256.parse().unwrap()), ca: None };
    let error = fetch(&source, &limits(3), &Names::System, &|_, _| {}).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with(&format!("{}/seed.yaml has digest sha256:", server.address)), "{text}");
    assert!(text.ends_with(&format!(", expected {SEED_SHA256}")), "{text}");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn an_empty_document_is_one() {
    let server = Server::say([good("")]);
    assert_eq!(get(&server.address, &limits(1)).unwrap().bytes, b"");
}

#[test]
fn a_document_in_chunks_or_up_to_the_end_of_the_connection_is_one() {
    for answer in [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n#cloud-\r\n7\r\nconfig\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n#cloud-config\n",
    ] {
        let server = Server::say([answer]);
        assert_eq!(get(&server.address, &limits(1)).unwrap().bytes, SEED.as_bytes(), "{answer}");
    }
}

#[test]
fn a_busy_server_is_asked_again() {
    for status in ["503 Service Unavailable", "429 Too Many Requests", "408 Request Timeout", "500 Internal"] {
        let busy = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        let server = Server::say([busy, good(SEED)]);
        let heard = Mutex::new(Vec::new());
        let retry = |error: &FetchError, wait| heard.lock().unwrap().push((error.to_string(), wait));
        let source = Source { url: &server.address, sha256: None, ca: None };
        let fetched = fetch(&source, &limits(3), &Names::System, &retry).unwrap();
        assert_eq!((fetched.bytes.as_slice(), fetched.attempts), (SEED.as_bytes(), 2), "{status}");
        let heard = heard.into_inner().unwrap();
        assert_eq!(heard.len(), 1);
        assert!(heard[0].0.starts_with(&format!("{}/ answered with status {}", server.address, &status[..3])));
        assert!((Duration::from_millis(500)..Duration::from_secs(2)).contains(&heard[0].1), "{heard:?}");
    }
}

#[test]
fn the_servers_own_wait_is_kept() {
    let busy = "HTTP/1.1 503 Busy\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n";
    let later = "HTTP/1.1 503 Busy\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n";
    let server = Server::say([busy, later, &good(SEED)]);
    let waits = Mutex::new(Vec::new());
    let source = Source { url: &server.address, sha256: None, ca: None };
    let error = fetch(&source, &limits(5), &Names::System, &|_, wait| waits.lock().unwrap().push(wait)).unwrap_err();
    assert_eq!(waits.into_inner().unwrap(), [Duration::from_secs(2)]);
    let text = causes(&error);
    assert!(text.contains("after 2 attempts in "), "{text}");
    assert!(text.ends_with("answered with status 503 Service Unavailable"), "{text}");
}

#[test]
fn a_truncated_document_is_asked_for_again() {
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n#cloud";
    let server = Server::say([cut, &good(SEED)]);
    let fetched = get(&server.address, &limits(2)).unwrap();
    assert_eq!((fetched.bytes.as_slice(), fetched.attempts), (SEED.as_bytes(), 2));
}
