//! The index of the machines: what was read of each record, and how record and disk folder looked then, one line each. Must not
//! decide whether a line still counts.
//!
//! Words between tabs, which are parsed in less time than JSON; only what a driver alone can read is JSON. The first line has a
//! checksum of all others, so that an index that was changed by hand or by damage says nothing, also where it can be parsed.

use std::fmt::Write;

use serde::{
    Deserialize,
    de::{IntoDeserializer, value},
};

use cloud_machine_protocol::{Assurance, MachineName};

use super::{DriverState, ImageName, MachineState, Stamp};

/// Version of the index; one of another version is not read.
const VERSION: u32 = 4;
/// Between two fields of a line. No word of a line has one, or the line is not written.
const TAB: char = '\t';
/// In the place of what there is not.
const ABSENT: &str = "-";

/// What a list shows of one machine.
#[derive(Clone, Debug, PartialEq)]
pub struct MachineSummary {
    /// Its name.
    pub name: MachineName,
    /// Its UUID.
    pub uuid: String,
    /// Name of its driver.
    pub driver: String,
    /// Name of its image.
    pub image: ImageName,
    /// Port on 127.0.0.1 that leads to the machine's port 22; 0 when none does.
    pub ssh_port: u16,
    /// Address and port of its SSH, of a machine that this host does not run.
    pub remote: Option<(String, u16)>,
    /// Where it is in its life.
    pub state: MachineState,
    /// Assurance of the last accepted report, while it stands.
    pub assurance: Option<Assurance>,
    /// Whether somebody may have logged in since that report; `None` when it stands no longer.
    pub used: Option<bool>,
    /// What its driver keeps of its last start.
    pub driver_state: Option<DriverState>,
    /// Device and inode of each file in the folder of its disks, and of those with the process id of an attempt: what a process of it
    /// has open or locked. `None` when they have to be looked at each time, such as a disk behind a link.
    pub disks: Option<Vec<(u64, u64)>>,
}

/// How the files looked that a summary was made of.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FileStamps {
    pub(super) record: Stamp,
    pub(super) disks: Option<Stamp>,
}

/// Numbers of [`FileStamps`] in the index.
const NUMBERS: usize = 12;

/// A line of the index, `NAME TAB LOOKS TAB SUMMARY`, of which the rest is parsed only when it is asked for.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    /// All of it, without its end.
    whole: &'a str,
    name: &'a str,
    rest: &'a str,
}

impl FileStamps {
    /// All that it says; zeros for a folder that is not there, which no inode has.
    fn numbers(&self) -> [i64; NUMBERS] {
        let of = |stamp: &Stamp| {
            let Stamp { size, inode, modified, changed } = stamp;
            [size.cast_signed(), inode.cast_signed(), modified.0, modified.1, changed.0, changed.1]
        };
        let mut numbers = [0; NUMBERS];
        let disks = self.disks.as_ref().map(of).unwrap_or_default();
        for (number, found) in numbers.iter_mut().zip(of(&self.record).into_iter().chain(disks)) {
            *number = found;
        }
        numbers
    }
}

/// The first line of an index with these lines.
fn header(lines: &str) -> String {
    let checksum = blake3::hash(lines.as_bytes());
    format!("{{\"kind\":\"machine_index\",\"version\":{VERSION},\"blake3\":\"{checksum}\"}}\n")
}

/// The text of an index with these lines.
pub(super) fn text(lines: impl Iterator<Item = String>) -> String {
    let lines: String = lines.collect();
    header(&lines) + &lines
}

/// Whether these bytes are an index of ours as it was written: all of it, and nothing else.
pub(super) fn is_whole(index: &[u8]) -> bool {
    let text = std::str::from_utf8(index).unwrap_or_default();
    text.split_once('\n').is_some_and(|(_, lines)| text.strip_suffix(lines) == Some(&header(lines)))
}

/// The lines of an index that is whole.
pub(super) fn lines(index: &[u8]) -> impl Iterator<Item = Line<'_>> {
    let text = std::str::from_utf8(index).unwrap_or_default();
    text.split_inclusive('\n').skip(1).filter_map(|line| {
        let whole = line.strip_suffix('\n')?;
        let (name, rest) = whole.split_once(TAB)?;
        Some(Line { whole, name, rest })
    })
}

