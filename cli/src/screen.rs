//! What operations tell, on standard error: bars for people on a terminal, lines elsewhere, JSON for programs. Must not
//! decide anything.

use std::sync::Mutex;

use cloud_machine_operation::{Event, Happening, Notice, Observer, Operation, Task};

use crate::ui::{EventSubject, Progress, Ui};

/// Shows what operations tell.
pub(crate) struct Screen {
    ui: Ui,
    /// The work that is under way; several pieces may be.
    working: Mutex<Vec<(Task, Progress)>>,
}

impl Screen {
    pub(crate) fn new(ui: &Ui) -> Self {
        Self { ui: *ui, working: Mutex::default() }
    }

    fn begin(&self, subject: EventSubject, task: &Task) {
        let progress =
            self.ui.progress_of(EventSubject { step: task.step().map(str::to_owned), ..subject }, &task.to_string());
        if let Ok(mut working) = self.working.lock() {
            working.push((task.clone(), progress));
        }
    }

    fn progress(&self, task: &Task, done: u64, total: u64) {
        let Ok(working) = self.working.lock() else { return };
        if let Some((_, progress)) = working.iter().find(|(other, _)| other == task) {
            progress.set(done, total);
        }
    }

    fn end(&self, task: &Task) {
        if let Ok(mut working) = self.working.lock() {
            working.retain(|(other, _)| other != task);
        }
    }
}

/// A notice, with the option of this program that has to do with it. Why a machine runs on what it does is told in full when it
/// is made, and by `doctor`: it is the same at every start, and long where KVM does not work.
fn text(notice: &Notice, operation: Operation, is_for_programs: bool) -> String {
    match notice {
        Notice::Accelerator { name, .. } if operation != Operation::Create && !is_for_programs => {
            format!("accelerator {name}; `cloud-machine doctor` says why")
        }
        Notice::NotAskedToShutDown(..) => format!("{notice}; `stop --now` does not ask"),
        _ => notice.to_string(),
    }
}

impl Observer for Screen {
    fn event(&self, event: &Event<'_>) {
        let subject = EventSubject {
            machine: event.machine.map(ToString::to_string),
            operation: Some(event.operation),
            ..EventSubject::default()
        };
        match event.happening {
            Happening::Phase { phase, milliseconds } => self.ui.phase(subject, phase, milliseconds),
            Happening::Begin(task) => self.begin(subject, task),
            Happening::Progress { task, done, total } => self.progress(task, done, total),
            Happening::End(task) => self.end(task),
            Happening::Notice(notice) => {
                self.ui.note_about(
                    EventSubject { notice: Some(notice.name()), ..subject },
                    &text(notice, event.operation, self.ui.is_for_programs()),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_the_accelerator_was_chosen_is_told_at_length_once_and_to_programs_always() {
        let notice =
            Notice::Accelerator { name: "tcg".to_owned(), reason: "KVM does not work: a long story".to_owned() };
        let short = "accelerator tcg; `cloud-machine doctor` says why";
        assert_eq!(text(&notice, Operation::Create, false), "accelerator tcg: KVM does not work: a long story");
        assert_eq!(text(&notice, Operation::Reimage, false), short);
        assert_eq!(text(&notice, Operation::Start, false), short);
        assert!(text(&notice, Operation::Reimage, true).ends_with("a long story"));
    }
}
