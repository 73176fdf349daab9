//! A manifest as somebody else wrote it. Owns the one step that makes it a manifest that stands for its digest; must not
//! let anything be done by it before.

use cloud_machine_protocol::{Algorithm, Digest};

use super::{Manifest, binary, zeros};
use crate::{ImageError, Progress};

/// A manifest whose parts agree with each other. What it calls zero is only called so: a data leaf that is called zero
/// and keeps its value leaves the digest as it was, and a disk that is made by it gets zeros there. So nothing takes
/// this but what makes a [`Manifest`] of it.
#[derive(Clone, Debug)]
pub struct ClaimedManifest {
    manifest: Manifest,
    fingerprint: Digest,
}

impl ClaimedManifest {
    /// Reads the bytes of a manifest. Safe on hostile ones: what it allocates is bounded by their number.
    ///
    /// # Errors
    /// A `Manifest…` variant of [`ImageError`] for each way in which the bytes are none.
    pub fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        let manifest = binary::parse(bytes)?;
        Ok(Self { manifest, fingerprint: fingerprint(bytes) })
    }

    /// Bytes of all compressed frames, as the manifest has them.
    pub(crate) fn packed_bytes(&self) -> u64 {
        self.manifest.packed_bytes()
    }

    /// Hashes as many zeros as the manifest speaks of, on all processors, and compares the values.
    ///
    /// # Errors
    /// [`ImageError::ManifestZeros`] for a run whose value is not that of zeros; [`ImageError::Threads`].
    pub fn prove(self, progress: Progress<'_>) -> Result<Manifest, ImageError> {
        zeros::prove(self.manifest.entries(), self.manifest.size(), progress)?;
        Ok(self.manifest)
    }

    /// [`ClaimedManifest::prove`], unless exactly these bytes were proved before: `proved` is what
    /// [`Manifest::fingerprint`] gave then, kept where only whoever may be trusted writes.
    ///
    /// # Errors
    /// As [`ClaimedManifest::prove`].
    pub fn prove_unless(self, proved: Option<Digest>, progress: Progress<'_>) -> Result<Manifest, ImageError> {
        if proved == Some(self.fingerprint) { Ok(self.manifest) } else { self.prove(progress) }
    }

    /// The manifest, for a reader that has these bytes from somebody who proved them and whom it believes in the digest,
    /// too: an agent has them from the host's pinned volume, and the host makes a volume of a [`Manifest`] only.
    #[must_use]
    pub fn vouched_for(self) -> Manifest {
        self.manifest
    }
}

/// BLAKE3 of the bytes of a manifest.
fn fingerprint(bytes: &[u8]) -> Digest {
    Digest::new(Algorithm::Blake3, *blake3::hash(bytes).as_bytes())
}

impl Manifest {
    /// What [`ClaimedManifest::prove_unless`] knows the bytes of this manifest by: their BLAKE3.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        fingerprint(&self.to_bytes())
    }
}
