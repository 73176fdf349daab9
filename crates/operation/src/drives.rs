//! Drives: volumes labelled `CLOUD-INIT` that an operator attaches to a machine, and what of them counts. Must not attach one.

use std::path::Path;

use cloud_machine_config::{CloudInitUrl, Document, LayerKind, Merged, defaults, merge, parse, unread, validate};
use cloud_machine_protocol::{
    Digest,
    volume::{LABEL, MAX_SIZE, USER_DATA},
};
use cloud_machine_volume::{Volume, write::pin};

use crate::{
    described::{host_layers, refusal, refused},
    documents,
    error::{ErrorKind, OperationError},
    hint::Hint,
    url_document::url_file,
};

/// A volume that is given to a machine.
pub struct Drive {
    /// The file that it was read from.
    pub source: String,
    /// All its bytes.
    pub bytes: Vec<u8>,
    /// What on it nobody reads, for people.
    pub unread: Vec<String>,
    user_data: Vec<u8>,
}

impl Drive {
    /// Reads a volume labelled `CLOUD-INIT` with a document on it.
    pub fn read(path: &Path) -> Result<Self, OperationError> {
        let bytes = documents::read_up_to(path, MAX_SIZE)?;
        let source = path.display().to_string();
        let (user_data, unread) = content(&source, &bytes)?;
        Ok(Self { source, bytes, unread, user_data })
    }

    /// SHA-256 of all bytes.
    pub fn digest(&self) -> Digest {
        pin(&self.bytes)
    }

    /// Its document, as one that nobody vouches for.
    pub fn document(&self) -> Result<Document, OperationError> {
        parse(LayerKind::Volume, &format!("{}/{USER_DATA}", self.source), &self.user_data).map_err(refused)
    }
}

/// The document on a volume, and what else on it states something.
fn content(source: &str, bytes: &[u8]) -> Result<(Vec<u8>, Vec<String>), OperationError> {
    let failed = |error| OperationError::during(ErrorKind::Failed, format!("read the volume {source}"))(error);
    let volume = Volume::open(bytes).map_err(failed)?;
    let label = volume.label();
    if !label.eq_ignore_ascii_case(LABEL) {
        return Err(refusal(&format!("volume {source} is labelled {label:?}, not {LABEL}")).hint(Hint::BuildVolume));
    }
    let user_data = volume.read(USER_DATA).map_err(failed)?;
    Ok((user_data, unread_of(&volume).into_iter().map(|remark| format!("{source}: {remark}")).collect()))
}

/// What lies on a drive beside its document, and nobody reads.
pub fn unread_of(volume: &Volume<&[u8]>) -> Vec<String> {
    let files = match volume.list() {
        Ok(files) => files,
        Err(error) => return vec![format!("whether more than user-data is on it is unknown: {error}")],
    };
    let others = files.iter().map(|(path, _)| path).filter(|path| *path != USER_DATA);
    // What cannot be read states something as well.
    others.filter_map(|path| unread(path, &volume.read(path).unwrap_or_else(|_| b"?".to_vec()))).collect()
}

/// Refuses what the machine would refuse, before anything is made: documents that are none, and what they may not say.
pub(crate) fn check(host: &Merged, url: Option<&CloudInitUrl>, drives: &[Drive]) -> Result<(), OperationError> {
    let mut documents = vec![defaults(), host_layers(&host.to_layers())?];
    if let Some(url) = url
        && let Some(bytes) = url_file(url)?
    {
        documents.push(parse(LayerKind::CloudInitUrl, &url.redacted(), &bytes).map_err(refused)?);
    }
    for drive in drives {
        documents.push(drive.document()?);
    }
    let merged = merge(&documents).map_err(refused)?;
    validate(&merged).map(drop).map_err(refused)
}
