//! The document behind `cloud-init-url`, as far as the host can see it. One that only the machine can read is fetched only when
//! that was asked for.

use std::time::Duration;

use cloud_machine_config::{CloudInitUrl, MAX_DOCUMENT};
use cloud_machine_fetch::{FetchError, Limits, Names, Source};
use cloud_machine_volume::write::pin;

use crate::{
    described::refusal,
    documents,
    error::{ErrorKind, OperationError},
};

/// The bytes behind a `file:` address; `None` for an address that only the machine can read.
pub(crate) fn url_file(url: &CloudInitUrl) -> Result<Option<Vec<u8>>, OperationError> {
    let Some(path) = url.file() else { return Ok(None) };
    let bytes = documents::read_found(&path)?;
    match url.sha256.map(|expected| (expected, pin(&bytes))) {
        Some((expected, found)) if expected != found => {
            Err(refusal(&format!("{} has digest {found}, the configuration wants {expected}", url.redacted())))
        }
        _ => Ok(Some(bytes)),
    }
}

/// The bytes behind an address as far as the host may read it: a file, or with `fetch` whatever it is.
pub fn url_document(url: &CloudInitUrl, fetch: bool) -> Result<Option<Vec<u8>>, OperationError> {
    if !fetch || url.file().is_some() {
        return url_file(url);
    }
    let source = Source { url: url.url.reveal().as_str(), sha256: url.sha256, ca: url.ca.as_deref() };
    let tell = |error: &FetchError, wait: Duration| tracing::info!("{error}; again in {:.1} s", wait.as_secs_f64());
    let fetched = cloud_machine_fetch::fetch(&source, &Limits::of(MAX_DOCUMENT), &Names::System, &tell);
    Ok(Some(fetched.map_err(OperationError::during(ErrorKind::Failed, "fetch the document of cloud-init-url"))?.bytes))
}
