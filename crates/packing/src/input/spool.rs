//! From a stream, compressed or not, to a sparse temporary file, with bounds on memory and size. Must not know where
//! the stream comes from.

use std::{
    cell::Cell,
    fs::File,
    io::{self, BufRead, BufReader, Cursor, Read},
    os::unix::fs::FileExt,
    path::Path,
};

use super::{Format, InputError, Phase, Progress, gzip, temporary::temporary, window};

/// Bytes that are read at once; a whole piece of zeros becomes a hole.
const PIECE: usize = 64 << 10;

/// Bounds of one stream.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most bytes of the raw image.
    pub max_size: u64,
    /// Bytes of the stream; 0 when nobody knows.
    pub total: u64,
}

/// Writes all that `input` holds, decompressed, to a temporary file in `folder`.
pub(super) fn spool(
    folder: &Path,
    format: Format,
    input: impl Read,
    name: &str,
    limits: Limits,
    progress: Progress<'_>,
) -> Result<File, InputError> {
    let phase = match format {
        Format::Raw | Format::Qcow2 => Phase::Spool,
        Format::Zstd | Format::Gzip | Format::Xz => Phase::Decompress,
    };
    let taken = Cell::new(0);
    let mut counted = BufReader::with_capacity(PIECE, Counted { input, taken: &taken });
    let mut head = [0; window::HEAD];
    let begun = fill(&mut counted, &mut head).map_err(|source| InputError::Read { name: name.to_owned(), source })?;
    let head = head.get(..begun).unwrap_or_default();
    let failed = |decompressed, source| match (phase, window::beyond(format, head, &source)) {
        (Phase::Spool, _) => InputError::Read { name: name.to_owned(), source },
        (_, Some(beyond)) => {
            InputError::Window { name: name.to_owned(), format, window: beyond.window, limit: beyond.limit }
        }
        (_, None) => InputError::Decompress { name: name.to_owned(), format, decompressed, source },
    };
    let counted = Cursor::new(head).chain(counted);
    let mut decoded = decoder(format, counted).map_err(|source| failed(0, source))?;
    let file = temporary(folder)?;
    let mut sparse = Sparse { file: &file, name, size: 0, written: 0 };
    let mut piece = vec![0; PIECE];
    loop {
        let count = fill(&mut *decoded, &mut piece).map_err(|source| failed(sparse.size, source))?;
        if count == 0 {
            break;
        }
        if sparse.size + count as u64 > limits.max_size {
            return Err(InputError::TooLarge { name: name.to_owned(), max: limits.max_size });
        }
        sparse.push(piece.get(..count).unwrap_or_default())?;
        progress(phase, taken.get(), limits.total);
    }
    sparse.end()?;
    drop(decoded);
    Ok(file)
}

/// The bytes behind `input`. Members and frames that follow each other are one stream; what follows and is none is an
/// error.
fn decoder<'a>(format: Format, input: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match format {
        Format::Raw | Format::Qcow2 => Box::new(input),
        // Its own limit on the window, 128 MiB, is that of `zstd -d`.
        Format::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(input)?),
        Format::Gzip => Box::new(gzip::Members::new(input)),
        Format::Xz => {
            use liblzma::stream::{CONCATENATED, Stream};
            let stream = Stream::new_stream_decoder(window::XZ_MEMORY, CONCATENATED)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(input, stream))
        }
    })
}

/// Reads until `piece` is full or the input ends.
fn fill(input: &mut dyn Read, piece: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    while let Some(rest) = piece.get_mut(count..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

/// A reader that counts.
struct Counted<'a, R> {
    input: R,
    taken: &'a Cell<u64>,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.taken.set(self.taken.get() + count as u64);
        Ok(count)
    }
}

/// A file that grows, with holes for zeros.
struct Sparse<'a> {
    file: &'a File,
    name: &'a str,
    size: u64,
    written: u64,
}

impl Sparse<'_> {
    fn push(&mut self, piece: &[u8]) -> Result<(), InputError> {
        if piece.iter().any(|byte| *byte != 0) {
            self.file.write_all_at(piece, self.size).map_err(|source| self.error(source))?;
            self.written += piece.len() as u64;
        }
        self.size += piece.len() as u64;
        Ok(())
    }

    fn end(&self) -> Result<(), InputError> {
        self.file.set_len(self.size).map_err(|source| self.error(source))
    }

    fn error(&self, source: io::Error) -> InputError {
        InputError::Write { name: self.name.to_owned(), written: self.written, source }
    }
}
