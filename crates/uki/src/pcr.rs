//! A register of a TPM: what it holds follows from all events since its reset, in their order (TPM 2.0 Library, part 1, 17.3). Must not
//! know whose events they are.

use sha2::{Digest, digest::Output};

/// A register of a TPM, of one bank.
#[derive(Clone)]
pub(crate) struct Pcr<D: Digest>(Output<D>);

impl<D: Digest> Pcr<D> {
    /// One that was reset, after `events`.
    pub(crate) fn after(events: &[&[u8]]) -> Self {
        events.iter().fold(Self(Output::<D>::default()), |pcr, event| pcr.extended(event))
    }

    pub(crate) fn extended_by(self, digest: Output<D>) -> Self {
        Self(D::new().chain_update(&self.0).chain_update(digest).finalize())
    }

    pub(crate) fn extended(self, event: &[u8]) -> Self {
        self.extended_by(D::digest(event))
    }

    pub(crate) fn text(self) -> String {
        hexadecimal(&self.0)
    }
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
