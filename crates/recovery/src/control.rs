//! What is staged in a recovery partition, and how far it has come. Two places take turns, so that a cut leaves the one or the other.
//! Must not decide what is done with it.

use cloud_machine_image::{ALIGNMENT, ReadBlocks, WriteBlocks, wipe};
use cloud_machine_protocol::{Digest, Extent, Nonce, Secrets};
use serde::{Deserialize, Serialize};

use crate::{
    BOOT_CODE, HEAD, RESERVED, RecoveryError, RecoveryPartition, UNIT,
    blocks::{is_lost, read, write},
    frame::Frame,
    head::Head,
};

/// Bytes of each of the two places.
const SLOT: u64 = UNIT / 2;
/// Tokens that are remembered.
const KEPT_TOKENS: usize = 256;
/// Version of the form.
const VERSION: u32 = 2;

/// A request that is staged, in the order of its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It waits for the next start of the machine.
    Staged,
    /// The next start is one of the recovery partition. Nothing of the disk's content has changed.
    Armed,
    /// The disk is being rewritten.
    Begun,
    /// All but the boot head is written, and the report is there.
    Reported,
    /// The machine's new system starts. The token is used.
    Done,
    /// It was given up, for a reason. The token is used.
    Failed,
}

impl State {
    /// Whether nothing more comes of the request.
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Failed)
    }
}

/// A file that was staged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Area {
    /// First byte, from the beginning of the partition; a multiple of [`UNIT`].
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

/// What is staged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Control {
    /// Version of this form.
    pub version: u32,
    /// How far it has come.
    pub state: State,
    /// What the request can be used for once: 64 hexadecimal digits that the host made at random.
    pub token: String,
    /// UUID of the machine, as its firmware states it, for which alone it is.
    pub machine: String,
    /// Bytes of the disk.
    pub disk_size: u64,
    /// Where the recovery partition lay when the request was made: its boot files say where they are by sectors of the disk.
    pub place: Extent,
    /// Starts of the recovery partition for it.
    pub attempts: u32,
    /// Those of them that failed; a power cut is no failure.
    #[serde(default)]
    pub failures: u32,
    /// Tokens that were used here before, the last ones.
    #[serde(default)]
    pub used: Vec<String>,
    /// Why it was given up, or what the last attempt failed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Boot code of the first sector of a disk that a BIOS starts, 880 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_code: Option<String>,
    /// What the firmware starts: at the beginning of the partition.
    pub boot: Area,
    /// The host's volume.
    pub volume: Area,
    /// SHA-256 of the volume.
    pub pin: Digest,
    /// The packed image.
    pub image: Area,
    /// Nonce of the request on the volume.
    pub nonce: Nonce,
    /// What the host would tell over its channel alone. Forgotten when the token is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<Secrets>,
}

impl Control {
    /// One of the version that is written.
    pub const VERSION: u32 = VERSION;

    /// Reads what is staged; `None` when nothing is.
    ///
    /// # Errors
    /// [`RecoveryError::Io`]; [`RecoveryError::Control`] when it is whole and cannot be understood; [`RecoveryError::Moved`] when it is for
    /// a partition that lies elsewhere.
    pub fn read(disk: &dyn ReadBlocks, partition: RecoveryPartition) -> Result<Option<Self>, RecoveryError> {
        let Some(frame) = newest(disk, partition)? else { return Ok(None) };
        let control: Self = serde_json::from_slice(&frame.bytes)
            .map_err(|error| RecoveryError::Control { reason: error.to_string() })?;
        control.check(partition)?;
        Ok(Some(control))
    }

