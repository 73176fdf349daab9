//! What becomes of a place that shall hold a filesystem or a partition table: one table of what is found there, what the
//! host's record says of it and what is allowed. Must not look at a device, and must not take an unknown content for none.

use cloud_machine_protocol::{History, Probe};

/// What was checked of everything that was made, for people.
pub(crate) const CHECKED: &str = "nothing was made on a data disk but after a wipe, on one that the host's record calls new, or \
                                  on one that the record does not know and where every byte that was looked at was zero: all \
                                  of 64 MiB, of a larger one the ends and a sample";

/// What is found on a disk or in a partition, seen from what it shall hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Zeros wherever it was looked.
    Empty,
    /// No signature that is known, and not empty.
    Unknown,
    /// What is wanted: its type, and its label where one is wanted.
    Wanted,
    /// Something else.
    Other,
    /// Signatures that contradict each other.
    Ambivalent,
    /// It could not be read, or did not answer.
    Unreadable,
}

impl Content {
    /// What a probe found, when a signature that it found `is` the wanted one.
    pub(crate) fn of(probe: &Probe, is: bool) -> Self {
        match probe {
            Probe::Empty => Self::Empty,
            Probe::Unknown => Self::Unknown,
            Probe::Found(_) if is => Self::Wanted,
            Probe::Found(_) => Self::Other,
            Probe::Ambivalent => Self::Ambivalent,
            Probe::Unreadable { .. } | Probe::Silent { .. } => Self::Unreadable,
        }
    }
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// What is there is used; nothing is written.
    Reuse,
    /// It is made: the disk has been wiped, or nobody can have written it before.
    Create,
    /// The disk is wiped, then it is made.
    Replace,
    /// The machine does not come up.
    Refuse(Refusal),
}

/// Why a disk is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its content is something else and must not be replaced.
    Other,
    /// Nobody knows what its content is, and it must not be replaced.
    Unknown,
    /// The host's record says that it was made, and it is not there any more.
    Gone,
    /// Its signatures contradict each other and must not be replaced.
    Ambivalent,
    /// It cannot be read.
    Unreadable,
    /// It is never written, and not what was described.
    ReadOnly,
}

/// The table. `wiped`: the disk is made zero before, so that it does not matter what is on it.
///
/// What was made once is never made again because it cannot be found: whoever lost it has to say so. What was never
/// accepted as made is made where only zeros are, and over what a cut-off attempt may have left on a disk that was new.
#[must_use]
pub fn decide(content: Content, history: History, wiped: bool, overwrite: bool) -> Decision {
    match (content, history, wiped, overwrite) {
        (_, _, true, _) => Decision::Create,
        (Content::Wanted, ..) => Decision::Reuse,
        // Whoever cannot read a disk cannot know that it was wiped either.
        (Content::Unreadable, ..) => Decision::Refuse(Refusal::Unreadable),
        (Content::Empty, History::New | History::Unknown, ..) | (Content::Unknown, History::New, ..) => {
            Decision::Create
        }
        (_, _, false, true) => Decision::Replace,
        (Content::Empty | Content::Unknown, History::Made, ..) => Decision::Refuse(Refusal::Gone),
        (Content::Unknown, History::Unknown, ..) => Decision::Refuse(Refusal::Unknown),
        (Content::Other, ..) => Decision::Refuse(Refusal::Other),
        (Content::Ambivalent, ..) => Decision::Refuse(Refusal::Ambivalent),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const CONTENTS: [Content; 6] =
        [Content::Empty, Content::Unknown, Content::Wanted, Content::Other, Content::Ambivalent, Content::Unreadable];
    pub(crate) const HISTORIES: [History; 3] = [History::Unknown, History::New, History::Made];

    /// Every cell, in words.
    fn each(look: impl Fn(Content, History, bool, bool, Decision, &str)) {
        for content in CONTENTS {
            for history in HISTORIES {
                for wiped in [false, true] {
                    for overwrite in [false, true] {
                        let decision = decide(content, history, wiped, overwrite);
                        let cell = format!("{content:?}, {history:?}, wiped {wiped}, overwrite {overwrite}");
                        look(content, history, wiped, overwrite, decision, &format!("{cell}: {decision:?}"));
                    }
                }
            }
        }
    }

    /// Nothing is destroyed unless something says so, and nothing is used that is not what was described.
    #[test]
    fn every_cell_of_the_table_keeps_the_promises() {
        each(|content, history, wiped, overwrite, decision, cell| {
            let said = wiped || overwrite;
            assert!(said || decision != Decision::Replace, "{cell}");
            let free = match history {
                History::Unknown => content == Content::Empty,
                History::New => matches!(content, Content::Empty | Content::Unknown),
                History::Made => false,
            };
            assert!(wiped || free || decision != Decision::Create, "{cell}");
            assert!(decision != Decision::Reuse || content == Content::Wanted, "{cell}");
            let refused = matches!(decision, Decision::Refuse(_));
            assert!(!(refused && wiped), "{cell}");
            // Applied to its own result, it changes nothing.
            if !refused && !wiped {
                assert_eq!(decide(Content::Wanted, History::Made, false, overwrite), Decision::Reuse, "{cell}");
            }
        });
    }

    /// Whatever a look finds or does not find: without `overwrite`, nothing is made again that was made once.
    #[test]
    fn what_was_made_once_is_used_or_refused() {
        each(|_, history, wiped, overwrite, decision, cell| {
            if history == History::Made && !wiped && !overwrite {
                assert!(matches!(decision, Decision::Reuse | Decision::Refuse(_)), "{cell}");
            }
        });
    }

    /// A cut between two writes of an attempt leaves nothing or something unknown on a new disk.
    #[test]
    fn an_attempt_that_was_cut_off_is_finished() {
        for content in [Content::Empty, Content::Unknown] {
            assert_eq!(decide(content, History::New, false, false), Decision::Create);
            // One that replaced what was made before is, too.
            assert_eq!(decide(content, History::Made, false, true), Decision::Replace);
        }
    }
}
