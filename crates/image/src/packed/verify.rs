//! Proves that a packed image gives the image its manifest describes, byte for byte. Keeps nothing of what it has seen;
//! must not write.

use cloud_machine_protocol::Extent;

use super::FrameReader;
use crate::{FRAME_SIZE, ImageError, Manifest, Progress, ReadBlocks, blocks::Meter, claim, goal::Goal};

/// Decompresses every frame and compares all of it with the manifest: data by its digest, zeros by looking. Since a
/// [`Manifest`] stands for its digest, what the frames give has that digest.
///
/// # Errors
/// The first frame that cannot be read or decompressed or that gives other bytes.
pub fn verify_packed(manifest: &Manifest, packed: &dyn ReadBlocks, progress: Progress<'_>) -> Result<(), ImageError> {
    let meter = Meter::new(manifest.size(), progress);
    let reader = || FrameReader::new(manifest, packed);
    claim::each(0, manifest.frame_count(), reader, |reader, frame| {
        let offset = frame * FRAME_SIZE;
        let range = Extent { offset, length: FRAME_SIZE.min(manifest.size() - offset) };
        reader.check(frame, &Goal::image(manifest).pieces(range))?;
        meter.add(range.length);
        Ok(())
    })
}
