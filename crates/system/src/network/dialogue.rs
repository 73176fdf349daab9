//! The client's side of DHCP as states: what to send next, and what a packet that came changes. Pure: no socket, no
//! clock, no random numbers.

use std::net::Ipv4Addr;

use dhcproto::{error::EncodeError, v4::MessageType};

use super::{
    error::{Fault, Unusable},
    lease::{self, Lease},
    packet::{self, Client},
};

/// REQUESTs that may stay without an answer before another offer is looked for.
const MAX_REQUESTS: usize = 4;

/// One try for a lease, from the first DISCOVER on.
#[derive(Debug)]
pub(crate) struct Dialogue {
    client: Client,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Any server's offer is welcome.
    Selecting,
    /// One server was chosen; others are not heard any more.
    Requesting { address: Ipv4Addr, server: Ipv4Addr, sent: usize },
}

/// What a packet meant.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Not for this client, not at this moment, or no DHCP at all.
    Nothing,
    /// An offer was taken: the next message is to be sent at once.
    Offer,
    /// It is granted.
    Lease(Lease),
    /// The server answered with something that cannot be used. The wait goes on: another answer may be better.
    Unusable(Unusable),
    /// The server took its offer back: begin again, but not at once.
    Refused(Unusable),
}

impl Dialogue {
    /// Begins with DISCOVER.
    pub(crate) const fn new(client: Client) -> Self {
        Self { client, state: State::Selecting }
    }

    /// The message that is to be sent now; `seconds` passed since the first one.
    ///
    /// # Errors
    /// [`EncodeError`] as the encoder says.
    pub(crate) fn message(&mut self, seconds: u16) -> Result<Vec<u8>, EncodeError> {
        let chosen = match &mut self.state {
            // The server is silent: perhaps it is gone, and another one is there.
            State::Requesting { sent, .. } if *sent >= MAX_REQUESTS => {
                self.state = State::Selecting;
                None
            }
            State::Requesting { address, server, sent } => {
                *sent += 1;
                Some((*address, *server))
            }
            State::Selecting => None,
        };
        packet::question(self.client, seconds, chosen)
    }

    /// Takes notice of a packet from port 68.
    pub(crate) fn hear(&mut self, bytes: &[u8]) -> Heard {
        let Some(answer) = packet::answer(self.client, bytes) else { return Heard::Nothing };
        match (&self.state, answer.kind) {
            (State::Selecting, MessageType::Offer) => match lease::lease(&answer) {
                Ok(Lease { address, server, .. }) => {
                    self.state = State::Requesting { address, server, sent: 0 };
                    Heard::Offer
                }
                Err(unusable) => Heard::Unusable(unusable),
            },
            (State::Requesting { address, server, .. }, MessageType::Ack) if answer.server == *server => {
                let given = answer.address;
                if given != *address {
                    let fault = Fault::Changed { offered: *address, given };
                    return Heard::Unusable(Unusable { server: *server, fault });
                }
                lease::lease(&answer).map_or_else(Heard::Unusable, Heard::Lease)
            }
            (State::Requesting { server, .. }, MessageType::Nak) if answer.server == *server => {
                Heard::Refused(Unusable { server: *server, fault: Fault::Refused })
            }
            _ => Heard::Nothing,
        }
    }
}

#[cfg(test)]
#[path = "dialogue_tests.rs"]
mod tests;
