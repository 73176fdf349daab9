//! A question for the addresses of a name and what an answer says, as bytes (RFC 1035, section 4). Must not send anything,
//! and believes no message that is not the answer to just this question.

use std::{io, net::IpAddr};

use domain::{
    base::{Message, MessageBuilder, ParsedName, Rtype, ToName, iana::Class, wire::ParseError},
    dep::octseq::Array,
    rdata::{A, Aaaa, Cname},
};

pub(super) use domain::base::iana::Rcode;

/// A whole name: nothing is ever searched below it.
pub(super) type Name = domain::base::Name<Array<255>>;

/// Bytes of a header and a question for the longest name.
pub(super) const MAX_QUESTION: usize = 12 + 255 + 4;

/// Names that one may be an alias of, one after the other: more than anybody needs, and a loop ends.
pub(super) const MAX_ALIASES: usize = 8;

/// Which addresses are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    const fn record(self) -> Rtype {
        match self {
            Self::V4 => Rtype::A,
            Self::V6 => Rtype::AAAA,
        }
    }
}

/// A question with a number that nobody can guess.
#[derive(Debug)]
pub(super) struct Query {
    name: Name,
    family: Family,
    message: Message<Array<MAX_QUESTION>>,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// Too long for UDP.
    Truncated,
    /// The server does not know, or does not want to say.
    Refused(Rcode),
    /// No message, although its start is the answer to the question.
    Garbled,
    /// What the server knows.
    Answer(Answer),
}

/// What a server knows of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// All addresses of the name, or of what it is an alias of.
    Addresses(Vec<IpAddr>),
    /// The name stands for another one, of which the server said no more. The number of names on the way there.
    Alias(Box<Name>, usize),
    /// More than [`MAX_ALIASES`] names on the way.
    TooManyAliases,
    /// There is such a name, but it has no address of this family.
    NoAddress,
    /// There is no such name.
    NoName,
}

impl Query {
    pub(super) fn new(name: &Name, family: Family) -> io::Result<Self> {
        let mut number = [0; 2];
        getrandom::fill(&mut number)?;
        let mut builder = MessageBuilder::from_target(Array::new()).map_err(io::Error::other)?;
        builder.header_mut().set_id(u16::from_ne_bytes(number));
        builder.header_mut().set_rd(true);
        let mut builder = builder.question();
        builder.push((name, family.record())).map_err(io::Error::other)?;
        Ok(Self { name: name.clone(), family, message: builder.into_message() })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.message.as_slice()
    }

    /// What `bytes` say; `None` when they are no answer to this question: from somebody who does not know it, or late.
    pub(super) fn reply(&self, bytes: &[u8]) -> Option<Reply> {
        let message = Message::from_octets(bytes).ok().filter(|message| message.is_answer(&self.message))?;
        let header = message.header();
        Some(match header.rcode() {
            _ if header.tc() => Reply::Truncated,
            Rcode::NOERROR | Rcode::NXDOMAIN => self.follow(&message).map_or(Reply::Garbled, Reply::Answer),
            code => Reply::Refused(code),
        })
    }

    /// From the name of the question along its aliases to the addresses. Records of other names are nothing to us.
    fn follow(&self, message: &Message<&[u8]>) -> Result<Answer, ParseError> {
        let records = Records::read(message)?;
        let mut name = self.name.clone();
        for aliases in 0..=MAX_ALIASES {
            let addresses = records.addresses(&name, self.family);
            if !addresses.is_empty() {
                return Ok(Answer::Addresses(addresses));
            }
            match records.alias(&name) {
                Some(next) => name = next,
                // The code is that of the last name of the chain (RFC 6604, 3).
                None if message.header().rcode() == Rcode::NXDOMAIN => return Ok(Answer::NoName),
                None if aliases > 0 => return Ok(Answer::Alias(name.into(), aliases)),
                None => return Ok(Answer::NoAddress),
            }
        }
        Ok(Answer::TooManyAliases)
    }
}

/// A name as it lies in a message.
type Inside<'a> = ParsedName<&'a [u8]>;

/// What of an answer counts, each with its owner.
#[derive(Default)]
struct Records<'a> {
    addresses: Vec<(Inside<'a>, IpAddr)>,
    aliases: Vec<(Inside<'a>, Inside<'a>)>,
}

