//! The host's side of the conversation, out of the recovery partition: the volume, the secrets, the packed image. Must not judge what is
//! staged; the report is not sent this way.

use std::{
    collections::VecDeque,
    fmt, io,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use cloud_machine_disk::{Access, Disk};
use cloud_machine_image::{ALIGNMENT, AlignedBuffer, ReadBlocks};
use cloud_machine_protocol::{Extent, HostMessage};
use cloud_machine_recovery::{Control, RecoveryPartition};
use cloud_machine_system::{SystemError, channel::Channel, sha256};
use serde::Deserialize;

use crate::{error::AgentError, pass::node};

/// What is staged, read as the agent asks for it.
struct Staged {
    disk: Disk,
    image: Extent,
    /// Lines that come next, and the bytes behind some of them.
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    lines: VecDeque<Vec<u8>>,
    bytes: VecDeque<Extent>,
}

/// What of the agent's lines is answered.
#[derive(Deserialize)]
struct Said {
    kind: String,
    #[serde(default)]
    offset: u64,
    #[serde(default)]
    length: u64,
}

/// Opens it: the volume and the secrets come first.
pub(super) fn open(
    device: &str,
    partition: RecoveryPartition,
    control: &Control,
) -> Result<Box<dyn Channel>, AgentError> {
    let disk = Disk::open(&node(device), Access::Read)?;
    let place = |area| Control::on_disk(partition, area);
    let (volume, image) = (place(control.volume), place(control.image));
    let found = sha256(&read(&disk, volume).map_err(SystemError::io("read", "the staged volume"))?);
    if found != control.pin {
        return Err(AgentError::StagedVolume { found, expected: control.pin });
    }
    let messages = [
        HostMessage::Volume { bytes: volume.length },
        HostMessage::Secrets(control.secrets.clone().unwrap_or_default()),
    ];
    let lines = messages.iter().map(serde_json::to_vec).collect::<Result<_, _>>().map_err(AgentError::Encode)?;
    let queue = Mutex::new(Queue { lines, bytes: [volume].into() });
    Ok(Box::new(Staged { disk, image, queue }))
}

impl Staged {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Staged {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("what is staged in the recovery partition")
    }
}

impl Channel for Staged {
    fn send(&self, line: &[u8]) -> Result<(), SystemError> {
        let error = |source: io::Error| SystemError::io("answer from", "the recovery partition")(source);
        let said: Said = serde_json::from_slice(line).map_err(|source| error(source.into()))?;
        if said.kind != "read" {
            return Ok(());
        }
        if said.offset.checked_add(said.length).is_none_or(|end| end > self.image.length) {
            return Err(error(io::ErrorKind::UnexpectedEof.into()));
        }
        let answer = HostMessage::Data { bytes: said.length };
        let answer = serde_json::to_vec(&answer).map_err(|source| error(source.into()))?;
        let mut queue = self.queue();
        queue.lines.push_back(answer);
        queue.bytes.push_back(Extent { offset: self.image.offset + said.offset, length: said.length });
        Ok(())
    }

    fn receive(&self, _: usize, _: Instant) -> Result<Vec<u8>, SystemError> {
        self.queue().lines.pop_front().ok_or_else(nothing)
    }

    fn receive_bytes(&self, length: usize, _: Instant) -> Result<Vec<u8>, SystemError> {
        let next = self.queue().bytes.pop_front().filter(|next| next.length == length as u64);
        read(&self.disk, next.ok_or_else(nothing)?).map_err(SystemError::io("read", "the recovery partition"))
    }
}

fn nothing() -> SystemError {
    SystemError::io("hear more from", "the recovery partition")(io::Error::from(io::ErrorKind::UnexpectedEof))
}

/// Reads any range of a disk that is read in blocks.
fn read(disk: &Disk, range: Extent) -> io::Result<Vec<u8>> {
    let start = range.offset / ALIGNMENT * ALIGNMENT;
    let skipped = usize::try_from(range.offset - start).unwrap_or(usize::MAX);
    let length = usize::try_from(range.length).unwrap_or(usize::MAX);
    let mut buffer = AlignedBuffer::new((skipped + length).next_multiple_of(ALIGNMENT as usize));
    disk.read_at(&mut buffer, start)?;
    Ok(buffer.get(skipped..skipped + length).unwrap_or_default().to_vec())
}
