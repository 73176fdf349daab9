//! The report of a worker that died or could not begin, and could send none. Must not know why it died.

use cloud_machine_protocol::{AgentMessage, causes};
use cloud_machine_system::kernel;

use crate::{channel, report, running_in::RunningIn};

/// Sends it to the host, and says so on the console when that fails, too.
pub(crate) fn send(running_in: RunningIn, reason: String) {
    kernel::log(&reason);
    let message = AgentMessage::Report(Box::new(report::without_worker(running_in, reason)));
    let sent = serde_json::to_vec(&message).map_err(|error| error.to_string()).and_then(|line| {
        channel::open(running_in).and_then(|channel| channel.send(&line)).map_err(|error| causes(&error))
    });
    if let Err(error) = sent {
        kernel::log(&format!("cannot report to the host: {error}"));
    }
}
