//! Names on the volume labelled `CLOUD-INIT`, and of its pin on the kernel command line. Must not read a volume.

/// Label of the volume, compared without case.
pub const LABEL: &str = "CLOUD-INIT";
/// Largest volume, in bytes.
pub const MAX_SIZE: u64 = 64 << 20;
/// Largest single file on it, in bytes.
pub const MAX_FILE: u64 = 16 << 20;
/// Most files on it.
pub const MAX_FILES: usize = 256;
/// Argument of the kernel command line that carries the SHA-256 of the whole volume.
pub const PIN_ARGUMENT: &str = "cloudmachine.pin";
/// The configuration document.
pub const USER_DATA: &str = "user-data";
/// NoCloud's meta-data.
pub const META_DATA: &str = "meta-data";
/// The merged values of the host's layers with their origins.
pub const LAYERS: &str = "cloud-machine/layers.json";
/// The document behind a `file:` address, which names a file of the host.
pub const URL_DOCUMENT: &str = "cloud-machine/cloud-init-url";
/// The request.
pub const REQUEST: &str = "cloud-machine/request.json";
/// The identity.
pub const IDENTITY: &str = "cloud-machine/identity/identity.json";
/// Ranges of the system disk that the host's own map calls dirty, for [`crate::Tier::Hinted`]: a JSON list of
/// [`crate::Extent`].
pub const DIRTY: &str = "cloud-machine/dirty.json";
/// Manifest of the image of the system disk.
pub const MANIFEST: &str = "cloud-machine/image.manifest";
