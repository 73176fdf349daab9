//! Which documents the machine says it merged, against those that the host knows of. Must not judge what they say.

use cloud_machine_protocol::{ConfigEvidence, Digest};

use crate::{expected::Expected, rejection::Rejection};

/// Whether the machine merged documents besides those of the host.
///
/// # Errors
/// Another volume, another address or document behind it, other drives than the expected ones.
pub(crate) fn configured(expected: &Expected, found: &ConfigEvidence) -> Result<bool, Rejection> {
    if found.volume != expected.volume {
        return Err(Rejection::Volume { expected: expected.volume, found: found.volume });
    }
    url(expected, found)?;
    drives(expected, found)?;
    Ok(found.url.is_some() || !found.drives.is_empty())
}

fn url(expected: &Expected, found: &ConfigEvidence) -> Result<(), Rejection> {
    let (wanted, read) = match (&expected.url, &found.url) {
        (None, None) => return Ok(()),
        (Some(wanted), Some(read)) => (wanted, read),
        (wanted, read) => {
            let expected = wanted.as_ref().map(|url| url.url.clone());
            return Err(Rejection::Url { expected, found: read.as_ref().map(|url| url.url.clone()) });
        }
    };
    if wanted.url != read.url {
        return Err(Rejection::Url { expected: Some(wanted.url.clone()), found: Some(read.url.clone()) });
    }
    match wanted.document {
        Some(expected) if expected != read.document => {
            Err(Rejection::UrlDocument { url: read.url.clone(), expected, found: read.document })
        }
        _ => Ok(()),
    }
}

fn drives(expected: &Expected, found: &ConfigEvidence) -> Result<(), Rejection> {
    let wanted: Vec<Digest> = expected.request.drives.iter().map(|drive| drive.digest).collect();
    let read: Vec<Digest> = found.drives.iter().map(|drive| drive.digest).collect();
    // Those that nobody named come after the others.
    let matches = if expected.drives_trusted { read.starts_with(&wanted) } else { read == wanted };
    if matches { Ok(()) } else { Err(Rejection::Drives { expected: wanted, found: read }) }
}
