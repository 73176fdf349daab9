//! The partition table that lies in a packed image, held against the list in its manifest: a digest is about the table, and
//! the list is only beside it. Must not believe a field of the table before it was bounded.

use cloud_machine_protocol::Extent;

use crate::{
    ImageError, LEAF_SIZE, Manifest, ReadBlocks,
    packed::{FrameReader, Leaves},
    partition::{self, Partition},
    sparse::Sparse,
};

/// [`check`] for a packed file.
pub(crate) fn check_packed(manifest: &Manifest, packed: &dyn ReadBlocks) -> Result<(), ImageError> {
    check(&mut Leaves { manifest, frames: FrameReader::new(manifest, packed) })
}

/// Checks the header of the table, which whoever made the image could choose, and that its partitions are those of the
/// manifest.
pub(crate) fn check(image: &mut Leaves<'_>) -> Result<(), ImageError> {
    let size = image.manifest.size();
    let entries = partition::check_header(&image.read(0)?, size)?;
    let mut table = Sparse::new(size, Vec::new());
    for range in [Extent { offset: 0, length: LEAF_SIZE }, entries] {
        table.touch(image, range)?;
    }
    let (_, entries) = partition::parse_table(table)?;
    let found: Vec<Partition> = partition::partitions(&entries)?;
    match difference(image.manifest.partitions(), &found) {
        Some(reason) => Err(ImageError::ManifestPartitions { reason }),
        None => Ok(()),
    }
}

fn difference(listed: &[Partition], found: &[Partition]) -> Option<String> {
    if let Some((_, found)) = listed.iter().zip(found).find(|(listed, found)| listed != found) {
        return Some(format!("partition {} is not as the image's own table has it", found.number));
    }
    let [listed, found] = [listed.len(), found.len()];
    (listed != found).then(|| format!("it lists {listed} partitions, the image's own table has {found}"))
}