impl<'a> Records<'a> {
    fn read(message: &'a Message<&[u8]>) -> Result<Self, ParseError> {
        let mut found = Self::default();
        for record in message.answer()? {
            let record = record?;
            if record.class() != Class::IN {
                continue;
            }
            if let Some(a) = record.to_record::<A>()? {
                found.addresses.push((*a.owner(), a.data().addr().into()));
            } else if let Some(aaaa) = record.to_record::<Aaaa>()? {
                found.addresses.push((*aaaa.owner(), aaaa.data().addr().into()));
            } else if let Some(cname) = record.to_record::<Cname<Inside<'_>>>()? {
                found.aliases.push((*cname.owner(), *cname.data().cname()));
            }
        }
        Ok(found)
    }

    fn addresses(&self, name: &Name, family: Family) -> Vec<IpAddr> {
        let wanted = |address: &IpAddr| address.is_ipv4() == (family == Family::V4);
        let ours = self.addresses.iter().filter(|(owner, address)| owner == name && wanted(address));
        ours.map(|(_, address)| *address).collect()
    }

    fn alias(&self, name: &Name) -> Option<Name> {
        let (_, alias) = self.aliases.iter().find(|(owner, _)| owner == name)?;
        alias.try_to_name().ok()
    }
}

#[cfg(test)]
mod tests {
    use domain::base::iana::Opcode;

    use super::*;
    use crate::names::fake::{self, a, alias, name, said, truncated};

    fn query(family: Family) -> Query {
        Query::new(&name("seed.test"), family).unwrap()
    }

    /// What the server of a test has before it.
    fn heard(query: &Query) -> fake::Query {
        fake::heard(query.bytes())
    }

    fn addresses(addresses: &[&str]) -> Reply {
        Reply::Answer(Answer::Addresses(addresses.iter().map(|address| address.parse().unwrap()).collect()))
    }

    #[test]
    fn a_question_is_one_question_for_one_name() {
        let query = query(Family::V6);
        let message = heard(&query);
        let header = message.header();
        assert!(header.rd() && !header.qr() && header.opcode() == Opcode::QUERY);
        let question = message.sole_question().unwrap();
        assert_eq!((question.qname().to_string().as_str(), question.qtype()), ("seed.test", Rtype::AAAA));
        assert_eq!(query.bytes().len(), 12 + "4seed4test0".len() + 4);
    }

    #[test]
    fn numbers_cannot_be_guessed() {
        let mut numbers: Vec<u16> = (0..64).map(|_| heard(&query(Family::V4)).header().id()).collect();
        numbers.sort_unstable();
        // Drawn at random, hardly two of them are the same, and they are far from each other.
        let steps: Vec<u16> = numbers.windows(2).map(|pair| pair[1] - pair[0]).filter(|step| *step > 0).collect();
        assert!(steps.len() > 54, "{numbers:?}");
        assert!(steps.iter().any(|step| *step > 500), "{numbers:?}");
    }

    #[test]
    fn addresses_are_those_of_the_family_and_the_name() {
        let records = [
            a("seed.test", "192.0.2.1"),
            a("evil.test", "192.0.2.66"),
            a("SEED.Test", "192.0.2.2"),
            a("seed.test", "2001:db8::1"),
            (name("seed.test"), Class::CH, fake::Data::Address("192.0.2.67".parse().unwrap())),
        ];
        for (family, expected) in [(Family::V4, &["192.0.2.1", "192.0.2.2"][..]), (Family::V6, &["2001:db8::1"])] {
            let query = query(family);
            let answer = said(&heard(&query), Rcode::NOERROR, &records);
            assert_eq!(query.reply(&answer), Some(addresses(expected)));
        }
    }

    #[test]
    fn an_answer_to_something_else_is_none() {
        let query = query(Family::V4);
        let records = [a("seed.test", "192.0.2.66")];
        let good = said(&heard(&query), Rcode::NOERROR, &records);
        assert!(query.reply(&good).is_some());
        let changed = |place: usize, bit: u8| {
            let mut bytes = good.clone();
            bytes[place] ^= bit;
            query.reply(&bytes)
        };
        // Its number, that it is an answer, the number of its questions, the name, the type and the class.
        for (place, bit) in [(0, 1), (1, 0x80), (2, 0x80), (5, 2), (13, 1), (17, 1), (24, 2), (26, 2)] {
            assert_eq!(changed(place, bit), None, "byte {place}");
        }
        assert_eq!(query.reply(query.bytes()), None, "its own question");
        assert_eq!(query.reply(&[]), None);
        for (other, family) in [("seed.test", Family::V6), ("seed.test.test", Family::V4)] {
            let mut other = heard(&Query::new(&name(other), family).unwrap());
            other.header_mut().set_id(heard(&query).header().id());
            assert_eq!(query.reply(&said(&other, Rcode::NOERROR, &records)), None);
        }
    }

