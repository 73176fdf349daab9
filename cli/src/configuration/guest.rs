//! The two layers that a machine reads for itself, as far as the host can see them: the file behind a `file:` address,
//! and volumes that are attached to it. A document is fetched only when that was asked for.

use std::{path::Path, time::Duration};

use cloud_machine_config::{
    CloudInitUrl, Document, LayerKind, MAX_DOCUMENT, Merged, defaults, merge, parse, supported, unread, validate,
};
use cloud_machine_driver::{store::MachineRecord, volume::pin};
use cloud_machine_fetch::{FetchError, Limits, Names, Source};
use cloud_machine_protocol::{
    Digest,
    volume::{LABEL, MAX_SIZE, USER_DATA},
};
use cloud_machine_volume::Volume;

use crate::failure::{Failure, Kind};

use super::{files, refusal, refused};

/// A volume that is given to a machine.
pub(crate) struct Drive {
    /// The file that it was read from.
    pub(crate) source: String,
    /// All its bytes.
    pub(crate) bytes: Vec<u8>,
    /// What on it nobody reads, for people.
    pub(crate) unread: Vec<String>,
    user_data: Vec<u8>,
}

impl Drive {
    /// Reads a volume labelled `CLOUD-INIT` with a document on it.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let bytes = files::read_up_to(path, MAX_SIZE)?;
        let source = path.display().to_string();
        let (user_data, unread) = content(&source, &bytes)?;
        Ok(Self { source, bytes, unread, user_data })
    }

    /// SHA-256 of all bytes.
    pub(crate) fn digest(&self) -> Digest {
        pin(&self.bytes)
    }

    /// Its document, as one that nobody vouches for.
    pub(crate) fn document(&self) -> Result<Document, Failure> {
        parse(LayerKind::Volume, &format!("{}/{USER_DATA}", self.source), &self.user_data).map_err(refused)
    }
}

/// The document on a volume, and what else on it states something.
fn content(source: &str, bytes: &[u8]) -> Result<(Vec<u8>, Vec<String>), Failure> {
    let failed = |error| Failure::during(Kind::Failed, format!("read the volume {source}"))(error);
    let volume = Volume::open(bytes).map_err(failed)?;
    let label = volume.label();
    if !label.eq_ignore_ascii_case(LABEL) {
        return Err(refusal(&format!("volume {source} is labelled {label:?}, not {LABEL}"))
            .hint("`cloud-machine volume build` makes one with this label"));
    }
    let user_data = volume.read(USER_DATA).map_err(failed)?;
    Ok((user_data, unread_of(&volume).into_iter().map(|remark| format!("{source}: {remark}")).collect()))
}

/// What lies on a drive beside its document, and nobody reads.
pub(crate) fn unread_of(volume: &Volume<&[u8]>) -> Vec<String> {
    let files = match volume.list() {
        Ok(files) => files,
        Err(error) => return vec![format!("whether more than user-data is on it is unknown: {error}")],
    };
    let others = files.iter().map(|(path, _)| path).filter(|path| *path != USER_DATA);
    // What cannot be read states something as well.
    others.filter_map(|path| unread(path, &volume.read(path).unwrap_or_else(|_| b"?".to_vec()))).collect()
}

/// The bytes behind a `file:` address; `None` for an address that only the machine can read.
pub(crate) fn url_file(url: &CloudInitUrl) -> Result<Option<Vec<u8>>, Failure> {
    let Some(path) = url.file() else { return Ok(None) };
    let bytes = files::read_found(&path)?;
    match url.sha256.map(|expected| (expected, pin(&bytes))) {
        Some((expected, found)) if expected != found => {
            Err(refusal(&format!("{} has digest {found}, the configuration wants {expected}", url.shown())))
        }
        _ => Ok(Some(bytes)),
    }
}

/// The bytes behind an address as far as the host may read it: a file, or with `fetch` whatever it is.
pub(crate) fn url_document(url: &CloudInitUrl, fetch: bool) -> Result<Option<Vec<u8>>, Failure> {
    if !fetch || url.file().is_some() {
        return url_file(url);
    }
    let source = Source { url: url.url.reveal().as_str(), sha256: url.sha256, ca: url.ca.as_deref() };
    let tell = |error: &FetchError, wait: Duration| tracing::info!("{error}; again in {:.1} s", wait.as_secs_f64());
    let fetched = cloud_machine_fetch::fetch(&source, &Limits::of(MAX_DOCUMENT), &Names::System, &tell);
    Ok(Some(fetched.map_err(Failure::during(Kind::Failed, "fetch the document of cloud-init-url"))?.bytes))
}

/// Refuses what the machine would refuse, before anything is made: documents that are none, and what they may not say.
pub(crate) fn check(host: &Merged, url: Option<&CloudInitUrl>, drives: &[Drive]) -> Result<(), Failure> {
    let mut documents = vec![defaults(), of_host(&host.to_layers())?];
    if let Some(url) = url
        && let Some(bytes) = url_file(url)?
    {
        documents.push(parse(LayerKind::CloudInitUrl, &url.shown(), &bytes).map_err(refused)?);
    }
    for drive in drives {
        documents.push(drive.document()?);
    }
    let merged = merge(&documents).map_err(refused)?;
    validate(&merged).and_then(|_| supported(&merged)).map_err(refused)
}

/// The layers of the host as they are kept and handed over.
fn of_host(layers: &[u8]) -> Result<Document, Failure> {
    Document::from_layers(layers).map_err(refused)
}

/// What the host's layers gave when the machine was made.
pub(crate) fn recorded(record: &MachineRecord) -> Result<Merged, Failure> {
    let layers = serde_json::to_vec(&record.layers).map_err(Failure::during(Kind::Failed, "read the layers"))?;
    merge(&[of_host(&layers)?]).map_err(refused)
}
