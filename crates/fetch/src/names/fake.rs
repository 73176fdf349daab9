//! A name server on this machine that says what a test wants, over UDP and TCP.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{Arc, Mutex},
    thread,
};

use domain::{
    base::{Message, MessageBuilder, iana::Class, message_builder::AnswerBuilder},
    dep::octseq::Array,
    rdata::{A, Aaaa, Cname},
};

use super::message::{MAX_QUESTION, Name, Rcode};

pub(super) type Query = Message<Array<MAX_QUESTION>>;

/// Bytes of an answer: more than go over UDP.
const MAX_ANSWER: usize = 4096;

/// A question that came.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) query: Query,
    pub(super) from: SocketAddr,
    pub(super) tcp: bool,
}

impl Asked {
    /// Name and type, as `seed.test A`.
    pub(super) fn question(&self) -> String {
        let question = self.query.sole_question().expect("a question");
        format!("{} {}", question.qname(), question.qtype())
    }
}

pub(super) struct Fake {
    pub(super) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Fake {
    /// Sends all messages of `answer`, which hears a question and its number, from zero.
    pub(super) fn start(answer: impl Fn(&Query, usize) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Self {
        Self::with(
            move |asked, number, socket| {
                for message in answer(&asked.query, number) {
                    socket.send_to(&message, asked.from).expect("to send");
                }
            },
            |_, _| {},
        )
    }

    /// Says over UDP that the answer is too long, and over TCP what `answer` writes.
    pub(super) fn truncating(answer: impl Fn(&Query, &mut TcpStream) + Send + Sync + 'static) -> Self {
        Self::with(
            |asked, _, socket| {
                socket.send_to(&truncated(&asked.query), asked.from).expect("to send");
            },
            answer,
        )
    }

    pub(super) fn with(
        datagram: impl Fn(&Asked, usize, &UdpSocket) + Send + 'static,
        stream: impl Fn(&Query, &mut TcpStream) + Send + Sync + 'static,
    ) -> Self {
        let (socket, listener) = sockets();
        let address = socket.local_addr().expect("an address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&asked);
        let hear = move |query: &[u8], from, tcp| {
            let query = self::heard(query);
            let asked = Asked { query, from, tcp };
            let mut heard = heard.lock().expect("questions");
            heard.push(asked.clone());
            (asked, heard.len() - 1)
        };
        let hear_stream = hear.clone();
        thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let (asked, number) = hear(&buffer[..length], from, false);
                datagram(&asked, number, &socket);
            }
        });
        thread::spawn(move || {
            for connection in listener.incoming() {
                let mut connection = connection.expect("a connection");
                let mut length = [0; 2];
                connection.read_exact(&mut length).expect("a length");
                let mut query = vec![0; u16::from_be_bytes(length).into()];
                connection.read_exact(&mut query).expect("a question");
                let from = connection.peer_addr().expect("an address");
                let (asked, _) = hear_stream(&query, from, true);
                stream(&asked.query, &mut connection);
            }
        });
        Self { address, asked }
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("questions").clone()
    }
}

/// The same port for both.
fn sockets() -> (UdpSocket, TcpListener) {
    let pair = || {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let listener = TcpListener::bind(socket.local_addr().expect("an address")).ok()?;
        Some((socket, listener))
    };
    // The port may be somebody's over TCP.
    (0..100).find_map(|_| pair()).expect("a port")
}

pub(super) fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

/// A record: whose, of which class, and what it says.
pub(super) type Entry = (Name, Class, Data);

pub(super) enum Data {
    Address(IpAddr),
    Alias(Box<Name>),
}

pub(super) fn a(owner: &str, address: &str) -> Entry {
    (name(owner), Class::IN, Data::Address(address.parse().expect("an address")))
}

pub(super) fn alias(owner: &str, to: &str) -> Entry {
    (name(owner), Class::IN, Data::Alias(name(to).into()))
}

/// A question as the server has it.
pub(super) fn heard(bytes: &[u8]) -> Query {
    Message::from_octets(bytes.try_into().expect("a question")).expect("a message")
}

fn start(query: &Query, code: Rcode) -> AnswerBuilder<Array<MAX_ANSWER>> {
    let builder = MessageBuilder::from_target(Array::new()).expect("room");
    builder.start_answer(query, code).expect("room")
}

/// The answer to `query`.
pub(super) fn said(query: &Query, code: Rcode, entries: &[Entry]) -> Vec<u8> {
    let mut answer = start(query, code);
    for (owner, class, data) in entries {
        match data {
            Data::Address(IpAddr::V4(address)) => answer.push((owner, *class, 60, A::new(*address))),
            Data::Address(IpAddr::V6(address)) => answer.push((owner, *class, 60, Aaaa::new(*address))),
            Data::Alias(to) => answer.push((owner, *class, 60, Cname::new(&**to))),
        }
        .expect("room");
    }
    answer.finish().as_ref().to_vec()
}

pub(super) fn truncated(query: &Query) -> Vec<u8> {
    let mut answer = start(query, Rcode::NOERROR);
    answer.header_mut().set_tc(true);
    answer.finish().as_ref().to_vec()
}

/// As a message is sent over TCP.
pub(super) fn send(connection: &mut TcpStream, message: &[u8]) {
    let length = u16::try_from(message.len()).expect("a short message");
    // A client that hangs up in the middle is what some tests are about.
    drop(connection.write_all(&[&length.to_be_bytes(), message].concat()));
}
