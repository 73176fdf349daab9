//! Putting a request into a recovery partition, and taking it out again, while the machine's own system runs: only the partition is
//! written, and the request counts from the last write on. Must not know where the bytes come from.

use std::io::{self, BufRead};

use cloud_machine_image::{LEAF_SIZE, ReadBlocks, WriteBlocks};

use crate::{Control, Head, RecoveryError, RecoveryPartition, Starts, State, UNIT, blocks::write};

/// Bytes that the first line of a stream may have.
const MAX_LINE: u64 = UNIT / 2;

/// A recovery partition whose device is open, seen as the part of its disk that it is.
pub struct OpenPartition<'a> {
    /// The device of the partition alone: the disk's is in use by the system that runs.
    pub device: &'a dyn WriteBlocks,
    /// Where it lies.
    pub partition: RecoveryPartition,
    /// Bytes of its disk.
    pub disk_size: u64,
}

impl OpenPartition<'_> {
    /// Puts the request of a stream here: one line with a [`Control`] as JSON, then the bytes of the boot files, of the volume and of
    /// the image, in that order and without anything between them. Each is read back; the control is written last.
    ///
    /// # Errors
    /// [`RecoveryError::Refused`] for a stream that is no such request and where another one is under way, and those of the disk.
    /// No request is staged then.
    pub fn stage(&self, stream: &mut dyn BufRead) -> Result<Control, RecoveryError> {
        let mut control = self.asked(stream)?;
        let before = match Control::read(self, self.partition) {
            // What nobody understands counts for nobody.
            Err(RecoveryError::Control { .. } | RecoveryError::Place { .. } | RecoveryError::Moved { .. }) => None,
            other => other?,
        };
        control.used = before.as_ref().map(Control::used_with_own).unwrap_or_default();
        match before {
            Some(Control { state: State::Done | State::Failed, .. }) | None => {}
            Some(Control { state: State::Staged, .. }) => {
                return Err(refused("another one is staged: cancel that first"));
            }
            Some(_) => {
                return Err(refused("another one is under way: cancel that first, where nothing goes on with it"));
            }
        }
        if control.used.contains(&control.token) {
            return Err(refused("its token is used"));
        }
        for area in [control.boot, control.volume, control.image] {
            self.copy(stream, self.partition.offset + area.offset, area.length)?;
        }
        let rest = stream.fill_buf().map_err(unreadable)?;
        if !rest.is_empty() {
            return Err(refused("more follows behind its image"));
        }
        self.partition.count_starts_anew(self, false)?;
        control.state = State::Staged;
        control.write_over(self, self.partition)?;
        Ok(control)
    }

    /// Takes the request with this token away, and leaves zeros. Its token is used. `head` is the boot head of the disk: a request that
    /// is under way is taken away only where that starts the machine's own system and no agent of that goes on with it; one whose
    /// disk is written, report included, is done then.
    ///
    /// # Errors
    /// [`RecoveryError::Refused`] when none with this token waits or the recovery partition is started next, and those of the disk.
    pub fn cancel(&self, token: &str, head: &Head) -> Result<(), RecoveryError> {
        let mut control = match Control::read(self, self.partition)? {
            Some(control) if !control.state.is_over() && control.token == token => control,
            _ => return Err(refused("none with this token waits")),
        };
        if control.state != State::Staged && head.starts_recovery(control.boot_code()?.as_ref())? {
            return Err(self.goes_on(control.state)?);
        }
        match control.state {
            State::Reported => control.finish(),
            State::Begun => {
                control.give_up("it was cancelled, and a system of somebody else's is on the disk".to_owned())
            }
            _ => control.give_up("it was cancelled".to_owned()),
        }
        // From here on it counts no longer, whatever of its files is still there.
        control.write(self, self.partition)?;
        control.write_last(self, self.partition)
    }

    /// Why a request is not taken away whose partition the boot head starts.
    fn goes_on(&self, state: State) -> Result<RecoveryError, RecoveryError> {
        let count = match (state, self.partition.starts(self)?) {
            (State::Armed, Some(Starts { count, begun: false })) if count > 0 => count,
            _ => return Ok(refused("the next start of the machine goes on with it")),
        };
        let kept = self.partition.head_at() - self.partition.offset;
        Ok(refused(&format!(
            "the recovery partition was started {count} times and its agent did not come up, and the boot head is its still: the agent of this \
             system puts the one of before back at its start, and says why where it cannot. Then the {LEAF_SIZE} bytes at byte {kept} of the \
             recovery partition have to be copied to byte 0 of the disk, before this is called again"
        )))
    }

    fn asked(&self, stream: &mut dyn BufRead) -> Result<Control, RecoveryError> {
        let mut line = Vec::new();
        io::Read::take(&mut *stream, MAX_LINE).read_until(b'\n', &mut line).map_err(unreadable)?;
        if line.last() != Some(&b'\n') {
            return Err(refused("its first line does not end"));
        }
        let control: Control =
            serde_json::from_slice(&line).map_err(|error| RecoveryError::Refused { reason: error.to_string() })?;
        control.check(self.partition)?;
        let Control { boot, volume, image, .. } = &control;
        let ends = [boot, volume, image].map(|area| (area.offset, area.offset + area.length));
        let apart = ends.windows(2).all(|two| two[0].1 <= two[1].0) && ends.iter().all(|(start, end)| start < end);
        let digits = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !apart {
            return Err(refused("its files are empty, overlap, or are not in their order"));
        }
        if control.disk_size != self.disk_size {
            return Err(refused(&format!(
                "it is for a disk of {} bytes, and this has {}",
                control.disk_size, self.disk_size
            )));
        }
        if control.state != State::Staged || control.attempts != 0 || !digits(&control.token) {
            return Err(refused("it does not look like a new one with a token of 64 hexadecimal digits"));
        }
        control.boot_code()?;
        Ok(control)
    }

    fn copy(&self, stream: &mut dyn BufRead, offset: u64, length: u64) -> Result<(), RecoveryError> {
        let mut done = 0;
        while done < length {
            let count = (length - done).min(UNIT);
            let mut piece = vec![0; usize::try_from(count).unwrap_or_default()];
            stream.read_exact(&mut piece).map_err(unreadable)?;
            piece.resize(piece.len().next_multiple_of(cloud_machine_image::ALIGNMENT as usize), 0);
            write(self, offset + done, &piece)?;
            done += count;
        }
        Ok(())
    }

    fn inside(&self, offset: u64, length: usize) -> io::Result<u64> {
        let start = offset.checked_sub(self.partition.offset);
        let fits = |start: &u64| start.checked_add(length as u64).is_some_and(|end| end <= self.partition.length);
        start.filter(fits).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

fn refused(reason: &str) -> RecoveryError {
    RecoveryError::Refused { reason: reason.to_owned() }
}

fn unreadable(source: io::Error) -> RecoveryError {
    match source.kind() {
        io::ErrorKind::UnexpectedEof => refused("it is cut off"),
        _ => RecoveryError::Stream { source },
    }
}

impl ReadBlocks for OpenPartition<'_> {
    fn size(&self) -> u64 {
        self.disk_size
    }

    fn sector_size(&self) -> u64 {
        self.device.sector_size()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.device.read_at(buffer, self.inside(offset, buffer.len())?)
    }
}

impl WriteBlocks for OpenPartition<'_> {
    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<()> {
        self.device.write_at(buffer, self.inside(offset, buffer.len())?)
    }

    fn zero(&self, offset: u64, length: u64) -> io::Result<()> {
        self.device.zero(self.inside(offset, usize::try_from(length).unwrap_or(usize::MAX))?, length)
    }

    fn flush(&self) -> io::Result<()> {
        self.device.flush()
    }
}
