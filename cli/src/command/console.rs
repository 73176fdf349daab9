//! `console`: the console log of the last attempt, line by line and escaped, since it is text of the guest.

use std::time::{Duration, Instant};

use cloud_machine_driver::{
    console::{self, Reader},
    drivers,
};
use cloud_machine_protocol::MachineName;
use cloud_machine_store::{MachineRecord, Store};

use cloud_machine_operation::Operations;

use crate::{
    arguments::Console,
    failure::{Failure, Kind},
    terminal,
    ui::Ui,
};

/// How often a followed log is looked at: QEMU appends to a plain file, which announces nothing.
const LOOK: Duration = Duration::from_millis(300);

pub(crate) fn run(ui: &Ui, store: &Store, command: &Console) -> Result<(), Failure> {
    ui.only_for_people("a log")?;
    show(ui, store, &command.name, command.lines, command.follow)
}

/// Shows the last `lines`, all for 0.
pub(super) fn show(ui: &Ui, store: &Store, name: &MachineName, lines: usize, is_followed: bool) -> Result<(), Failure> {
    let record = store.read(name)?;
    let folder = store
        .machine(name)
        .last_attempt()?
        .ok_or_else(|| Failure::new(Kind::NotFound, format!("machine {name} was never started")))?;
    let mut log = Reader::open(&folder)?.ok_or_else(|| {
        let path = folder.console_log();
        Failure::new(Kind::NotFound, format!("machine {name} has no console log {}", path.display()))
    })?;
    let mut printer = Printer { ui, ended: Ok(true) };
    if lines == 0 {
        if let Some(before) = log.before()? {
            ui.note("the log was too large and was cut; it begins with the end of what was before");
            before.into_iter().for_each(|line| printer.print(line));
        }
        log.go_on(&mut |line| printer.print(line))?;
    } else {
        log.last(lines)?.into_iter().for_each(|line| printer.print(line));
    }
    if is_followed {
        follow(&mut log, &mut printer, store, &record)?;
    }
    log.finish(&mut |line| printer.print(line));
    printer.ended?;
    // After it was shown, so that nothing of it is lost to whoever reads all of it.
    Ok(console::cut(&folder)?)
}

/// Goes on until the machine's process has ended, or nobody reads any more.
fn follow(log: &mut Reader, printer: &mut Printer<'_>, store: &Store, record: &MachineRecord) -> Result<(), Failure> {
    let Some(running) = Operations { store, drivers: &drivers(), observer: &() }.running(record)? else {
        return Ok(());
    };
    loop {
        // Looked at first: what was said before the end is in the log then.
        let ended = running.ended(Instant::now() + LOOK).map_err(Failure::failed)?;
        log.go_on(&mut |line| printer.print(line))?;
        let is_read = terminal::is_read().map_err(Failure::during(Kind::Failed, "look at standard output"))?;
        if ended || !is_read || !matches!(printer.ended, Ok(true)) {
            return Ok(());
        }
    }
}

/// Prints lines as long as somebody reads them.
struct Printer<'a> {
    ui: &'a Ui,
    ended: Result<bool, Failure>,
}

impl Printer<'_> {
    fn print(&mut self, line: String) {
        if matches!(self.ended, Ok(true)) {
            self.ended = self.ui.is_read(&format!("{line}\n"));
        }
    }
}
