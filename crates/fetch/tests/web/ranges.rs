//! Files that are read by ranges: connections, redirects, conditions, and what breaks in the middle.

use std::{
    io,
    sync::{Arc, Barrier, Mutex},
    thread,
    time::Duration,
};

use cloud_machine_fetch::{FetchError, Names, RangeLimits, Ranges};
use cloud_machine_image::ReadBlocks;

use crate::{
    file::{ETAG, content, good, head, limits, open, read},
    server::{Server, redirect},
    tls::Authority,
};

const SIZE: usize = 300_000;

fn serve() -> (Vec<u8>, Server) {
    let content = content(SIZE);
    let served = content.clone();
    (content, Server::start_kept(move |asked, connection| good(&served, asked, connection)))
}

#[test]
fn any_range_is_what_the_file_has_there() {
    let (content, server) = serve();
    let ranges = open(&format!("{}/image?token=secret", server.address), 1).unwrap();
    assert_eq!(ranges.size(), SIZE as u64);
    for range in [0..1, 0..4096, 4096..8192, SIZE - 80..SIZE, 12_345..123_456, 0..SIZE] {
        assert_eq!(read(&ranges, range.clone()).unwrap(), content[range.clone()], "{range:?}");
    }
    assert_eq!(ranges.redacted(), format!("{}/image", server.address));
    let asked = server.asked();
    assert_eq!((ranges.requests(), asked.len()), (7, 7));
    assert_eq!(asked[0].header("range"), Some("bytes=0-0"));
    assert_eq!(asked[0].header("if-range"), None);
    for asked in &asked[1..] {
        assert_eq!(asked.header("if-range"), Some(ETAG));
        assert_eq!(asked.header("accept-encoding"), Some("identity"));
        assert!(asked.head.starts_with("GET /image?token=secret HTTP/1.1\r\n"), "{}", asked.head);
        for unasked in ["cookie", "referer", "authorization"] {
            assert_eq!(asked.header(unasked), None);
        }
    }
}

#[test]
fn one_after_the_other_uses_one_connection() {
    let (_, server) = serve();
    let ranges = open(&server.address, 1).unwrap();
    for index in 0..10 {
        read(&ranges, index * 1000..index * 1000 + 20_000).unwrap();
    }
    assert!(server.asked().iter().all(|asked| asked.connection == 0), "{:#?}", server.asked());
}

#[test]
fn several_threads_have_several_requests_in_flight() {
    const THREADS: usize = 4;
    let content = content(SIZE);
    let served = content.clone();
    // No answer begins before all have asked: who asks one after the other waits in vain.
    let all = Barrier::new(THREADS);
    let server = Server::start_kept(move |asked, connection| {
        if asked.number > 0 {
            all.wait();
        }
        good(&served, asked, connection)
    });
    let ranges = open(&server.address, 1).unwrap();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (ranges, content) = (&ranges, &content);
            scope.spawn(move || {
                for round in 0..10 {
                    let range = (thread * 10 + round) * 7000..(thread * 10 + round + 1) * 7000;
                    assert_eq!(read(ranges, range.clone()).unwrap(), content[range]);
                }
            });
        }
    });
    let last = server.asked().iter().map(|asked| asked.connection).max().unwrap();
    assert!(last < THREADS, "{last} connections more than the first");
}

#[test]
fn what_breaks_is_resumed_where_it_broke() {
    let content = content(SIZE);
    let served = content.clone();
    let server = Server::start_kept(move |asked, connection| {
        if !(1..4).contains(&asked.number) {
            return good(&served, asked, connection);
        }
        let range = asked.range();
        connection.write_all(head(&range, SIZE, &format!("ETag: {ETAG}\r\n")).as_bytes())?;
        connection.write_all(&served[range.start..range.start + 50_000])?;
        Ok(false)
    });
    let told = Mutex::new(Vec::new());
    let tell = |error: &FetchError, _: Duration| told.lock().unwrap().push(error.to_string());
    let ranges = Ranges::open(&server.address, None, limits(4), &Names::System, &tell).unwrap();
    assert_eq!(read(&ranges, 1000..SIZE).unwrap(), content[1000..]);
    let asked: Vec<_> = server.asked().iter().map(|asked| asked.range()).collect();
    assert_eq!(asked, [0..1, 1000..SIZE, 51_000..SIZE, 101_000..SIZE, 151_000..SIZE]);
    assert_eq!(ranges.received(), 1 + SIZE as u64 - 1000);
    let told = told.lock().unwrap();
    assert_eq!(told.len(), 3);
    assert_eq!(told[0], format!("{}/ broke off after 50000 bytes of {}", answer_of(&server), SIZE - 1000));
}

fn answer_of(server: &Server) -> String {
    format!("the answer of {}", server.address)
}

#[test]
fn a_server_that_breaks_at_random_gives_the_whole_file() {
    let content = content(SIZE);
    let served = content.clone();
    let server = Server::start_kept(move |asked, connection| {
        let range = asked.range();
        let dice = asked.number.wrapping_mul(2_654_435_761) % 97;
        match dice {
            _ if asked.number == 0 => good(&served, asked, connection),
            0..10 => Ok(false),
            10..20 => {
                connection.write_all(b"HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n").map(|()| true)
            }
            20..40 => {
                connection.write_all(head(&range, SIZE, &format!("ETag: {ETAG}\r\n")).as_bytes())?;
                connection.write_all(&served[range.start..range.start + range.len() * dice / 40])?;
                Ok(false)
            }
            _ => good(&served, asked, connection),
        }
    });
    let ranges = open(&server.address, 20).unwrap();
    thread::scope(|scope| {
        for thread in 0..6 {
            let (ranges, content) = (&ranges, &content);
            scope.spawn(move || {
                for range in (thread * 50_000..(thread + 1) * 50_000).step_by(5000).map(|start| start..start + 5000) {
                    assert_eq!(read(ranges, range.clone()).unwrap(), content[range.clone()], "{range:?}");
                }
            });
        }
    });
    assert!(ranges.requests() > 70, "nothing broke: {}", ranges.requests());
}

