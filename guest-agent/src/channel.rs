//! How the agent reaches the host. One way today, a virtio-serial port; whatever comes beside it is chosen here. Must not know
//! the messages.

use cloud_machine_protocol::PORT_NAME;
use cloud_machine_system::{SystemError, channel::Channel, port::Port};

/// Opens the way to the host.
pub(crate) fn open() -> Result<Box<dyn Channel>, SystemError> {
    Ok(Box::new(Port::open(PORT_NAME)?))
}
