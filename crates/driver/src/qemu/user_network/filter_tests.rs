use proptest::prelude::*;

use super::*;

const SYN: u8 = 2;

fn ethernet(kind: [u8; 2], packet: &[u8]) -> Vec<u8> {
    [[0x52; 12].as_slice(), &kind, packet].concat()
}

/// A segment that is long enough for TCP and for UDP.
fn segment(from: u16, to: u16, flags: u8) -> Vec<u8> {
    let mut segment = vec![0; 20];
    segment[..2].copy_from_slice(&from.to_be_bytes());
    segment[2..4].copy_from_slice(&to.to_be_bytes());
    segment[13] = flags;
    segment
}

fn packet(to: &str, protocol: u8, fragment: u16, words: u8, segment: &[u8]) -> Vec<u8> {
    let mut header = vec![0; usize::from(words) * 4];
    header[0] = 0x40 | words;
    header[6..8].copy_from_slice(&fragment.to_be_bytes());
    header[9] = protocol;
    header[16..20].copy_from_slice(&to.parse::<Ipv4Addr>().unwrap().octets());
    ethernet([8, 0], &[header.as_slice(), segment].concat())
}

fn packet_6(to: &str, protocol: u8, segment: &[u8]) -> Vec<u8> {
    let mut header = vec![0; 40];
    header[6] = protocol;
    header[24..].copy_from_slice(&to.parse::<Ipv6Addr>().unwrap().octets());
    ethernet([0x86, 0xdd], &[header.as_slice(), segment].concat())
}

fn sent(to: &str, protocol: u8, from: u16, port: u16, flags: u8) -> bool {
    let segment = segment(from, port, flags);
    let frame =
        if to.contains(':') { packet_6(to, protocol, &segment) } else { packet(to, protocol, 0x4000, 5, &segment) };
    lets_through(&frame)
}

#[test]
fn nothing_that_means_the_loopback_interface_of_the_host_goes_on() {
    for to in [
        "10.0.2.2",
        "10.0.2.1",
        "10.0.2.4",
        "10.0.2.15",
        "10.0.2.255",
        "127.0.0.1",
        "127.8.9.1",
        "0.0.0.0",
        "0.1.2.3",
        "255.255.255.255",
        "224.0.0.251",
        "240.0.0.1",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "fec0::2",
        "fec0::9",
        "fe80::2",
        "ff02::1",
        "64:ff9b::7f00:1",
    ] {
        for protocol in [TCP, UDP] {
            for (from, port) in [(4000, 8080), (22, 8080), (4000, 53), (22, 53)] {
                assert!(!sent(to, protocol, from, port, SYN), "{to} {protocol} {from} {port}");
            }
        }
        assert!(!sent(to, 132, 4000, 8080, 0), "{to}");
    }
    for to in ["10.0.2.3", "fec0::3"] {
        assert!(!sent(to, TCP, 4000, 8080, SYN) && !sent(to, UDP, 4000, 5353, 0), "{to}");
    }
    assert!(!sent("10.0.2.2", UDP, 22, 22, ACK), "an answer of another protocol");
    assert!(!sent("10.0.2.2", TCP, 80, 8080, ACK | SYN), "an answer that nobody asked for");
    assert!(!sent("127.0.0.1", TCP, 22, 8080, ACK), "no connection of the host comes from there");
}

#[test]
fn what_leads_elsewhere_and_what_the_network_needs_goes_on() {
    for to in ["192.0.2.1", "10.0.3.2", "10.1.2.2", "128.0.0.1", "126.255.255.255", "1.1.1.1", "2001:db8::1", "fd00::2"]
    {
        for protocol in [TCP, UDP, ICMP, 50] {
            assert!(sent(to, protocol, 4000, 8080, SYN), "{to} {protocol}");
        }
    }
    assert!(sent("255.255.255.255", UDP, 68, 67, 0) && sent("10.0.2.2", UDP, 68, 67, 0), "DHCP");
    assert!(sent("10.0.2.3", UDP, 4000, 53, 0) && sent("10.0.2.3", TCP, 4000, 53, SYN), "names");
    assert!(sent("fec0::3", UDP, 4000, 53, 0) && sent("ff02::1:2", UDP, 546, 547, 0), "the same for IPv6");
    assert!(sent("10.0.2.2", TCP, 22, 40000, SYN | ACK) && sent("10.0.2.2", TCP, 22, 40000, ACK), "answers to SSH");
    for to in ["ff02::2", "ff02::1:ff00:2", "fe80::2", "fec0::2"] {
        assert!(sent(to, ICMP_6, 0, 0, 0), "{to}");
    }
    assert!(lets_through(&ethernet([8, 6], &[0; 28])), "ARP");
}

#[test]
fn neither_a_fragment_nor_an_option_nor_another_kind_of_frame_is_a_way_round() {
    let answer = segment(22, 40000, ACK);
    let opens = segment(4000, 8080, SYN);
    for fragment in [0x2000, 1, 0x2001, 0x6000] {
        assert!(!lets_through(&packet("10.0.2.2", TCP, fragment, 5, &answer)), "{fragment:x}");
    }
    // The options hold what looks like a segment of an answer.
    let with_options = |segment: &[u8]| packet("10.0.2.2", TCP, 0, 10, segment);
    let mut planted = with_options(&opens);
    planted[14 + 20..14 + 40].copy_from_slice(&answer);
    assert!(!lets_through(&planted));
    assert!(lets_through(&with_options(&answer)));
    for kind in [[0x81, 0], [0x88, 0xa8], [0x88, 0xf8], [0x80, 0x35], [0, 46]] {
        assert!(!lets_through(&ethernet(kind, &packet("192.0.2.1", TCP, 0, 5, &opens)[14..])), "{kind:x?}");
    }
}

proptest! {
    #[test]
    fn no_frame_is_too_short_to_be_judged_and_none_that_is_cut_in_its_head_goes_on(cut in 0_usize..54) {
        let whole = packet("10.0.2.2", TCP, 0, 5, &segment(22, 40000, ACK));
        prop_assert!(lets_through(&whole));
        prop_assert_eq!(lets_through(&whole[..cut]), cut >= 14 + 20 + 14);
    }

    #[test]
    fn any_bytes_are_judged(frame in proptest::collection::vec(any::<u8>(), 0..80)) {
        lets_through(&frame);
    }
}
