//! How the agent reaches the host: a virtio-serial port, standard input and output, or not at all. Must not know the messages.

use cloud_machine_protocol::PORT_NAME;
use cloud_machine_system::{SystemError, channel::Channel, port, silent, stdio};

use crate::running_in::RunningIn;

/// Opens the way to the host.
pub(crate) fn open(running_in: RunningIn) -> Result<Box<dyn Channel>, SystemError> {
    match running_in {
        RunningIn::Initramfs => port::open(PORT_NAME),
        RunningIn::RescueSystem => stdio::open(),
        RunningIn::OwnDisk | RunningIn::Recovery => Ok(silent::open()),
    }
}
