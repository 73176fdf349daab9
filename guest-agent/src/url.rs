//! The document behind the configured address: fetched over a network that is there for nothing else, or taken from the
//! pinned volume, where the host put a file of its own. Must not read what the document says.

use std::{cell::RefCell, time::Duration};

use cloud_machine_config::{CloudInitUrl, Document, LayerKind, MAX_DOCUMENT, parse};
use cloud_machine_fetch::{FetchError, Fetched, Limits, Names, Source, fetch};
use cloud_machine_protocol::{SecretUrl, UrlEvidence, causes};
use cloud_machine_system::{kernel, sha256};

use crate::{
    error::AgentError,
    host::Host,
    network_session::{NetworkSession, Over},
    volume::Volume,
};

/// All of the address of which the pinned volume states the place; `told` is what the host said over the port, if the
/// volume has not all of it. That must lead to the same place: nothing but the pin vouches for where that is.
pub(crate) fn whole(stated: &SecretUrl, told: Option<SecretUrl>) -> Result<SecretUrl, AgentError> {
    match told {
        None => Ok(stated.clone()),
        Some(told) if told.without_access() == *stated => Ok(told),
        Some(found) => Err(AgentError::OtherAddress { stated: stated.redacted(), found: found.redacted() }),
    }
}

/// Reads the document of `url`, and says what was read.
pub(crate) fn read(
    url: &CloudInitUrl,
    volume: &Volume,
    over: Over<'_>,
    host: &mut Host,
) -> Result<(Document, UrlEvidence), AgentError> {
    let read = if url.file().is_some() { on_volume(url, volume)? } else { fetched(url, over, host)? };
    parsed(read)
}

/// [`read`] of a document that no volume can have, since no host made one.
pub(crate) fn read_without_host(
    url: &CloudInitUrl,
    over: Over<'_>,
    host: &mut Host,
) -> Result<(Document, UrlEvidence), AgentError> {
    if url.file().is_some() {
        return Err(AgentError::FileOfHost { url: url.redacted() });
    }
    parsed(fetched(url, over, host)?)
}

fn parsed((bytes, evidence): (Vec<u8>, UrlEvidence)) -> Result<(Document, UrlEvidence), AgentError> {
    let document = parse(LayerKind::CloudInitUrl, &evidence.url, &bytes).map_err(AgentError::Config)?;
    Ok((document, evidence))
}

fn on_volume(url: &CloudInitUrl, volume: &Volume) -> Result<(Vec<u8>, UrlEvidence), AgentError> {
    let bytes = volume.url_document()?;
    let document = sha256(&bytes);
    match url.sha256 {
        Some(expected) if expected != document => {
            Err(AgentError::UrlDocument { url: url.redacted(), expected, found: document })
        }
        _ => Ok((bytes, UrlEvidence { url: url.redacted(), document, requests: 0, address: None })),
    }
}

fn fetched(url: &CloudInitUrl, over: Over<'_>, host: &mut Host) -> Result<(Vec<u8>, UrlEvidence), AgentError> {
    let session = NetworkSession::up(over, &url.redacted(), host)?;
    let address = session.address.clone();
    let fetched = get(url, &session.names, host);
    // A failure to fetch tells more than one to tidy up after it.
    let down = session.down();
    let Fetched { bytes, digest, attempts } = fetched?;
    down?;
    let requests = u32::try_from(attempts).unwrap_or(u32::MAX);
    Ok((bytes, UrlEvidence { url: url.redacted(), document: digest, requests, address: Some(address) }))
}

fn get(url: &CloudInitUrl, names: &Names, host: &mut Host) -> Result<Fetched, AgentError> {
    let source = Source { url: url.url.reveal().as_str(), sha256: url.sha256, ca: url.ca.as_deref() };
    let host = RefCell::new(host);
    let tell = |error: &FetchError, wait: Duration| {
        let text = format!("{}; again in {:.1} s", causes(error), wait.as_secs_f64());
        // A port that fails does not stop the fetch: the report will fail for the same reason.
        if let Err(error) = host.borrow_mut().event(None, &text) {
            kernel::log(&error.to_string());
        }
    };
    fetch(&source, &Limits::of(MAX_DOCUMENT), names, &tell).map_err(AgentError::Fetch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_host_tells_leads_to_the_place_that_the_volume_states() {
        let url = |text: &str| text.parse::<SecretUrl>().unwrap();
        let (stated, told) = (url("https://h/x"), url("https://me:hunter2@h/x?token=hunter2"));
        assert_eq!(whole(&stated, Some(told.clone())).unwrap(), told);
        assert_eq!(whole(&stated, None).unwrap(), stated);
        for other in ["https://me:hunter2@other/x", "http://me:hunter2@h/x", "https://me:hunter2@h/y"] {
            let error = whole(&stated, Some(url(other))).unwrap_err().to_string();
            assert!(error.contains("https://h/x on its volume") && !error.contains("hunter2"), "{error}");
        }
    }
}
