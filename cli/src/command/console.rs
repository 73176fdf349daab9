//! `console`: the console log of the last attempt, escaped, since it is text of the guest.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    time::{Duration, Instant},
};

use cloud_machine_driver::{escape, store::Store};

use crate::{
    arguments::Console,
    failure::{Failure, Kind},
    life,
    ui::Ui,
};

/// How often a followed log is looked at: QEMU appends to a plain file, which announces nothing.
const LOOK: Duration = Duration::from_millis(300);

pub(crate) fn run(ui: &Ui, store: &Store, console: &Console) -> Result<(), Failure> {
    let record = store.read(&console.name)?;
    let folder = store
        .machine(&console.name)
        .last_attempt()?
        .ok_or_else(|| Failure::new(Kind::NotFound, format!("machine {} was never started", console.name)))?;
    let path = folder.console_log();
    let failed = |error| Failure::during(Kind::Failed, format!("read {}", path.display()))(error);
    let mut log = File::open(&path).map_err(failed)?;
    let mut bytes = Vec::new();
    log.read_to_end(&mut bytes).map_err(failed)?;
    let lines = if console.lines == 0 { usize::MAX } else { console.lines };
    ui.raw(&format!("{}\n", escape::tail(&bytes, lines)))?;
    if !console.follow {
        return Ok(());
    }
    let Some(process) = life::process(store, &record)? else { return Ok(()) };
    let mut at = bytes.len() as u64;
    loop {
        let ended = process.ended(Instant::now() + LOOK).map_err(Failure::failed)?;
        log.seek(SeekFrom::Start(at)).map_err(failed)?;
        let mut new = Vec::new();
        at += log.read_to_end(&mut new).map_err(failed)? as u64;
        if !new.is_empty() {
            ui.raw(&escape::tail(&new, usize::MAX))?;
        }
        if ended {
            return Ok(());
        }
    }
}
