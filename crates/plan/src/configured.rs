//! Which documents the machine says it merged, against those that the host knows of. Must not judge what they say.

use std::collections::BTreeMap;

use cloud_machine_config::LayerKind;
use cloud_machine_protocol::{ConfigEvidence, Digest, Report, Role};

use crate::{expected::Expected, rejection::Rejection};

/// Whether the machine merged documents besides those of the host.
///
/// # Errors
/// Another volume or document on it, another address or document behind it, other drives than the expected ones, values from
/// elsewhere than the documents.
pub(crate) fn configured(expected: &Expected, report: &Report) -> Result<bool, Rejection> {
    let found = report.config.as_ref().ok_or(Rejection::VolumeAbsent)?;
    if found.volume != Some(expected.volume) {
        return Err(Rejection::Volume { expected: expected.volume, found: found.volume });
    }
    if found.document != expected.document {
        return Err(Rejection::Document { expected: expected.document, found: found.document });
    }
    url(expected, found)?;
    drives(expected, report, found)?;
    let more = found.url.is_some() || !found.drives.is_empty();
    origins(&expected.origins, &found.origins, more)?;
    Ok(more)
}

/// Every value is said to come from where the host has it, or from a document that the machine read. Such a document may
/// also take a value of the host away.
fn origins(expected: &BTreeMap<String, String>, found: &BTreeMap<String, String>, more: bool) -> Result<(), Rejection> {
    let own = [LayerKind::CloudInitUrl, LayerKind::Volume].map(|layer| format!("{layer} "));
    for (key, origin) in found {
        let of_machine = more && own.iter().any(|layer| origin.starts_with(layer.as_str()));
        if expected.get(key) != Some(origin) && !of_machine {
            return Err(Rejection::Origin {
                key: key.clone(),
                expected: expected.get(key).cloned(),
                found: Some(origin.clone()),
            });
        }
    }
    let lost = expected.iter().find(|(key, _)| !found.contains_key(*key)).filter(|_| !more || found.is_empty());
    match lost {
        Some((key, origin)) => Err(Rejection::Origin { key: key.clone(), expected: Some(origin.clone()), found: None }),
        None => Ok(()),
    }
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
    // The host itself puts such a document on the volume.
    if read.url.starts_with("file:") && (read.requests != 0 || read.address.is_some()) {
        return Err(Rejection::UrlRequests { url: read.url.clone() });
    }
    match wanted.document {
        Some(expected) if expected != read.document => {
            Err(Rejection::UrlDocument { url: read.url.clone(), expected, found: read.document })
        }
        _ => Ok(()),
    }
}

fn drives(expected: &Expected, report: &Report, found: &ConfigEvidence) -> Result<(), Rejection> {
    let wanted: Vec<Digest> = expected.request.drives.iter().map(|drive| drive.digest).collect();
    let read: Vec<Digest> = found.drives.iter().map(|drive| drive.digest).collect();
    // Those that nobody named come after the others.
    let matches = if expected.drives_trusted { read.starts_with(&wanted) } else { read == wanted };
    if !matches {
        return Err(Rejection::Drives { expected: wanted, found: read });
    }
    for (index, drive) in found.drives.iter().enumerate() {
        let record = report.devices.iter().find(|record| record.disk.name == drive.device);
        let is = record.is_some_and(|record| match expected.request.drives.get(index) {
            Some(request) => record.role == Role::Drive && record.disk.matches(&request.device),
            None => !matches!(record.role, Role::Volume | Role::ImageSource),
        });
        if !is {
            return Err(Rejection::DriveDevice { device: drive.device.clone() });
        }
    }
    Ok(())
}
