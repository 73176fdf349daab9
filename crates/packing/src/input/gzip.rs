//! gzip members one behind the other, and zeros behind the last, as gzip(1) takes them. Must not take anything else there.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

/// Most zeros behind the last member: more than any block of a tape or a copying program.
const MAX_PADDING: u64 = 64 << 20;

/// The content of all members.
pub(super) struct Members<R> {
    current: Option<GzDecoder<R>>,
}

impl<R: BufRead> Members<R> {
    pub(super) fn new(input: R) -> Self {
        Self { current: Some(GzDecoder::new(input)) }
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.current {
            let count = member.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            if let Some(ended) = self.current.take() {
                let mut input = ended.into_inner();
                if another_follows(&mut input)? {
                    self.current = Some(GzDecoder::new(input));
                }
            }
        }
        Ok(0)
    }
}

/// Whether a member follows; zeros up to the end are read.
fn another_follows(input: &mut impl BufRead) -> io::Result<bool> {
    let mut zeros = 0;
    loop {
        let ahead = match input.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            ahead => ahead?,
        };
        let count = ahead.iter().take_while(|byte| **byte == 0).count();
        match (ahead.is_empty(), count, zeros) {
            (true, ..) => return Ok(false),
            (false, 0, 0) => return Ok(true),
            (false, 0, _) => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "something follows its zero padding"));
            }
            _ => {}
        }
        input.consume(count);
        zeros += count as u64;
        if zeros > MAX_PADDING {
            let text = format!("more than {MAX_PADDING} zeros follow it");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
    }
}