    pub(crate) fn check(&self, partition: RecoveryPartition) -> Result<(), RecoveryError> {
        if self.version != VERSION {
            let reason = format!("it has version {}, this program knows {VERSION}", self.version);
            return Err(RecoveryError::Control { reason });
        }
        partition.is_at(self.place, "the request")?;
        for (name, area) in [("boot files", self.boot), ("volume", self.volume), ("image", self.image)] {
            let end = area.offset.checked_add(area.length);
            if !area.offset.is_multiple_of(UNIT) || end.is_none_or(|end| end > partition.length - RESERVED) {
                return Err(RecoveryError::Place { name, offset: area.offset, length: area.length });
            }
        }
        Ok(())
    }

    /// Writes it, in the place that the newest does not have.
    ///
    /// # Errors
    /// [`RecoveryError::Place`], [`RecoveryError::Moved`], [`RecoveryError::TooLong`] and those of the disk.
    pub fn write(&self, disk: &dyn WriteBlocks, partition: RecoveryPartition) -> Result<(), RecoveryError> {
        self.check(partition)?;
        let sequence = newest(disk as &dyn ReadBlocks, partition)?.map_or(0, |frame| frame.sequence.wrapping_add(1));
        let bytes = serde_json::to_vec(self).map_err(|error| RecoveryError::Control { reason: error.to_string() })?;
        Frame { sequence, bytes }.write(disk, slot(partition, sequence), SLOT)
    }

    /// The token is used, and nothing came of it.
    pub fn give_up(&mut self, reason: String) {
        self.state = State::Failed;
        self.reason = Some(reason);
        self.secrets = None;
    }

    /// The token is used, and the machine has its new system.
    pub fn finish(&mut self) {
        self.state = State::Done;
        self.secrets = None;
    }

    /// As [`Control::write`], and what was there before is not left anywhere.
    ///
    /// # Errors
    /// Likewise.
    pub fn write_over(&self, disk: &dyn WriteBlocks, partition: RecoveryPartition) -> Result<(), RecoveryError> {
        self.write(disk, partition)?;
        self.write(disk, partition)
    }

    /// The request is over: what it was is written over what was there, and all that was staged is zero.
    ///
    /// # Errors
    /// [`RecoveryError::Wipe`] when what was staged cannot be made zero: the request is over all the same. Those of the disk.
    pub fn write_last(&self, disk: &dyn WriteBlocks, partition: RecoveryPartition) -> Result<(), RecoveryError> {
        let zeroed = wipe(disk, partition.offset, partition.length - RESERVED, &|_, _| {});
        // What cannot be made zero must not keep the request alive: it would be tried for ever.
        self.write_over(disk, partition)?;
        zeroed.map_err(|source| RecoveryError::Wipe { source: Box::new(source) }).map(drop)
    }

    /// Every token that is used once this request is over.
    pub(crate) fn used_with_own(&self) -> Vec<String> {
        let skipped = (self.used.len() + 1).saturating_sub(KEPT_TOKENS);
        self.used.iter().skip(skipped).chain([&self.token]).cloned().collect()
    }

    /// The boot code, where there is any.
    ///
    /// # Errors
    /// [`RecoveryError::Control`] when it is none.
    pub fn boot_code(&self) -> Result<Option<[u8; BOOT_CODE]>, RecoveryError> {
        let Some(text) = &self.boot_code else { return Ok(None) };
        let reason =
            || RecoveryError::Control { reason: "its boot code is not 440 bytes in hexadecimal digits".to_owned() };
        let mut code = [0; BOOT_CODE];
        if text.len() != 2 * code.len() || !text.is_ascii() {
            return Err(reason());
        }
        for (index, byte) in code.iter_mut().enumerate() {
            let digits = text.get(2 * index..2 * index + 2).unwrap_or_default();
            *byte = u8::from_str_radix(digits, 16).map_err(|_| reason())?;
        }
        Ok(Some(code))
    }

    /// Where a staged file lies on the disk.
    #[must_use]
    pub fn on_disk(partition: RecoveryPartition, area: Area) -> Extent {
        Extent { offset: partition.offset + area.offset, length: area.length }
    }
}