    #[test]
    fn the_case_of_a_name_means_nothing() {
        let query = query(Family::V4);
        let mut shouted = heard(&Query::new(&name("SEED.test"), Family::V4).unwrap());
        shouted.header_mut().set_id(heard(&query).header().id());
        let answer = said(&shouted, Rcode::NOERROR, &[a("seed.TEST", "192.0.2.1")]);
        assert_eq!(query.reply(&answer), Some(addresses(&["192.0.2.1"])));
    }

    #[test]
    fn codes_and_empty_answers() {
        let query = query(Family::V4);
        let heard = heard(&query);
        for (code, expected) in [
            (Rcode::NOERROR, Reply::Answer(Answer::NoAddress)),
            (Rcode::NXDOMAIN, Reply::Answer(Answer::NoName)),
            (Rcode::SERVFAIL, Reply::Refused(Rcode::SERVFAIL)),
            (Rcode::REFUSED, Reply::Refused(Rcode::REFUSED)),
        ] {
            assert_eq!(query.reply(&said(&heard, code, &[])), Some(expected));
        }
        assert_eq!(query.reply(&truncated(&heard)), Some(Reply::Truncated));
    }

    #[test]
    fn aliases_are_followed_in_any_order_and_end() {
        let query = query(Family::V4);
        let says = |code, records: &[_]| query.reply(&said(&heard(&query), code, records)).unwrap();
        let (first, second) = (alias("seed.test", "b.test"), alias("B.test", "c.test"));
        let two = [a("c.test", "192.0.2.1"), second, first, a("d.test", "192.0.2.66")];
        assert_eq!(says(Rcode::NOERROR, &two), addresses(&["192.0.2.1"]));
        assert_eq!(says(Rcode::NOERROR, &two[1..]), Reply::Answer(Answer::Alias(name("c.test").into(), 2)));
        assert_eq!(says(Rcode::NXDOMAIN, &two[1..]), Reply::Answer(Answer::NoName));
        let elsewhere = [alias("evil.test", "c.test"), a("c.test", "192.0.2.66")];
        assert_eq!(says(Rcode::NOERROR, &elsewhere), Reply::Answer(Answer::NoAddress));
        let circle = [alias("seed.test", "b.test"), alias("b.test", "seed.test")];
        assert_eq!(says(Rcode::NOERROR, &circle), Reply::Answer(Answer::TooManyAliases));
        for (length, end) in [(MAX_ALIASES, addresses(&["192.0.2.1"])), (9, Reply::Answer(Answer::TooManyAliases))] {
            let step = |number: usize| if number == 0 { "seed.test".to_owned() } else { format!("{number}.test") };
            let mut chain: Vec<_> = (0..length).map(|from| alias(&step(from), &step(from + 1))).collect();
            chain.push(a(&step(length), "192.0.2.1"));
            assert_eq!(says(Rcode::NOERROR, &chain), end);
        }
    }

    #[test]
    fn no_byte_that_is_wrong_does_harm() {
        let query = query(Family::V4);
        let records = [alias("seed.test", "b.test"), a("b.test", "192.0.2.1")];
        let good = said(&heard(&query), Rcode::NOERROR, &records);
        for end in 0..good.len() {
            assert!(matches!(query.reply(&good[..end]), None | Some(Reply::Garbled)), "{end} bytes");
        }
        // A name that points to itself, to what follows or beyond the end is none.
        let question = heard(&query).as_slice().len();
        for pointer in [question as u8, question as u8 + 20, 255] {
            let mut bytes = said(&heard(&query), Rcode::NOERROR, &[]);
            bytes[7] = 1;
            bytes.extend([0xc0, pointer, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 66]);
            assert_eq!(query.reply(&bytes), Some(Reply::Garbled), "{pointer}");
        }
        for place in 0..good.len() {
            for byte in 0..=255 {
                let mut bytes = good.clone();
                bytes[place] = byte;
                // Any reply will do, without a panic.
                drop(query.reply(&bytes));
            }
        }
    }
}
