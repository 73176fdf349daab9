//! A way to nobody, for an agent that works without a host. Must not keep what is said.

use std::{io, time::Instant};

use crate::{SystemError, channel::Channel};

/// Nobody at the other end.
#[derive(Debug)]
struct Silent;

/// Opens it.
#[must_use]
pub fn open() -> Box<dyn Channel> {
    Box::new(Silent)
}

impl Channel for Silent {
    fn send(&self, _: &[u8]) -> Result<(), SystemError> {
        Ok(())
    }

    fn receive(&self, _: usize, _: Instant) -> Result<Vec<u8>, SystemError> {
        Err(nobody())
    }

    fn receive_bytes(&self, _: usize, _: Instant) -> Result<Vec<u8>, SystemError> {
        Err(nobody())
    }
}

fn nobody() -> SystemError {
    SystemError::io("hear", "a host")(io::Error::from(io::ErrorKind::NotConnected))
}
