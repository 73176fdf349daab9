//! `image capture`: the disk of a machine that is there already, over SSH, as the raw image that is packed. Must not talk to a
//! machine whose host key nobody vouches for, nor keep a disk that did not arrive whole.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::PathBuf,
    time::{Duration, Instant},
};

use cloud_machine_driver::ssh::{self, SshError, stream_agent};
use cloud_machine_image::{DiskReceiver, DiskStreamError, MAX_IMAGE_SIZE, SentDisk};
use cloud_machine_operation::Vouched;
use cloud_machine_packing::input::RawImage;
use cloud_machine_protocol::escape;
use cloud_machine_store::{Captured, Store};
use cloud_machine_volume::write::pin;

use crate::{
    arguments::Capture,
    command::image::{
        input,
        pack::{self, PackedImage},
    },
    failure::{Failure, Kind},
    login,
    ui::{Progress, Ui},
};

/// Letters that are kept of what a machine calls something.
const MAX_TEXT: usize = 200;

/// Packs the disk that `capture` names.
pub(super) fn run(ui: &Ui, store: &Store, capture: &Capture) -> Result<PackedImage, Failure> {
    let shown = PathBuf::from(format!("the disk of {}", capture.there.ssh));
    pack::pack_opened(ui, store, &capture.name, &capture.packing, &shown, |agent| {
        let until = Instant::now() + Duration::from_secs(capture.timeout);
        let vouched = login::of(&capture.there)?.vouched(until)?;
        let (disk, about) = fetch(ui, store, capture, &vouched, agent)?;
        let name = shown.display().to_string();
        Ok((RawImage::of(disk, name).map_err(input::failure)?, Some(captured(ui, capture, &vouched, &about))))
    })
}

/// Brings the disk to a file without a name, of which nothing stays when the program ends.
fn fetch(
    ui: &Ui,
    store: &Store,
    capture: &Capture,
    vouched: &Vouched,
    agent: &[u8],
) -> Result<(File, SentDisk), Failure> {
    let file = tempfile::tempfile_in(store.root())
        .map_err(Failure::during(Kind::Failed, format!("make a file in {}", store.root().display())))?;
    let progress = ui.progress(&format!("capture {}", capture.name));
    let limit = capture.packing.max_size.bytes().min(MAX_IMAGE_SIZE);
    let mut keep = |offset: u64, bytes: &[u8]| file.write_all_at(bytes, offset);
    let mut receiver = DiskReceiver::new(limit, &mut keep);
    let mut failed = None;
    let mut take = |piece: &[u8]| {
        take(ui, store, &mut receiver, &progress, piece).map_err(|failure| {
            failed = Some(failure);
            SshError::Taken(io::ErrorKind::Other.into())
        })
    };
    let disk = capture.disk.as_ref().map(ToString::to_string);
    let mut arguments = vec!["read"];
    arguments.extend(disk.iter().flat_map(|disk| ["--disk", disk.as_str()]));
    arguments.extend(capture.in_use.then_some("--in-use"));
    let patience = Duration::from_secs(capture.timeout);
    let streamed = stream_agent(&vouched.target, agent, pin(agent), &arguments, patience, &mut take);
    if let Some(failure) = failed {
        return Err(failure);
    }
    streamed.map_err(unfetched)?;
    let about = receiver.end().map_err(undone)?;
    file.set_len(about.size).map_err(|error| undone(DiskStreamError::Keep(error)))?;
    Ok((file, about))
}

/// Takes a piece of the disk; when its size has become known, says whether there is room.
fn take(
    ui: &Ui,
    store: &Store,
    receiver: &mut DiskReceiver<'_>,
    progress: &Progress,
    piece: &[u8],
) -> Result<(), Failure> {
    let knew = receiver.about().is_some();
    receiver.take(piece).map_err(undone)?;
    let Some(about) = receiver.about() else { return Ok(()) };
    if !knew
        && let free = store.free()?
        && free < about.size
    {
        ui.note(&format!(
            "the disk has {} bytes, and {free} are free where the state folder lies: there is room for it only if enough of it is zero",
            about.size
        ));
    }
    progress.set(receiver.position(), about.size);
    Ok(())
}

/// Where the image comes from, as it is kept with it.
fn captured(ui: &Ui, capture: &Capture, vouched: &Vouched, about: &SentDisk) -> Captured {
    let plain = |text: &str| escape::line(text.as_bytes(), MAX_TEXT);
    let disk = match &about.serial {
        Some(serial) => format!("{} (serial {})", plain(&about.name), plain(serial)),
        None => plain(&about.name),
    };
    let mut in_use: Vec<String> = about.holders.iter().map(|holder| plain(holder)).collect();
    if capture.in_use && in_use.is_empty() {
        // They are looked for once, before the copy begins.
        in_use.push("perhaps: --in-use lets anything use it".to_owned());
    }
    if !in_use.is_empty() {
        ui.note(&format!(
            "warning: the disk {disk} was in use while it was copied ({}): the copy is of no one moment, and the image is marked as of \
             an unproven source; from the machine's rescue system it would not be",
            in_use.join(", ")
        ));
    }
    Captured { from: capture.there.ssh.to_string(), host_key: ssh::fingerprint(&vouched.host_key), disk, in_use }
}

/// Why the agent did not bring it.
fn unfetched(error: SshError) -> Failure {
    let kind = if matches!(error, SshError::AgentSilent { .. }) { Kind::TimedOut } else { Kind::Failed };
    let failure = Failure::during(kind, "read the disk by the agent on the machine, as root and over SSH")(error);
    failure.hint("nothing is left of it, here and there; the same command begins anew")
}

fn undone(error: DiskStreamError) -> Failure {
    let (kind, hint) = match &error {
        DiskStreamError::Keep(error)
            if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) =>
        {
            (Kind::Failed, input::FULL)
        }
        DiskStreamError::Keep(_) => (Kind::Failed, "nothing is left of it"),
        DiskStreamError::TooLarge { .. } => (Kind::Failed, "--max-size SIZE allows more, up to 16 TiB"),
        _ => (Kind::Verification, "nothing is left of it; the same command begins anew"),
    };
    Failure::new(kind, error).hint(hint)
}
