//! The packed image: one zstd frame for each MiB of the raw image, so that plain `zstd -dc` gives it back, and behind
//! them the manifest in frames that zstd skips. Owns the writing; must not judge a disk.

mod footer;
mod frame;
mod verify;

use std::{
    io::Write,
    sync::{Mutex, PoisonError},
    thread,
};

use cloud_machine_protocol::{Algorithm, Digest};

use crate::{
    AlignedBuffer, Device, FRAME_SIZE, ImageError, LEAF_SIZE, Manifest, Progress, ReadBlocks, SECTOR_SIZE,
    blocks::{self, Meter},
    claim, layout,
    manifest::{Header, Leaf, MANIFEST_VERSION, ROOT_FILESYSTEM, check_name, check_size, collect},
    partition, tree,
};

pub use footer::{read_manifest, read_manifest_unless};
pub(crate) use frame::{FrameReader, check_source};
pub use verify::verify_packed;

/// What is known about an image beside its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackOptions {
    /// Name of the image, for people.
    pub name: String,
    /// Number that grows with every build of the image.
    pub generation: u64,
    /// `uname -r` of the kernel in the image.
    pub kernel_release: String,
    /// Number of the root partition; `None` to find it by its type.
    pub root_partition: Option<u32>,
}

/// Compression beyond zstd's default costs more time than it saves bytes.
const LEVEL: i32 = 3;
/// Frames that are compressed before they are written: bounds the memory, and keeps every thread busy.
const BATCH: u64 = 32;

/// Packs a raw image. The same image and options give the same bytes.
///
/// # Errors
/// When the image has an impossible size, no readable GPT or no clear root, or when reading or writing fails. What the
/// sink has taken by then is no packed image.
pub fn pack(
    raw: &dyn ReadBlocks,
    sink: &mut dyn Write,
    options: &PackOptions,
    progress: Progress<'_>,
) -> Result<Manifest, ImageError> {
    check_size(raw.size())?;
    check_name("image name", &options.name)?;
    check_name("kernel release", &options.kernel_release)?;
    let partitions = partition::read_table(raw)?;
    let root_partition = partition::find_root(raw, &partitions, options.root_partition)?.number;
    let frames = write_frames(raw, sink, progress)?;
    let entries = collect(&frames.leaves, raw.size())?;
    let header = Header {
        version: MANIFEST_VERSION,
        name: options.name.clone(),
        generation: options.generation,
        size: raw.size(),
        leaf_size: LEAF_SIZE,
        frame_size: FRAME_SIZE,
        sector_size: SECTOR_SIZE,
        digest: digest_of_leaves(&frames.leaves, raw.size())?,
        kernel_release: options.kernel_release.clone(),
        partitions,
        root_partition,
        root_filesystem: ROOT_FILESYSTEM.to_owned(),
    };
    let manifest = Manifest::assemble(header, entries, &frames.lengths)?;
    let tail = footer::tail(&manifest.to_bytes(), frames.written)?;
    write(sink, &tail, frames.written)?;
    sink.flush().map_err(|source| ImageError::Sink { offset: frames.written + tail.len() as u64, source })?;
    Ok(manifest)
}

/// The digest of a raw image from the values of all its leaves.
fn digest_of_leaves(leaves: &[Leaf], size: u64) -> Result<Digest, ImageError> {
    let node = |(index, leaf): (usize, &Leaf)| {
        let offset = index as u64 * LEAF_SIZE;
        let length = LEAF_SIZE.min(size - offset);
        tree::Node { offset, length, value: leaf.value }
    };
    let root = tree::root(size, leaves.iter().enumerate().map(node));
    let root = root.ok_or(ImageError::SizeTooSmall { size })?;
    Ok(Digest::new(Algorithm::Blake3, root))
}

/// A compressed frame and what was seen of its leaves.
struct Packed {
    leaves: Vec<Leaf>,
    bytes: Vec<u8>,
}

/// All frames, written.
struct Frames {
    leaves: Vec<Leaf>,
    lengths: Vec<u32>,
    written: u64,
}

fn write_frames(raw: &dyn ReadBlocks, sink: &mut dyn Write, progress: Progress<'_>) -> Result<Frames, ImageError> {
    // The number of threads does not change a byte of the result: every frame is compressed on its own.
    let threads = thread::available_parallelism().map_or(2, |count| count.get());
    let meter = Meter::new(raw.size(), progress);
    let count = raw.size().div_ceil(FRAME_SIZE);
    let mut frames = Frames { leaves: Vec::new(), lengths: Vec::new(), written: 0 };
    for first in (0..count).step_by(BATCH as usize) {
        let slots: Vec<Mutex<Option<Packed>>> = (first..count.min(first + BATCH)).map(|_| Mutex::new(None)).collect();
        claim::each(threads, slots.len() as u64, Vec::new, |buffers, index| {
            let frame = pack_frame(raw, first + index, buffers, &meter)?;
            *slots[index as usize].lock().unwrap_or_else(PoisonError::into_inner) = Some(frame);
            Ok(())
        })?;
        for slot in slots {
            let frame = slot.into_inner().unwrap_or_else(PoisonError::into_inner);
            // Every unit was worked, or `each` had failed; an empty frame would be refused with the manifest.
            let Packed { leaves, bytes } = frame.unwrap_or(Packed { leaves: Vec::new(), bytes: Vec::new() });
            write(sink, &bytes, frames.written)?;
            frames.written += bytes.len() as u64;
            frames.lengths.push(bytes.len() as u32);
            frames.leaves.extend(leaves);
        }
    }
    Ok(frames)
}

fn pack_frame(
    raw: &dyn ReadBlocks,
    frame: u64,
    buffers: &mut Vec<AlignedBuffer>,
    meter: &Meter<'_>,
) -> Result<Packed, ImageError> {
    if buffers.is_empty() {
        buffers.push(AlignedBuffer::new(FRAME_SIZE as usize));
    }
    let start = frame * FRAME_SIZE;
    let length = FRAME_SIZE.min(raw.size() - start);
    let bytes = &mut buffers[0][..length as usize];
    blocks::read(raw, Device::Raw, bytes, start)?;
    let leaf = |(index, bytes): (usize, &[u8])| Leaf {
        value: tree::leaf_value(bytes, start + index as u64 * LEAF_SIZE),
        zero: layout::is_zero(bytes),
    };
    let leaves = bytes.chunks(LEAF_SIZE as usize).enumerate().map(leaf).collect();
    let packed = zstd::bulk::compress(bytes, LEVEL).map_err(|source| ImageError::Compress { frame, source })?;
    meter.add(length);
    Ok(Packed { leaves, bytes: packed })
}

fn write(sink: &mut dyn Write, bytes: &[u8], offset: u64) -> Result<(), ImageError> {
    sink.write_all(bytes).map_err(|source| ImageError::Sink { offset, source })
}
