//! Whole dialogues, and packets that nobody should ever see.

use std::net::Ipv4Addr;

use dhcproto::{
    Decodable, Decoder,
    v4::{DhcpOption, Message, OptionCode},
};
use proptest::{collection::vec, prelude::*};

use super::*;
use crate::network::fixture::{ACK, CLIENT, MAC, NAK, OFFER, packet, usual, with};

const ADDRESS: [u8; 4] = [10, 0, 2, 15];
const OTHER_SERVER: [u8; 4] = [10, 0, 2, 66];

fn sent(dialogue: &mut Dialogue) -> Message {
    let bytes = dialogue.message(3).unwrap();
    assert!(bytes.len() >= 300, "{}", bytes.len());
    Message::decode(&mut Decoder::new(&bytes)).unwrap()
}

fn kind(message: &Message) -> MessageType {
    message.opts().msg_type().unwrap()
}

/// A dialogue that has taken an offer and sent its REQUEST.
fn requesting() -> Dialogue {
    let mut dialogue = Dialogue::new(CLIENT);
    assert_eq!(kind(&sent(&mut dialogue)), MessageType::Discover);
    assert_eq!(dialogue.hear(&packet(ADDRESS, &usual(&[OFFER]))), Heard::Offer);
    assert_eq!(kind(&sent(&mut dialogue)), MessageType::Request);
    dialogue
}

#[test]
fn an_offer_is_requested_and_granted() {
    let mut dialogue = requesting();
    let Heard::Lease(lease) = dialogue.hear(&packet(ADDRESS, &usual(&[ACK]))) else { panic!("{dialogue:?}") };
    assert_eq!(lease.address, Ipv4Addr::from(ADDRESS));
}

#[test]
fn what_is_sent_tells_who_asks_and_for_what() {
    let message = sent(&mut Dialogue::new(CLIENT));
    assert_eq!((message.xid(), message.chaddr(), message.secs()), (CLIENT.xid, MAC.as_slice(), 3));
    assert!(message.flags().broadcast());
    let identifier = [[1].as_slice(), &MAC].concat();
    let options = message.opts();
    assert_eq!(options.get(OptionCode::ClientIdentifier), Some(&DhcpOption::ClientIdentifier(identifier.clone())));
    let Some(DhcpOption::ParameterRequestList(list)) = options.get(OptionCode::ParameterRequestList) else { panic!() };
    let place = |code| list.iter().position(|wanted| *wanted == code).unwrap();
    assert!(place(OptionCode::ClasslessStaticRoute) < place(OptionCode::Router));
    assert!(!options.contains(OptionCode::RequestedIpAddress));

    let mut dialogue = Dialogue::new(CLIENT);
    dialogue.hear(&packet(ADDRESS, &usual(&[OFFER])));
    let message = sent(&mut dialogue);
    let options = message.opts();
    let (address, server) = (Ipv4Addr::from(ADDRESS), Ipv4Addr::new(10, 0, 2, 2));
    assert_eq!(options.get(OptionCode::RequestedIpAddress), Some(&DhcpOption::RequestedIpAddress(address)));
    assert_eq!(options.get(OptionCode::ServerIdentifier), Some(&DhcpOption::ServerIdentifier(server)));
    assert_eq!(options.get(OptionCode::ClientIdentifier), Some(&DhcpOption::ClientIdentifier(identifier)));
    assert_eq!((message.xid(), message.ciaddr()), (CLIENT.xid, Ipv4Addr::UNSPECIFIED));
}

#[test]
fn answers_to_others_are_not_heard() {
    let good = packet(ADDRESS, &usual(&[OFFER]));
    // A request, another random number, an address of another length, another address, no magic number.
    for place in [0, 4, 2, 28, 33, 236] {
        let mut foreign = good.clone();
        foreign[place] ^= 0x80;
        assert_eq!(Dialogue::new(CLIENT).hear(&foreign), Heard::Nothing, "{place}");
    }
    // An address that would reach beyond the packet.
    let mut beyond = good.clone();
    beyond[2] = 255;
    assert_eq!(Dialogue::new(CLIENT).hear(&beyond[..250]), Heard::Nothing);
    assert_eq!(Dialogue::new(CLIENT).hear(&good), Heard::Offer);
}

#[test]
fn an_answer_out_of_turn_is_not_heard() {
    for kind in [ACK, NAK, 1, 3, 4, 7, 8, 0, 99] {
        assert_eq!(Dialogue::new(CLIENT).hear(&packet(ADDRESS, &usual(&[kind]))), Heard::Nothing, "{kind}");
    }
    assert_eq!(requesting().hear(&packet(ADDRESS, &usual(&[OFFER]))), Heard::Nothing);
}

