//! Where servers may send the client.

use cloud_machine_protocol::causes;

use crate::server::{Server, get, good, limits, redirect};

#[test]
fn redirects_are_followed_without_a_word_of_where_they_came_from() {
    let end = Server::say([good("seed")]);
    let start = Server::say([redirect("/next?token=secret"), redirect(&format!("{}/end", end.address))]);
    let fetched = get(&format!("{}/start?token=secret", start.address), &limits(1)).unwrap();
    assert_eq!((fetched.bytes.as_slice(), fetched.attempts), (b"seed".as_slice(), 1));
    assert!(start.requests()[1].starts_with("GET /next?token=secret "));
    let last = end.requests().concat();
    assert!(last.starts_with("GET /end ") && !last.contains("secret"), "{last}");
}

#[test]
fn five_redirects_are_followed_and_no_more() {
    let server = Server::say((0..5).map(|_| redirect("/next")).chain([good("seed")]));
    assert_eq!(get(&server.address, &limits(1)).unwrap().bytes, b"seed");
    let server = Server::say([redirect("/loop")]);
    let error = get(&format!("{}/loop", server.address), &limits(3)).unwrap_err();
    let here = format!("{}/loop", server.address);
    assert_eq!(causes(&error), format!("refused to follow {here} to {here}: more than 5 redirects"));
    assert_eq!(server.requests().len(), 6, "one request and five redirects, once");
}

#[test]
fn other_schemes_are_not_followed() {
    for (location, to) in
        [("file:///etc/shadow", "file:///etc/shadow"), ("ftp://127.0.0.1/x?secret", "ftp://127.0.0.1/x")]
    {
        let server = Server::say([redirect(location)]);
        let error = get(&server.address, &limits(3)).unwrap_err();
        let expected = format!("refused to follow {}/ to {to}: only http and https are followed", server.address);
        assert_eq!(causes(&error), expected);
        assert_eq!(server.requests().len(), 1);
    }
}

#[test]
fn the_way_here_is_closed_to_servers_elsewhere_only() {
    // A server on this machine may name another one here.
    let end = Server::say([good("seed")]);
    let start = Server::say([redirect(&end.address)]);
    assert_eq!(get(&start.address, &limits(1)).unwrap().bytes, b"seed");
}

#[test]
fn an_error_after_a_redirect_names_the_address_that_failed() {
    let end = Server::say(["HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"]);
    let start = Server::say([redirect(&format!("http://user:secret@{}/gone?secret", &end.address[7..]))]);
    let error = get(&start.address, &limits(3)).unwrap_err();
    assert_eq!(causes(&error), format!("{}/gone answered with status 404 Not Found", end.address));
}
