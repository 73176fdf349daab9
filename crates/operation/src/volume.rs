//! The volume labelled `CLOUD-INIT` of one attempt: documents, request, identity, manifest. Must not write it anywhere.

use cloud_machine_config::Config;
use cloud_machine_image::Manifest;
use cloud_machine_protocol::{Digest, Extent, HostKeySeed, Request, SecretUrl, Secrets, volume};
use cloud_machine_store::MachineRecord;
use cloud_machine_volume::write::{self as volume_image};

use crate::{
    described::Described,
    error::{ErrorKind, OperationError},
};

/// The document on the volume: the host's layers for readers that know no layers.
pub(crate) fn user_data(described: &Described) -> Vec<u8> {
    format!("#cloud-init\n{}", described.merged.without_access().to_yaml()).into_bytes()
}

/// SHA-256 of bytes that the machine is given.
pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    // A volume's pin is made so.
    volume_image::pin(bytes)
}

/// All bytes of the volume.
pub(crate) fn bytes(
    record: &MachineRecord,
    described: &Described,
    request: &Request,
    manifest: &Manifest,
    dirty: Option<&[Extent]>,
    url_document: Option<&[u8]>,
) -> Result<Vec<u8>, OperationError> {
    let encode = |what| OperationError::during(ErrorKind::Failed, format!("encode the {what}"));
    let request = serde_json::to_vec_pretty(request).map_err(encode("request"))?;
    let identity = serde_json::to_vec_pretty(&record.identity).map_err(encode("identity"))?;
    // The volume stays attached while the machine's own system runs.
    let layers = described.merged.without_access().to_layers();
    let meta_data = format!("instance-id: {}\nlocal-hostname: {}\n", record.uuid, record.name);
    let user_data = user_data(described);
    let dirty = dirty.map(serde_json::to_vec).transpose().map_err(encode("dirty map"))?;
    let contents = Contents {
        user_data: &user_data,
        meta_data: meta_data.as_bytes(),
        layers: &layers,
        request: &request,
        identity: &identity,
        manifest: &manifest.to_bytes(),
        dirty: dirty.as_deref(),
        url_document,
    };
    contents.build()
}

/// The files of a volume, each as its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Contents<'a> {
    /// The document for readers that know no layers.
    pub user_data: &'a [u8],
    /// NoCloud's meta-data.
    pub meta_data: &'a [u8],
    /// The host's layers with their origins.
    pub layers: &'a [u8],
    /// The request.
    pub request: &'a [u8],
    /// The identity.
    pub identity: &'a [u8],
    /// Manifest of the image.
    pub manifest: &'a [u8],
    /// The host's map of writes.
    pub dirty: Option<&'a [u8]>,
    /// The document behind a `file:` address.
    pub url_document: Option<&'a [u8]>,
}

impl Contents<'_> {
    /// All bytes of the volume.
    ///
    /// # Errors
    /// Of [`ErrorKind::Failed`] when they do not fit one.
    pub fn build(&self) -> Result<Vec<u8>, OperationError> {
        let mut files = vec![
            (volume::USER_DATA, self.user_data),
            (volume::META_DATA, self.meta_data),
            (volume::LAYERS, self.layers),
            (volume::REQUEST, self.request),
            (volume::IDENTITY, self.identity),
            (volume::MANIFEST, self.manifest),
        ];
        files.extend(self.dirty.map(|dirty| (volume::DIRTY, dirty)));
        files.extend(self.url_document.map(|document| (volume::URL_DOCUMENT, document)));
        volume_image::build(&files).map_err(OperationError::failed)
    }
}

/// What the volume does not hold: the addresses of which it states only the place, and the host key that the machine keeps.
pub(crate) fn secrets(record: &MachineRecord, config: &Config, host_key: Option<HostKeySeed>) -> Secrets {
    let whole = |url: &SecretUrl| url.gives_access().then(|| url.clone());
    Secrets {
        image: record.image.url.as_ref().and_then(|url| whole(&url.url)),
        document: config.cloud_init_url.as_ref().and_then(|url| whole(&url.url)),
        host_key,
    }
}
