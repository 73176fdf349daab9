//! Proves that a packed image gives the image its manifest describes, byte for byte. Trusts no value of the manifest
//! but the digest; must not write.

use std::sync::{Mutex, PoisonError};

use cloud_machine_protocol::Extent;

use super::{FrameReader, digest_of_leaves};
use crate::{
    FRAME_SIZE, ImageError, LEAF_SIZE, Manifest, Progress, ReadBlocks, blocks::Meter, claim, goal::Goal,
    manifest::Leaf, tree,
};

/// Decompresses every frame and compares all of it with the manifest.
///
/// A rewrite takes the manifest's word for the values of zero runs; here they are computed from the bytes too, so an
/// image should pass this once before it is used.
///
/// # Errors
/// The first frame that cannot be read or decompressed or that gives other bytes, or that the whole has another digest.
pub fn verify_packed(manifest: &Manifest, packed: &dyn ReadBlocks, progress: Progress<'_>) -> Result<(), ImageError> {
    let meter = Meter::new(manifest.size(), progress);
    let count = manifest.size().div_ceil(LEAF_SIZE) as usize;
    let unknown = Leaf {
        value: [0; 32],
        #[cfg(test)]
        zero: false,
    };
    let leaves = Mutex::new(vec![unknown; count]);
    let reader = || FrameReader::new(manifest, packed);
    claim::each(0, manifest.frame_count(), reader, |reader, frame| {
        let offset = frame * FRAME_SIZE;
        let range = Extent { offset, length: FRAME_SIZE.min(manifest.size() - offset) };
        let raw = reader.check(frame, &Goal::image(manifest).pieces(range))?;
        let value = |(index, bytes): (usize, &[u8])| tree::leaf_value(bytes, offset + index as u64 * LEAF_SIZE);
        let values: Vec<tree::Value> = raw.chunks(LEAF_SIZE as usize).enumerate().map(value).collect();
        let mut leaves = leaves.lock().unwrap_or_else(PoisonError::into_inner);
        for (leaf, value) in leaves[(offset / LEAF_SIZE) as usize..].iter_mut().zip(values) {
            leaf.value = value;
        }
        drop(leaves);
        meter.add(range.length);
        Ok(())
    })?;
    let leaves = leaves.into_inner().unwrap_or_else(PoisonError::into_inner);
    let found = digest_of_leaves(&leaves, manifest.size())?;
    if found != manifest.digest() {
        return Err(ImageError::PackedRoot { expected: manifest.digest(), found });
    }
    Ok(())
}
