//! `image write`: an image onto a disk or disk file of the host, by the engine that reimages machines. Owns the asking
//! before anything is lost; must not judge bytes itself.

use std::{
    io::{self, IsTerminal, Write},
    path::Path,
    time::Instant,
};

use cloud_machine_disk::{Access, Disk, DiskError};
use cloud_machine_image::{CompareMode, Manifest, Options, ReadBlocks, Rewritten, rewrite};
use cloud_machine_protocol::{Extent, Tier};
use cloud_machine_store::{MAX_RECORD, StoreError, identity, read_named};
use serde::Serialize;

use crate::{
    arguments::{TierChoice, Write as Arguments},
    command::image::touched::Touched,
    failure::{Failure, Kind},
    ui::{Show, Ui},
};

/// What a write did. All numbers are bytes unless they say otherwise.
#[derive(Serialize)]
struct Written {
    image: String,
    digest: String,
    disk: String,
    disk_size: u64,
    tier: Tier,
    partition_table: &'static str,
    compared_bytes: u64,
    written_bytes: u64,
    zeroed_bytes: u64,
    read_back_bytes: u64,
    /// Of the disk, after the last write to them.
    verified_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    changed: Option<Changed>,
    milliseconds: u64,
}

#[derive(Serialize)]
struct Changed {
    ranges: u64,
    bytes: u64,
    digest: String,
}

impl Written {
    fn new(manifest: &Manifest, disk: &Disk, done: &Rewritten, milliseconds: u64) -> Self {
        Self {
            image: manifest.name().to_owned(),
            digest: manifest.digest().to_string(),
            disk: disk.path().display().to_string(),
            disk_size: disk.size(),
            tier: done.tier,
            partition_table: if done.image.table().is_some() { "computed for this disk" } else { "the image's own" },
            compared_bytes: done.compared_bytes,
            written_bytes: done.written_bytes,
            zeroed_bytes: done.zeroed_bytes,
            read_back_bytes: done.read_back_bytes,
            verified_bytes: done.image.read_bytes(),
            changed: done.changed.as_ref().map(|changed| Changed {
                ranges: changed.count,
                bytes: changed.bytes,
                digest: changed.digest.to_string(),
            }),
            milliseconds,
        }
    }
}

impl Show for Written {
    const KIND: &'static str = "image-written";

    fn table(&self) -> String {
        let changed = self.changed.as_ref().map_or_else(
            || "not compared".to_owned(),
            |changed| format!("{} bytes in {} ranges had differed", changed.bytes, changed.ranges),
        );
        format!(
            "image        {} {}\ndisk         {}, {} bytes\ntier         {}\ntable        {}\nchanged      {changed}\nwritten      {} bytes, {} more made zero\nverified     {}, {} of them read back\ntook         {}.{:03} s\n",
            self.image,
            self.digest,
            self.disk,
            self.disk_size,
            self.tier,
            self.partition_table,
            self.written_bytes,
            self.zeroed_bytes,
            if self.verified_bytes == self.disk_size {
                "every byte".to_owned()
            } else {
                format!("{} bytes, the rest is as the dirty map has it", self.verified_bytes)
            },
            self.read_back_bytes,
            self.milliseconds / 1000,
            self.milliseconds % 1000
        )
    }
}

const CUT_OFF: &str = "the disk boots nothing until the same command has succeeded";
const AS_IT_WAS: &str = "nothing was written: the disk is as it was";

/// Writes the image and proves that every byte of the disk is right.
pub(super) fn run(ui: &Ui, manifest: &Manifest, source: &dyn ReadBlocks, arguments: &Arguments) -> Result<(), Failure> {
    let dirty = arguments.dirty.as_deref().map(dirty_ranges).transpose()?;
    let disk = super::compare::open_disk(&arguments.disk, Access::Write)?;
    if !arguments.yes {
        ask(&disk)?;
    }
    let began = Instant::now();
    let progress = ui.progress(&format!("write {}", manifest.name()));
    let options =
        Options { threads: arguments.threads.get(), compare_mode: compare_mode(arguments.tier, dirty.as_deref())? };
    let during = || format!("write image {} to {}", manifest.name(), arguments.disk.display());
    let touched = Touched::new(&disk);
    let done = rewrite(manifest, source, &touched, options, &|done, total| progress.set(done, total))
        .map_err(Failure::during(Kind::Failed, during()))
        .map_err(|failure| failure.hint(if touched.is_touched() { CUT_OFF } else { AS_IT_WAS }))?;
    drop(progress);
    disk.check_size().map_err(Failure::during(Kind::Failed, during()))?;
    if let Err(error) = disk.reread_partition_table() {
        // The bytes are right; a device that has no partitions, such as a plain loop device, has nothing to read again.
        ui.note(&format!("the kernel did not read the new partition table: {}", last_cause(&error)));
    }
    let milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    ui.result(&Written::new(manifest, &disk, &done, milliseconds))
}

fn compare_mode(tier: TierChoice, dirty: Option<&[Extent]>) -> Result<CompareMode<'_>, Failure> {
    Ok(match (dirty, tier) {
        (Some(dirty), _) => CompareMode::Hinted { dirty, seed: identity::nonce().map_err(Failure::failed)?.seed() },
        (None, TierChoice::Auto) => CompareMode::Auto,
        (None, TierChoice::Scan) => CompareMode::Scan,
        (None, TierChoice::Stream) => CompareMode::Stream,
    })
}

fn dirty_ranges(path: &Path) -> Result<Vec<Extent>, Failure> {
    let during = |verb: &str| format!("{verb} the dirty map {}", path.display());
    let bytes = read_named(path, MAX_RECORD).map_err(StoreError::into_io).map_err(|error| {
        let kind = if error.kind() == io::ErrorKind::NotFound { Kind::NotFound } else { Kind::Failed };
        Failure::during(kind, during("read"))(error)
    })?;
    serde_json::from_slice(&bytes).map_err(|error| {
        Failure::during(Kind::Refused, during("understand"))(error)
            .hint("it is a JSON list such as [{\"offset\": 65536, \"length\": 131072}]")
    })
}

fn last_cause(error: &DiskError) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// Asks on a terminal whether the disk may be overwritten; elsewhere nobody can say so but `--yes`.
fn ask(disk: &Disk) -> Result<(), Failure> {
    let (path, size) = (disk.path().display(), disk.size());
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Failure::new(Kind::Usage, format!("all {size} bytes of {path} would be overwritten"))
            .hint("--yes says that they may be"));
    }
    let said = |error| Failure::during(Kind::Failed, "ask on the terminal")(error);
    let mut terminal = io::stderr().lock();
    write!(terminal, "All {size} bytes of {path} will be overwritten. Continue? [y/N] ").map_err(said)?;
    terminal.flush().map_err(said)?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(said)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::failed("nothing was written")),
    }
}
