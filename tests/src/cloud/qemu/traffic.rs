//! What went over a server's network interface, counted where it is attached: QEMU writes down the head of every frame. Must not
//! change what the server sees.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use crate::cloud::machines::Failure;

/// Bytes of each frame that are kept: both hardware addresses and the type.
const KEPT: u32 = 14;
/// The header of a file, and that of a frame in it (pcap-savefile(5)).
const FILE_HEADER: usize = 24;
const FRAME_HEADER: usize = 16;
/// In the byte order of whoever wrote the file, which is this host.
const MAGIC: u32 = 0xa1b2_c3d4;

/// Bytes of frames, with the headers of Ethernet, IP and TCP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// To the server.
    pub received: u64,
    /// By the server.
    pub sent: u64,
}

impl Traffic {
    /// In both directions.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.received + self.sent
    }
}

/// The object of QEMU that counts for the network `net`, for a boot.
pub(super) fn option(folder: &Path, boot: usize) -> String {
    format!("filter-dump,id=traffic,netdev=net,maxlen={KEPT},file={}", file(folder, boot).display())
}

fn file(folder: &Path, boot: usize) -> PathBuf {
    folder.join(format!("traffic-{boot}"))
}

/// What all boots up to `boot` together have had.
pub(super) fn of(folder: &Path, boot: usize, mac: &str) -> Result<Traffic, Failure> {
    let mut all = Traffic::default();
    for boot in 1..=boot {
        let path = file(folder, boot);
        let bytes = match fs::read(&path) {
            // Its process was not started.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            read => read.map_err(|error| format!("cannot read {}: {error}", path.display()))?,
        };
        let one = count(&bytes, mac).ok_or_else(|| format!("{} is no list of frames", path.display()))?;
        all = Traffic { received: all.received + one.received, sent: all.sent + one.sent };
    }
    Ok(all)
}

/// The frames of a file; the last may be on its way into it.
fn count(bytes: &[u8], mac: &str) -> Option<Traffic> {
    let word = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let mut found = Traffic::default();
    if bytes.is_empty() {
        return Some(found);
    }
    if word(0)? != MAGIC {
        return None;
    }
    let mut at = FILE_HEADER;
    while let (Some(kept), Some(length)) = (word(at + 8), word(at + 12)) {
        let Some(head) = bytes.get(at + FRAME_HEADER..at + FRAME_HEADER + kept as usize) else { break };
        let from: Vec<String> = head.get(6..12)?.iter().map(|byte| format!("{byte:02x}")).collect();
        let direction = if from.join(":") == mac { &mut found.sent } else { &mut found.received };
        *direction += u64::from(length);
        at += FRAME_HEADER + kept as usize;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: &str = "92:00:06:00:00:0a";

    fn frame(from: [u8; 6], length: u32) -> Vec<u8> {
        let words = [0, 0, KEPT, length].into_iter().flat_map(u32::to_ne_bytes);
        words.chain([0xff; 6]).chain(from).chain([8, 0]).collect()
    }

    #[test]
    fn frames_count_with_their_whole_length_by_their_direction() {
        let mut bytes = [MAGIC, 0, 0, 0, KEPT, 1].into_iter().flat_map(u32::to_ne_bytes).collect::<Vec<u8>>();
        assert_eq!(count(&bytes, MAC), Some(Traffic::default()));
        for (from, length) in [([0x92, 0, 6, 0, 0, 10], 1514), ([0x52, 0x55, 10, 0, 2, 2], 60), ([9; 6], 40)] {
            bytes.extend(frame(from, length));
        }
        let all = Traffic { received: 100, sent: 1514 };
        assert_eq!(count(&bytes, MAC), Some(all));
        bytes.extend(&frame([9; 6], 1000)[..20]);
        assert_eq!(count(&bytes, MAC), Some(all), "one that is not whole yet");
        assert_eq!(count(b"#!/bin/sh and more than a header", MAC), None);
        assert_eq!(count(b"", MAC), Some(Traffic::default()));
    }
}