#[test]
fn another_server_neither_grants_nor_refuses() {
    for kind in [ACK, NAK] {
        let foreign = packet(ADDRESS, &with(usual(&[kind]), 54, &OTHER_SERVER));
        assert_eq!(requesting().hear(&foreign), Heard::Nothing, "{kind}");
    }
    // Nor does one without a name.
    assert_eq!(requesting().hear(&packet(ADDRESS, &with(usual(&[ACK]), 54, &[]))), Heard::Nothing);
}

#[test]
fn a_refusal_is_told() {
    let refusal = packet([0; 4], &vec![(53, [NAK].as_slice()), (54, &[10, 0, 2, 2])]);
    let Heard::Refused(unusable) = requesting().hear(&refusal) else { panic!() };
    assert_eq!(unusable.to_string(), "DHCP server 10.0.2.2 refused the address that was asked for");
}

#[test]
fn an_unusable_offer_leaves_room_for_a_better_one() {
    let mut dialogue = Dialogue::new(CLIENT);
    let Heard::Unusable(_) = dialogue.hear(&packet([127, 0, 0, 1], &usual(&[OFFER]))) else { panic!() };
    assert_eq!(kind(&sent(&mut dialogue)), MessageType::Discover);
    assert_eq!(dialogue.hear(&packet(ADDRESS, &usual(&[OFFER]))), Heard::Offer);
}

#[test]
fn another_address_than_the_offered_one_is_unusable() {
    let Heard::Unusable(unusable) = requesting().hear(&packet([10, 0, 2, 16], &usual(&[ACK]))) else { panic!() };
    assert_eq!(unusable.to_string(), "DHCP server 10.0.2.2 offered 10.0.2.15 and gave 10.0.2.16");
}

#[test]
fn a_silent_server_is_left() {
    let mut dialogue = requesting();
    for _ in 1..MAX_REQUESTS {
        assert_eq!(kind(&sent(&mut dialogue)), MessageType::Request);
    }
    assert_eq!(kind(&sent(&mut dialogue)), MessageType::Discover);
    let other = packet(ADDRESS, &with(usual(&[OFFER]), 54, &OTHER_SERVER));
    assert_eq!(dialogue.hear(&other), Heard::Offer);
}

#[test]
fn options_that_nobody_asked_for_do_no_harm() {
    // Each of them has a length that its decoder would not take, or no text at all.
    for (code, value) in
        [(80, [1].as_slice()), (81, &[1]), (12, &[0xff, 0xfe]), (94, &[1]), (151, &[]), (82, &[9, 200])]
    {
        let mut options = usual(&[OFFER]);
        options.insert(1, (code, value));
        assert_eq!(Dialogue::new(CLIENT).hear(&packet(ADDRESS, &options)), Heard::Offer, "{code}");
    }
}

#[test]
fn a_packet_that_ends_early_is_no_lease_without_its_netmask() {
    let whole = packet(ADDRESS, &with(with(usual(&[OFFER]), 3, &[]), 6, &[]));
    // The netmask is the last option before the end.
    for length in 0..whole.len() - 1 {
        let heard = Dialogue::new(CLIENT).hear(&whole[..length]);
        assert!(matches!(heard, Heard::Nothing | Heard::Unusable(_)), "{length}: {heard:?}");
    }
}

/// Whatever comes: no panic, and a lease only for an address that a machine can have.
fn survives(bytes: &[u8]) {
    for mut dialogue in [Dialogue::new(CLIENT), requesting()] {
        if let Heard::Lease(lease) = dialogue.hear(bytes) {
            assert_eq!(lease.address, Ipv4Addr::from(ADDRESS));
            assert!((8..=32).contains(&lease.prefix) && lease.seconds > 0 && lease.name_servers.len() <= 3);
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in vec(any::<u8>(), 0..700)) {
        survives(&bytes);
    }

    #[test]
    fn any_options_are_survived(options in vec(any::<u8>(), 0..600), place in any::<prop::sample::Index>()) {
        let kind = *place.get(&[OFFER, ACK, NAK]);
        let mut bytes = packet(ADDRESS, &vec![(53, &[kind]), (54, &[10, 0, 2, 2])]);
        bytes.pop();
        bytes.extend(options);
        survives(&bytes);
    }

    #[test]
    fn any_change_is_survived(changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8), cut in 0..60_usize) {
        for kind in [[OFFER], [ACK]] {
            let routes = [0, 10, 0, 2, 2, 32, 10, 0, 2, 2, 0, 0, 0, 0];
            let options = with(usual(&kind), 121, &routes);
            let mut bytes = packet(ADDRESS, &options);
            for (place, value) in &changes {
                let place = place.index(bytes.len());
                bytes[place] = *value;
            }
            bytes.truncate(bytes.len().saturating_sub(cut));
            survives(&bytes);
        }
    }
}