#[test]
fn nothing_is_asked_for_what_lies_beyond_or_is_nothing() {
    let (_, server) = serve();
    let ranges = open(&server.address, 1).unwrap();
    for (length, offset) in [(2, SIZE as u64 - 1), (1, SIZE as u64), (1, u64::MAX)] {
        let error = ranges.read_at(&mut vec![0; length], offset).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
    ranges.read_at(&mut [], SIZE as u64).unwrap();
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn only_what_identifies_the_file_is_a_condition() {
    for (headers, condition) in [
        ("ETag: \"a\"\r\nLast-Modified: Sun, 22 Nov 2026 10:00:00 GMT\r\n", Some("\"a\"")),
        ("Last-Modified: Sun, 22 Nov 2026 10:00:00 GMT\r\n", Some("Sun, 22 Nov 2026 10:00:00 GMT")),
        ("ETag: W/\"a\"\r\nLast-Modified: Sun, 22 Nov 2026 10:00:00 GMT\r\n", None),
        ("", None),
    ] {
        let server = Server::start_kept(move |asked, connection| {
            let range = asked.range();
            connection.write_all(head(&range, 100, headers).as_bytes())?;
            connection.write_all(&vec![7; range.len()])?;
            Ok(true)
        });
        let ranges = open(&server.address, 1).unwrap();
        assert_eq!(read(&ranges, 0..100).unwrap(), [7; 100]);
        assert_eq!(server.asked()[1].header("if-range"), condition, "{headers}");
    }
}

#[test]
fn an_answer_in_chunks_is_one() {
    let server = Server::start_kept(|asked, connection| {
        let range = asked.range();
        let head = format!("Content-Range: bytes {}-{}/8\r\nTransfer-Encoding: chunked", range.start, range.end - 1);
        write!(connection, "HTTP/1.1 206 Partial\r\n{head}\r\n\r\n")?;
        for byte in range {
            write!(connection, "1\r\n{byte}\r\n")?;
        }
        connection.write_all(b"0\r\n\r\n").map(|()| true)
    });
    let ranges = open(&server.address, 1).unwrap();
    assert_eq!(read(&ranges, 2..8).unwrap(), b"234567");
    assert!(server.asked().iter().all(|asked| asked.connection == 0));
}

#[test]
fn a_redirect_is_followed_once_and_again_when_its_goal_has_expired() {
    let (content, goal) = serve();
    let expired = Arc::new(Mutex::new(false));
    let (seen, to) = (Arc::clone(&expired), goal.address.clone());
    let served = content.clone();
    let first = Server::start_kept(move |asked, connection| match asked.header("range") {
        _ if *seen.lock().unwrap() => {
            connection.write_all(b"HTTP/1.1 403 Expired\r\nContent-Length: 0\r\n\r\n").map(|()| true)
        }
        _ => good(&served, asked, connection),
    });
    let goals = [first.address.clone(), to];
    let origin = Server::start(move |number, connection| {
        connection.write_all(redirect(&format!("{}/signed?token={number}", goals[number])).as_bytes())
    });
    let ranges = open(&origin.address, 1).unwrap();
    assert_eq!(read(&ranges, 10..20).unwrap(), content[10..20]);
    assert_eq!((origin.asked().len(), first.asked().len()), (1, 2));
    *expired.lock().unwrap() = true;
    assert_eq!(read(&ranges, 20..30).unwrap(), content[20..30]);
    assert_eq!(read(&ranges, 30..40).unwrap(), content[30..40]);
    assert_eq!((origin.asked().len(), first.asked().len(), goal.asked().len()), (2, 3, 2));
    assert!(goal.requests()[0].starts_with("GET /signed?token=1 HTTP/1.1\r\n"));
}

#[test]
fn a_file_behind_tls_with_an_authority_of_ones_own() {
    let authority = Authority::new();
    let server = Server::start_tls(authority.certify("127.0.0.1", |_| {}), |number, connection| {
        let range = if number == 0 { 0..1 } else { 5..9 };
        connection.write_all(head(&range, 9, "").as_bytes())?;
        connection.write_all(&b"an image."[range])
    });
    let ca = Some(authority.pem.as_str());
    let ranges = Ranges::open(&server.address, ca, limits(1), &Names::System, &|_, _| {}).unwrap();
    assert_eq!(read(&ranges, 5..9).unwrap(), b"age.");
}

#[test]
fn a_server_that_sleeps_is_resumed_too() {
    let content = content(SIZE);
    let served = content.clone();
    let (wake, asleep) = std::sync::mpsc::channel::<()>();
    let asleep = Mutex::new(asleep);
    let server = Server::start_kept(move |asked, connection| {
        if asked.number != 1 {
            return good(&served, asked, connection);
        }
        let range = asked.range();
        connection.write_all(head(&range, SIZE, &format!("ETag: {ETAG}\r\n")).as_bytes())?;
        connection.write_all(&served[range.start..range.start + 1000])?;
        connection.flush()?;
        // Until the test is over: the client must not wait for it.
        assert!(asleep.lock().unwrap().recv().is_err());
        Ok(false)
    });
    let limits = RangeLimits { patience: Duration::from_secs(2), ..limits(2) };
    let ranges = Ranges::open(&server.address, None, limits, &Names::System, &|_, _| {}).unwrap();
    assert_eq!(read(&ranges, 0..SIZE).unwrap(), content);
    assert_eq!(server.asked()[2].range(), 1000..SIZE);
    drop(wake);
}