/// Each name with its line; both are sorted, and where an index is not, lines are missed.
pub(super) fn matched<'a>(
    names: &'a [String],
    lines: impl Iterator<Item = Line<'a>>,
) -> Vec<(&'a str, Option<Line<'a>>)> {
    let mut lines = lines.peekable();
    let line_of = |name: &'a String| {
        while lines.next_if(|line| line.name < name.as_str()).is_some() {}
        (name.as_str(), lines.next_if(|line| line.name == name))
    };
    names.iter().map(line_of).collect()
}

/// The line of a machine; `None` when a word of it cannot stand in one.
pub(super) fn line(looks: &FileStamps, summary: &MachineSummary) -> Option<String> {
    let MachineSummary { name, uuid, driver, image, ssh_port, remote, state, assurance, used, driver_state, disks } =
        summary;
    // There are few of them, and whether they run is asked somewhere else, which takes far longer than reading a record.
    if remote.is_some() {
        return None;
    }
    let driver_state = driver_state.as_ref().map(serde_json::to_string).transpose().ok()?;
    let words = [
        name.to_string(),
        looks.numbers().map(|number| number.to_string()).join(" "),
        uuid.clone(),
        driver.clone(),
        image.to_string(),
        ssh_port.to_string(),
        state.to_string(),
        assurance.map_or_else(|| ABSENT.to_owned(), |assurance| assurance.to_string()),
        used.map_or_else(|| ABSENT.to_owned(), |used| used.to_string()),
        numbers_of(disks.as_ref()?),
        driver_state.unwrap_or_else(|| ABSENT.to_owned()),
    ];
    let fits = |word: &String| !word.contains(char::is_control);
    words.iter().all(fits).then(|| format!("{}\n", words.join("\t")))
}

fn numbers_of(disks: &[(u64, u64)]) -> String {
    let mut text = String::new();
    for (device, inode) in disks {
        // Writing to a String cannot fail.
        let _ = write!(text, "{device}:{inode} ");
    }
    text
}

/// A word as the type says it in JSON.
fn word<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    let deserializer: value::StrDeserializer<'a, value::Error> = text.into_deserializer();
    T::deserialize(deserializer).ok()
}

/// What is there or [`ABSENT`]; `None` when it is neither.
fn optional<'a, T>(text: &'a str, parse: impl FnOnce(&'a str) -> Option<T>) -> Option<Option<T>> {
    if text == ABSENT { Some(None) } else { parse(text).map(Some) }
}

impl Line<'_> {
    /// The line as it stands in the index.
    pub(super) fn text(&self) -> String {
        format!("{}\n", self.whole)
    }

    /// What it says of a machine whose files look like this; `None` when it says nothing.
    pub(super) fn summary(&self, looks: &FileStamps) -> Option<MachineSummary> {
        let (numbers, rest) = self.rest.split_once(TAB)?;
        if !numbers.split(' ').map(|number| number.parse().ok()).eq(looks.numbers().map(Some)) {
            return None;
        }
        let mut words = rest.split(TAB);
        let summary = MachineSummary {
            name: self.name.parse().ok()?,
            uuid: words.next()?.to_owned(),
            driver: words.next()?.to_owned(),
            image: words.next()?.parse().ok()?,
            ssh_port: words.next()?.parse().ok()?,
            remote: None,
            state: word(words.next()?)?,
            assurance: optional(words.next()?, word)?,
            used: optional(words.next()?, |used| used.parse().ok())?,
            disks: Some(words.next()?.split_terminator(' ').map(file).collect::<Option<_>>()?),
            driver_state: optional(words.next()?, |state| serde_json::from_str(state).ok())?,
        };
        words.next().is_none().then_some(summary)
    }
}

