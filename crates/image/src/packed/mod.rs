//! The packed image: one zstd frame for each MiB of the raw image, so that plain `zstd -dc` gives it back, and behind
//! them the manifest in frames that zstd skips. Owns the writing; must not judge a disk.

mod footer;
mod frame;
mod leaves;
mod seen;
mod verify;

use std::{
    io::Write,
    sync::{Mutex, PoisonError},
    thread,
};

use crate::{
    AlignedBuffer, Device, FRAME_SIZE, ImageError, LEAF_SIZE, Manifest, Progress, ReadBlocks, SECTOR_SIZE,
    blocks::{self, Meter},
    claim, layout,
    manifest::{Header, MANIFEST_VERSION, ROOT_FILESYSTEM, check_name, check_size, digest_of_entries},
    partition, tree,
};
use seen::Seen;

pub use footer::{read_manifest, read_manifest_unless};
pub(crate) use frame::{FrameReader, check_source};
pub(crate) use leaves::Leaves;
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
    let (partitions, root_partition) = partition::find_partitions(raw, options.root_partition)?;
    // The number of threads does not change a byte of the result: every frame is compressed on its own.
    let threads = thread::available_parallelism().map_or(2, |count| count.get());
    let frames = write_frames(raw, sink, threads, progress)?;
    let entries = frames.seen.entries(threads)?;
    let header = Header {
        version: MANIFEST_VERSION,
        name: options.name.clone(),
        generation: options.generation,
        size: raw.size(),
        leaf_size: LEAF_SIZE,
        frame_size: FRAME_SIZE,
        sector_size: SECTOR_SIZE,
        digest: digest_of_entries(raw.size(), &entries)?,
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

/// A compressed frame and what was seen of its leaves; the value of a whole leaf of zeros is not computed here.
struct Packed {
    leaves: Vec<Option<tree::Value>>,
    bytes: Vec<u8>,
}

/// All frames, written.
#[derive(Default)]
struct Frames {
    seen: Seen,
    lengths: Vec<u32>,
    written: u64,
}

impl Frames {
    fn write(&mut self, sink: &mut dyn Write, bytes: &[u8]) -> Result<(), ImageError> {
        write(sink, bytes, self.written)?;
        self.written += bytes.len() as u64;
        self.lengths.push(bytes.len() as u32);
        Ok(())
    }
}

fn write_frames(
    raw: &dyn ReadBlocks,
    sink: &mut dyn Write,
    threads: usize,
    progress: Progress<'_>,
) -> Result<Frames, ImageError> {
    let meter = Meter::new(raw.size(), progress);
    let zeros = compress(&AlignedBuffer::new(FRAME_SIZE as usize), 0)?;
    let (whole, count) = (raw.size() / FRAME_SIZE, raw.size().div_ceil(FRAME_SIZE));
    let mut frames = Frames::default();
    let mut next = 0;
    while next < count {
        // Nothing is read of a hole, and its frames are all the same.
        let data = (raw.next_data(next * FRAME_SIZE) / FRAME_SIZE).clamp(next, whole.max(next));
        for _ in next..data {
            frames.write(sink, &zeros)?;
        }
        frames.seen.zeros((data - next) * (FRAME_SIZE / LEAF_SIZE));
        meter.add((data - next) * FRAME_SIZE);
        let has_data = |frame: &u64| *frame == whole || raw.next_data(frame * FRAME_SIZE) < (frame + 1) * FRAME_SIZE;
        let batch = data..data + (data..count.min(data + BATCH)).take_while(has_data).count() as u64;
        let slots: Vec<Mutex<Option<Packed>>> = batch.clone().map(|_| Mutex::new(None)).collect();
        claim::each(threads, slots.len() as u64, Vec::new, |buffers, index| {
            let frame = pack_frame(raw, batch.start + index, buffers, &zeros)?;
            *slots[index as usize].lock().unwrap_or_else(PoisonError::into_inner) = Some(frame);
            meter.add(FRAME_SIZE.min(raw.size() - (batch.start + index) * FRAME_SIZE));
            Ok(())
        })?;
        for slot in slots {
            let frame = slot.into_inner().unwrap_or_else(PoisonError::into_inner);
            // Every unit was worked, or `each` had failed; an empty frame would be refused with the manifest.
            let Packed { leaves, bytes } = frame.unwrap_or(Packed { leaves: Vec::new(), bytes: Vec::new() });
            frames.write(sink, &bytes)?;
            for leaf in leaves {
                match leaf {
                    Some(value) => frames.seen.data(value),
                    None => frames.seen.zeros(1),
                }
            }
        }
        next = batch.end;
    }
    Ok(frames)
}

/// `zeros` is the frame of a whole MiB of zeros.
fn pack_frame(
    raw: &dyn ReadBlocks,
    frame: u64,
    buffers: &mut Vec<AlignedBuffer>,
    zeros: &[u8],
) -> Result<Packed, ImageError> {
    if buffers.is_empty() {
        buffers.push(AlignedBuffer::new(FRAME_SIZE as usize));
    }
    let start = frame * FRAME_SIZE;
    let length = FRAME_SIZE.min(raw.size() - start);
    let bytes = &mut buffers[0][..length as usize];
    blocks::read(raw, Device::Raw, bytes, start)?;
    let leaf = |(index, bytes): (usize, &[u8])| {
        // A short last leaf is listed with its value, whatever it holds.
        let zero = bytes.len() as u64 == LEAF_SIZE && layout::is_zero(bytes);
        (!zero).then(|| tree::leaf_value(bytes, start + index as u64 * LEAF_SIZE))
    };
    let leaves: Vec<Option<tree::Value>> = bytes.chunks(LEAF_SIZE as usize).enumerate().map(leaf).collect();
    let is_zero = length == FRAME_SIZE && leaves.iter().all(Option::is_none);
    let bytes = if is_zero { zeros.to_vec() } else { compress(bytes, frame)? };
    Ok(Packed { leaves, bytes })
}

fn compress(bytes: &[u8], frame: u64) -> Result<Vec<u8>, ImageError> {
    zstd::bulk::compress(bytes, LEVEL).map_err(|source| ImageError::Compress { frame, source })
}

fn write(sink: &mut dyn Write, bytes: &[u8], offset: u64) -> Result<(), ImageError> {
    sink.write_all(bytes).map_err(|source| ImageError::Sink { offset, source })
}
