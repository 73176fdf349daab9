//! Names and addresses by which every machine means itself. Must not ask for the address of any other name.

use std::net::IpAddr;

/// Whether `host`, a name or an address with brackets or without, leads each machine that uses it to itself. Linux takes the
/// unspecified address for it, too; names are those of RFC 6761, section 6.3.
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match bare.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(address) => address.is_loopback() || address.is_unspecified(),
        Err(_) => {
            let name = bare.strip_suffix('.').unwrap_or(bare);
            let last = name.rsplit('.').next().unwrap_or_default();
            last.eq_ignore_ascii_case("localhost")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_means_itself_by_more_than_one_name() {
        for host in [
            "127.0.0.1",
            "127.255.0.7",
            "0.0.0.0",
            "::1",
            "[::1]",
            "::",
            "::ffff:127.0.0.1",
            "[::ffff:7f00:1]",
            "localhost",
            "LocalHost.",
            "a.localhost",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["128.0.0.1", "10.0.2.2", "::2", "::ffff:192.0.2.7", "localhost.example", "mylocalhost", "lo", ""] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
