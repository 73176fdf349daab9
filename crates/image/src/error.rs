//! Everything that can go wrong with an image or a disk, each as a variant of its own. Must not decide what follows.

use std::{fmt, io};

use cloud_machine_protocol::Digest;

/// What was done to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Bytes were read.
    Read,
    /// Bytes were written.
    Write,
    /// A range was made zero.
    Zero,
    /// A range was discarded.
    Discard,
}

impl fmt::Display for Verb {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Zero => "zero",
            Self::Discard => "discard",
        })
    }
}

/// Which of the devices of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// The disk that is compared, rewritten or wiped.
    Target,
    /// The packed image.
    Packed,
    /// The raw image that is packed.
    Raw,
}

impl fmt::Display for Device {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Target => "target",
            Self::Packed => "packed image",
            Self::Raw => "raw image",
        })
    }
}

/// An error of this crate. All offsets and lengths are bytes.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A raw image that is no whole number of blocks.
    #[error("raw image of {size} bytes is not a multiple of 4096 bytes; `truncate -s %4096` on the file extends it")]
    SizeUnaligned {
        /// Bytes of the image.
        size: u64,
    },
    /// A raw image of at most one leaf; it has no tree.
    #[error(
        "raw image of {size} bytes is too small: it must be larger than 65536 bytes; `truncate -s %4096` extends it to whole blocks, `truncate -s 1M` to more than enough"
    )]
    SizeTooSmall {
        /// Bytes of the image.
        size: u64,
    },
    /// A raw image beyond the format's limit.
    #[error("raw image of {size} bytes is larger than 16 TiB")]
    SizeTooLarge {
        /// Bytes of the image.
        size: u64,
    },
    /// A name or kernel release that could not be shown or used in a path as it is.
    #[error("invalid {what} {found:?}: expected 1 to 128 of A-Z a-z 0-9 . _ + ~ -, not beginning with . or -")]
    NameInvalid {
        /// `image name` or `kernel release`.
        what: &'static str,
        /// The text, shortened.
        found: String,
    },

    /// No partition table where one must be.
    #[error("raw image has no GPT: no header at sector 1")]
    TableAbsent,
    /// Something else where the partition table must be.
    #[error("raw image has no GPT: it has {found}")]
    TableForeign {
        /// What it has.
        found: String,
        /// What makes an image with a GPT of it.
        way_out: &'static str,
    },
    /// A partition table of which a part is missing, or that is not the same in both places.
    #[error("GPT of the raw image is not whole: {reason}")]
    TableBroken {
        /// What is wrong with it.
        reason: String,
        /// What mends it.
        way_out: &'static str,
    },
    /// A partition table that contradicts itself, the image or this crate's limits.
    #[error("GPT of the raw image is invalid: {reason}")]
    TableInvalid {
        /// What is wrong with it.
        reason: String,
    },
    /// The header of the table failed its check.
    #[error("cannot read GPT header of the raw image")]
    TableHeader {
        /// What the reader said.
        #[source]
        source: gpt::header::HeaderError,
    },
    /// The entries of the table failed their check.
    #[error("cannot read GPT entries of the raw image")]
    TableEntries {
        /// What the reader said.
        #[source]
        source: io::Error,
    },
    /// The image's partitions cannot be described on this disk.
    #[error("no partition table of the image is possible on the target: {reason}")]
    TableImpossible {
        /// Why not.
        reason: String,
    },
    /// The table for a disk could not be put together.
    #[error("cannot compute the partition table for the target")]
    TableComputed {
        /// What the writer said.
        #[source]
        source: io::Error,
    },
    /// A table for a data disk that is none, or not of this disk.
    #[error("the partition table cannot be written: {reason}")]
    TableUnfit {
        /// Why not.
        reason: String,
    },
    /// The disk gave back another table than the one that was written.
    #[error("read back other bytes of the partition table at byte {offset} with {length} bytes")]
    TableDiffers {
        /// First byte of the range.
        offset: u64,
        /// Bytes of the range.
        length: u64,
    },
    /// None or several partitions could be the root, or the one asked for does not exist.
    #[error("{reason}; partitions: {partitions}")]
    RootUnclear {
        /// What was looked for.
        reason: String,
        /// All partitions with number, type and name.
        partitions: String,
    },
    /// The root partition holds no filesystem that the agent can mount.
    #[error("partition {partition} holds no ext4 filesystem: bytes {found:02x?} instead of [53, ef] at 1080")]
    FilesystemUnknown {
        /// Number of the partition.
        partition: u32,
        /// The two bytes where ext4 has its magic number.
        found: [u8; 2],
    },

    /// Bytes that are no manifest at all.
    #[error("not an image manifest: it does not begin with its magic number")]
    ManifestForeign,
    /// Fewer or more bytes than the manifest states.
    #[error("image manifest has {found} bytes instead of {expected}: it is truncated or damaged")]
    ManifestLength {
        /// Bytes that it should have.
        expected: u64,
        /// Bytes that it has.
        found: u64,
    },
    /// A manifest with a damaged byte.
    #[error("image manifest is damaged: its checksum does not match")]
    ManifestChecksum,
    /// A manifest that another version of this program wrote.
    #[error("image manifest has version {found}, this program knows version {supported}")]
    ManifestVersion {
        /// Version of the manifest.
        found: u32,
        /// Version that is understood.
        supported: u32,
    },
    /// The JSON header of the manifest cannot be parsed.
    #[error("cannot parse the header of the image manifest")]
    ManifestHeader {
        /// What the parser said.
        #[source]
        source: serde_json::Error,
    },
    /// The manifest contradicts itself.
    #[error("image manifest is invalid: {reason}")]
    ManifestInvalid {
        /// What is wrong with it.
        reason: String,
    },
    /// The tree of the manifest is not that of its digest.
    #[error("image manifest states digest {stated}, but its values give {computed}")]
    ManifestRoot {
        /// Digest in the header.
        stated: Digest,
        /// Digest of the values.
        computed: Digest,
    },

    /// A run that the manifest calls zero and that is not, since zeros there have another value.
    #[error("image manifest calls {length} bytes at byte {offset} zero, but states the digest of other bytes for them")]
    ManifestZeros {
        /// First byte of the run in the image.
        offset: u64,
        /// Bytes.
        length: u64,
    },
    /// A manifest that describes other partitions than the table in its image.
    #[error("image manifest is not about its image: {reason}")]
    ManifestPartitions {
        /// What differs.
        reason: String,
    },

    /// A file without the footer and without a compressed frame at its start.
    #[error("not a packed image: it neither begins with a zstd frame nor ends with the footer")]
    PackedForeign,
    /// A file that begins as a packed image and lacks its end.
    #[error("packed image is truncated: after {size} bytes it has no footer")]
    PackedTruncated {
        /// Bytes that are there.
        size: u64,
    },
    /// A footer that does not describe the file it is in.
    #[error("footer of the packed image is invalid: {reason}")]
    PackedFooter {
        /// What is wrong with it.
        reason: String,
    },
    /// The manifest in a packed image is not the one that the footer is about.
    #[error("manifest in the packed image is corrupt: its digest is not the one in the footer")]
    PackedManifest,
    /// The packed image ends before the frames that its manifest lists.
    #[error("packed image has {found} bytes, but its frames need {expected}: it is truncated")]
    SourceTruncated {
        /// Bytes of all frames.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// A frame that does not decompress.
    #[error("cannot decompress frame {frame} at byte {offset} of the packed image")]
    FrameUndecodable {
        /// Number of the frame, from 0.
        frame: u64,
        /// Its first byte in the packed image.
        offset: u64,
        /// What the decompressor said.
        #[source]
        source: io::Error,
    },
    /// A frame that states another size of its content, or none.
    #[error(
        "frame {frame} at byte {offset} of the packed image states {} instead of {expected} bytes of content",
        stated.map_or_else(|| "nothing".to_owned(), |stated| stated.to_string())
    )]
    FrameStates {
        /// Number of the frame, from 0.
        frame: u64,
        /// Its first byte in the packed image.
        offset: u64,
        /// Bytes that it should state.
        expected: u64,
        /// Bytes that it states.
        stated: Option<u64>,
    },
    /// A frame that ends before the place that the manifest says.
    #[error("frame {frame} at byte {offset} of the packed image ends after {found} of its {length} bytes")]
    FrameEnds {
        /// Number of the frame, from 0.
        frame: u64,
        /// Its first byte in the packed image.
        offset: u64,
        /// Bytes of it by the manifest.
        length: u64,
        /// Bytes of it by itself.
        found: u64,
    },
    /// A frame that decompresses to fewer bytes than it should.
    #[error("frame {frame} at byte {offset} of the packed image gives {found} bytes instead of {expected}")]
    FrameLength {
        /// Number of the frame, from 0.
        frame: u64,
        /// Its first byte in the packed image.
        offset: u64,
        /// Bytes that it should give.
        expected: u64,
        /// Bytes that it gives.
        found: u64,
    },
    /// A frame that decompresses to other bytes than the manifest describes.
    #[error(
        "frame {frame} at byte {offset} of the packed image is corrupt: byte {leaf} of the image has another digest"
    )]
    FrameDigest {
        /// Number of the frame, from 0.
        frame: u64,
        /// Its first byte in the packed image.
        offset: u64,
        /// First byte of the leaf in the raw image.
        leaf: u64,
    },

    /// A read, write or zeroing that failed.
    #[error("cannot {verb} {length} bytes at byte {offset} of the {device}")]
    Io {
        /// What was done.
        verb: Verb,
        /// To what.
        device: Device,
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
        /// What the device said.
        #[source]
        source: io::Error,
    },
    /// A flush that failed.
    #[error("cannot flush the target")]
    Flush {
        /// What the device said.
        #[source]
        source: io::Error,
    },
    /// The writer of a packed image failed.
    #[error("cannot write the packed image after {offset} bytes")]
    Sink {
        /// Bytes written before.
        offset: u64,
        /// What the writer said.
        #[source]
        source: io::Error,
    },
    /// Compression failed.
    #[error("cannot compress frame {frame}")]
    Compress {
        /// Number of the frame, from 0.
        frame: u64,
        /// What the compressor said.
        #[source]
        source: io::Error,
    },
    /// A thread could not be started.
    #[error("cannot start a thread")]
    Threads {
        /// What the system said.
        #[source]
        source: io::Error,
    },

    /// A disk that cannot hold the image.
    #[error("target of {target} bytes is smaller than the image of {image} bytes")]
    TargetTooSmall {
        /// Bytes of the image.
        image: u64,
        /// Bytes of the disk.
        target: u64,
    },
    /// A disk that should be the image and is not.
    #[error("it differs from the image in {count} ranges with {bytes} bytes, the first at byte {first}")]
    Differs {
        /// How many ranges.
        count: usize,
        /// Their bytes.
        bytes: u64,
        /// First byte of the first.
        first: u64,
    },
    /// A disk that is no whole number of sectors.
    #[error("target of {size} bytes is not a multiple of 512 bytes")]
    TargetUnaligned {
        /// Bytes of the disk.
        size: u64,
    },
    /// A range to wipe that does not lie on the disk, or not on sectors.
    #[error("range of {length} bytes at byte {offset} is not made of sectors of a target of {size} bytes")]
    RangeInvalid {
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
        /// Bytes of the disk.
        size: u64,
    },
    /// The disk took a write and gives other bytes back.
    #[error("target does not hold what was written: {length} bytes at byte {offset} read back differently")]
    ReadBack {
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
    },
    /// Not every byte was seen to be right, although no step failed: a fault of this program.
    #[error("only {seen} of {expected} bytes were verified")]
    Unverified {
        /// Bytes that were seen to be right.
        seen: u64,
        /// Bytes that had to be.
        expected: u64,
    },
}

impl ImageError {
    /// What mends it, where something does.
    #[must_use]
    pub fn way_out(&self) -> Option<&'static str> {
        match self {
            Self::TableForeign { way_out, .. } | Self::TableBroken { way_out, .. } => Some(way_out),
            _ => None,
        }
    }
}