fn file(text: &str) -> Option<(u64, u64)> {
    let (device, inode) = text.split_once(':')?;
    Some((device.parse().ok()?, inode.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks() -> FileStamps {
        let stamp = Stamp { size: 8500, inode: 7, modified: (1, 2), changed: (3, 4) };
        FileStamps { record: stamp, disks: None }
    }

    fn summary() -> MachineSummary {
        MachineSummary {
            name: "demo".parse().unwrap(),
            uuid: "7f0b7d6e-58c1-4b8e-9a6e-0c2f8f3ad111".to_owned(),
            driver: "qemu".to_owned(),
            image: "debian-12".parse().unwrap(),
            ssh_port: 2222,
            remote: None,
            state: MachineState::Quarantined,
            assurance: None,
            used: None,
            driver_state: None,
            disks: Some(Vec::new()),
        }
    }

    fn read(text: &str) -> Vec<Option<MachineSummary>> {
        let index = Some(text.as_bytes()).filter(|index| is_whole(index)).unwrap_or_default();
        lines(index).map(|line| line.summary(&looks())).collect()
    }

    #[test]
    fn what_is_written_of_a_machine_is_what_is_read() {
        let all = Assurance::HostRooted;
        let state = DriverState::of(&serde_json::json!({"pid": 7, "text": "a\tb\n"})).unwrap();
        for written in [
            summary(),
            MachineSummary { used: Some(true), assurance: Some(all), ..summary() },
            MachineSummary { driver_state: Some(state), disks: Some(vec![(1, 2), (u64::MAX, 3)]), ..summary() },
            MachineSummary { uuid: String::new(), driver: String::new(), ..summary() },
        ] {
            let text = text(line(&looks(), &written).into_iter());
            assert_eq!(read(&text), [Some(written)], "{text}");
            assert_eq!(super::text(lines(text.as_bytes()).map(|line| line.text())), text);
        }
    }

    #[test]
    fn a_machine_whose_words_cannot_stand_in_a_line_is_not_in_the_index() {
        for driver in ["a\tb", "a\nb", "a\0b"] {
            assert_eq!(line(&looks(), &MachineSummary { driver: driver.to_owned(), ..summary() }), None);
        }
        let remote = Some(("192.0.2.1".to_owned(), 22));
        assert_eq!(line(&looks(), &MachineSummary { remote, ..summary() }), None);
        assert_eq!(line(&looks(), &MachineSummary { disks: None, ..summary() }), None, "its disks are looked at anew");
    }

    /// Each cut, and each other byte in the place of one, also where all words are some.
    #[test]
    fn an_index_that_is_cut_damaged_or_changed_by_hand_says_nothing() {
        let whole = text([line(&looks(), &summary()).unwrap(), "other\tline\n".to_owned()].into_iter());
        assert!(is_whole(whole.as_bytes()));
        for end in 0..whole.len() {
            assert!(read(&whole[..end]).is_empty(), "{:?}", &whole[..end]);
            for other in ["0", "1", "8", "a", "-", " ", "\0", "\t", "\n"] {
                let changed = format!("{}{other}{}", &whole[..end], &whole[end + 1..]);
                assert!(changed == whole || read(&changed).is_empty(), "{changed:?}");
                assert!(read(&format!("{}{other}{}", &whole[..end], &whole[end..])).is_empty());
            }
        }
        let zeros = vec![0; whole.len()];
        assert!(!is_whole(&zeros) && !is_whole(b"\xff\n") && !is_whole(b""));
    }

    #[test]
    fn a_line_of_other_looks_or_with_words_that_are_none_says_nothing() {
        let whole = line(&looks(), &summary()).unwrap();
        let elsewhere = FileStamps { disks: Some(looks().record), ..looks() };
        let index = text([whole.clone()].into_iter());
        assert!(lines(index.as_bytes()).all(|line| line.summary(&elsewhere).is_none()));
        for (from, to) in [
            ("8500", "8501"),
            ("quarantined", "Quarantined"),
            ("2222", "70000"),
            ("\t-\n", "\t{\n"),
            ("\t-\n", "\t-\t\n"),
        ] {
            let damaged = whole.replacen(from, to, 1);
            assert_ne!(damaged, whole, "{from}");
            assert_eq!(read(&text([damaged.clone()].into_iter())), [None], "{damaged}");
        }
    }
}