impl RecoveryPartition {
    /// Keeps the head that starts the machine's own system, for a request that is given up before it changed anything.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn keep_head(self, disk: &dyn WriteBlocks, head: &Head) -> Result<(), RecoveryError> {
        let mut bytes = head.to_bytes();
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT as usize), 0);
        let (place, limit) = HEAD;
        let (length, limit) = (bytes.len(), usize::try_from(limit).unwrap_or_default());
        if length > limit {
            return Err(RecoveryError::TooLong { length, limit });
        }
        write(disk, self.reserved(place), &bytes)
    }

    /// Makes `control`, which is staged here, one that is carried out: keeps the head of the machine's own system, and counts the starts
    /// from none, whatever a job made of the count since. The interim head has to follow.
    ///
    /// # Errors
    /// Those of [`RecoveryPartition::keep_head`] and [`Control::write`].
    pub fn arm(self, disk: &dyn WriteBlocks, head: &Head, control: &mut Control) -> Result<(), RecoveryError> {
        self.keep_head(disk, head)?;
        self.count_starts_anew(disk, false)?;
        control.state = State::Armed;
        control.write_over(disk, self)
    }

    /// The head that was kept.
    ///
    /// # Errors
    /// Those of the disk, [`RecoveryError::Table`] when it is none.
    pub fn kept_head(self, disk: &dyn ReadBlocks) -> Result<Head, RecoveryError> {
        let bytes = read(disk, self.reserved(HEAD.0), HEAD.1)?;
        let kept = Head::read(disk)?.with_bytes(&bytes);
        let kept = kept.ok_or(RecoveryError::Table { reason: "the head that was kept is cut off" })?;
        kept.recovery()?.ok_or(RecoveryError::Absent)?;
        Ok(kept)
    }

    /// Keeps the report.
    ///
    /// # Errors
    /// [`RecoveryError::TooLong`] and those of the disk.
    pub fn keep_report(self, disk: &dyn WriteBlocks, report: &[u8]) -> Result<(), RecoveryError> {
        Frame { sequence: 0, bytes: report.to_vec() }.write(disk, self.end() - 2 * UNIT, UNIT)
    }

    /// The report that was kept; `None` when there is none that is whole.
    ///
    /// # Errors
    /// [`RecoveryError::Io`].
    pub fn report(self, disk: &dyn ReadBlocks) -> Result<Option<Vec<u8>>, RecoveryError> {
        Ok(Frame::read(disk, self.end() - 2 * UNIT, UNIT)?.map(|frame| frame.bytes))
    }
}

/// State and token of the newest record, whatever partition it is for and whatever else it says; `None` when there is none.
pub(crate) fn newest_state(
    disk: &dyn ReadBlocks,
    partition: RecoveryPartition,
) -> Result<Option<(State, String)>, RecoveryError> {
    #[derive(Deserialize)]
    struct Known {
        state: State,
        token: String,
    }
    let known = newest(disk, partition)?.and_then(|frame| serde_json::from_slice::<Known>(&frame.bytes).ok());
    Ok(known.map(|Known { state, token }| (state, token)))
}

fn newest(disk: &dyn ReadBlocks, partition: RecoveryPartition) -> Result<Option<Frame>, RecoveryError> {
    let frames = [0, 1].map(|sequence| Frame::read(disk, slot(partition, sequence), SLOT));
    // The state is in both places before anything follows from it, so the other one says the same where one is lost.
    let one_is_whole = frames.iter().any(|frame| matches!(frame, Ok(Some(_))));
    let mut whole = Vec::new();
    for frame in frames {
        match frame {
            Err(error) if one_is_whole && is_lost(&error) => {}
            frame => whole.extend(frame?),
        }
    }
    Ok(whole.into_iter().max_by_key(|frame| frame.sequence))
}

/// Where the record of a sequence lies.
fn slot(partition: RecoveryPartition, sequence: u64) -> u64 {
    partition.end() - UNIT + sequence % 2 * SLOT
}
