//! What the packed image is read from: a device of the host, the host itself, or an address, over a network that is up for as
//! long as the reading takes. Must not judge the bytes.

use cloud_machine_fetch::{RangeLimits, Ranges};
use cloud_machine_image::ReadBlocks;
use cloud_machine_protocol::{ImageSource, ImageUrl, SourceEvidence, causes};
use cloud_machine_system::{BlockReader, kernel};

use crate::{
    error::AgentError,
    host::Host,
    host_image::HostImage,
    network_session::{NetworkSession, Over},
    report::ReportBuilder,
};

/// Calls `read` with the packed image that the request names; `device` is that of the plan. What an address took goes
/// into the report, a failure of `read` included.
pub(crate) fn with_packed<T>(
    requested: &ImageSource,
    device: &str,
    over: Over<'_>,
    host: &mut Host,
    report: &mut ReportBuilder,
    read: impl FnOnce(&dyn ReadBlocks, &mut Host, &mut ReportBuilder) -> Result<T, AgentError>,
) -> Result<T, AgentError> {
    let url = match requested {
        ImageSource::Device(_) => return read(&BlockReader::open(device)?, host, report),
        ImageSource::Connection { size } => {
            return read(&HostImage { line: host.line(), size: *size }, host, report);
        }
        ImageSource::Url(url) => url,
    };
    let session = NetworkSession::up(over, &url.redacted(), host)?;
    let done = over_network(url, &session, host, report, read);
    // A failure to read tells more than one to tidy up after it.
    let down = session.down();
    let done = done?;
    down.map(|()| done)
}

fn over_network<T>(
    url: &ImageUrl,
    session: &NetworkSession,
    host: &mut Host,
    report: &mut ReportBuilder,
    read: impl FnOnce(&dyn ReadBlocks, &mut Host, &mut ReportBuilder) -> Result<T, AgentError>,
) -> Result<T, AgentError> {
    // Several threads read, and the host's port belongs to the progress of the step.
    let told = |error: &cloud_machine_fetch::FetchError, wait: std::time::Duration| {
        kernel::log(&format!("{}; again in {:.1} s", causes(error), wait.as_secs_f64()));
    };
    let ranges =
        Ranges::open(url.url.reveal().as_str(), url.ca.as_deref(), RangeLimits::default(), &session.names, &told)
            .map_err(|source| AgentError::ImageAddress { url: url.redacted(), source })?;
    let done = read(&ranges, host, report);
    report.image_source(SourceEvidence {
        url: url.redacted(),
        packed_bytes: ranges.size(),
        received_bytes: ranges.received(),
        requests: ranges.requests(),
        address: session.address.clone(),
    });
    done
}
