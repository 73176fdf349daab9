//! What may be copied in one call: the two sides of it, that no source overwrites another, and that no file of this host is one
//! that scp would wait for. Must not copy or change anything.

use std::{
    ffi::OsString,
    fs::{self, FileType},
    io,
    path::{Path, PathBuf},
};

use cloud_machine_driver::ssh::on_machine;
use cloud_machine_protocol::MachineName;

use crate::{
    arguments::Operand,
    failure::{Failure, Kind},
};

/// The characters of a pattern, as scp has them (glob(7)).
const PATTERN: [char; 3] = ['*', '?', '['];

/// The machine, and all paths as scp takes them.
pub(super) struct Sides {
    pub(super) machine: MachineName,
    pub(super) words: Vec<OsString>,
}

impl Sides {
    pub(super) fn of(operands: &[Operand]) -> Result<Self, Failure> {
        let Some((to, from)) = operands.split_last() else { return Err(usage("nothing to copy was named")) };
        let machines: Vec<&MachineName> = operands.iter().filter_map(|operand| operand.machine()).collect();
        let machine = match machines.split_first() {
            None => return Err(usage("neither side is a machine").hint("a path on a machine is NAME:PATH")),
            Some((first, rest)) if rest.iter().all(|other| other == first) => *first,
            Some(_) => return Err(usage("more than one machine is named").hint("copy to a file of this host first")),
        };
        if from.iter().any(|operand| operand.machine().is_some() == to.machine().is_some()) {
            return Err(usage("what is copied has to be on the other side than where it is copied to")
                .hint("`cloud-machine exec NAME -- cp FROM TO` copies on a machine"));
        }
        if from.iter().any(|operand| matches!(operand, Operand::On(_, path) if path.is_empty())) {
            return Err(usage("the machine's side names no file"));
        }
        for (index, source) in from.iter().enumerate() {
            source.has_names(from.len() > 1)?;
            if let Some(other) = from.iter().take(index).find(|other| other.name() == source.name()) {
                let text =
                    format!("{} and {} have the same name where they are copied to", other.shown(), source.shown());
                return Err(usage(text).hint("copy each in a call of its own, with another name"));
            }
        }
        Ok(Self { machine: machine.clone(), words: operands.iter().map(Operand::word).collect() })
    }
}

fn usage(text: impl Into<String>) -> Failure {
    Failure::new(Kind::Usage, text.into())
}

impl Operand {
    fn machine(&self) -> Option<&MachineName> {
        match self {
            Self::Here(_) => None,
            Self::On(name, _) => Some(name),
        }
    }

    fn word(&self) -> OsString {
        match self {
            // Otherwise scp takes a name with a colon for another host's.
            Self::Here(path) if path.is_relative() => PathBuf::from(".").join(path).into_os_string(),
            Self::Here(path) => path.clone().into_os_string(),
            Self::On(_, path) => on_machine(path).into(),
        }
    }

    /// As it was typed.
    fn shown(&self) -> String {
        match self {
            Self::Here(path) => path.display().to_string(),
            Self::On(name, path) => format!("{name}:{path}"),
        }
    }

    /// The bytes of its name where it is copied to; without one it is what lies in a folder.
    fn name(&self) -> Vec<u8> {
        match self {
            Self::Here(path) => last_part(path.as_os_str().as_encoded_bytes()).1.to_vec(),
            Self::On(_, path) => plain(last_part(path.as_bytes()).1),
        }
    }

    /// Refuses a source of which it cannot be known before what it overwrites.
    fn has_names(&self, has_others: bool) -> Result<(), Failure> {
        let alone = |what: &str| usage(format!("{}: {what} is copied in a call of its own", self.shown()));
        if has_others && matches!(self.name().as_slice(), b"" | b"." | b"..") {
            return Err(alone("what lies in a folder").hint("without the dot at its end it is copied as a folder"));
        }
        let Self::On(_, path) = self else { return Ok(()) };
        let (folder, name) = last_part(path.as_bytes());
        let literal = "a backslash makes the next character one of the name, such as \\*";
        if is_pattern(folder) {
            let text = format!("{}: only the last part of a path may be a pattern", self.shown());
            return Err(usage(text).hint(literal));
        }
        if has_others && is_pattern(name) { Err(alone("a pattern").hint(literal)) } else { Ok(()) }
    }
}

/// A path without slashes at its end, before its last slash and behind it.
fn last_part(path: &[u8]) -> (&[u8], &[u8]) {
    let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
    let path = path.get(..end).unwrap_or(path);
    let start = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    path.split_at_checked(start).unwrap_or((path, b""))
}

fn is_pattern(text: &[u8]) -> bool {
    let mut is_literal = false;
    text.iter().any(|byte| {
        let found = !is_literal && PATTERN.contains(&char::from(*byte));
        is_literal = !is_literal && *byte == b'\\';
        found
    })
}

/// What a backslash before a character leaves of it.
fn plain(text: &[u8]) -> Vec<u8> {
    let (mut kept, mut is_literal) = (Vec::new(), false);
    for byte in text {
        is_literal = !is_literal && *byte == b'\\';
        if !is_literal {
            kept.push(*byte);
        }
    }
    kept
}

/// Refuses what is not there, and what scp would wait for or never come to the end of.
pub(super) fn can_be_read(path: &Path, recursive: bool) -> Result<(), Failure> {
    let found = fs::metadata(path).map_err(|error| looked_at(path, error))?;
    match found.file_type() {
        kind if kind.is_file() => Ok(()),
        kind if kind.is_dir() && recursive => links_can_be_read(path),
        kind if kind.is_dir() => {
            let text = format!("{} is a folder", path.display());
            Err(usage(text).hint("--recursive copies it with all that is in it"))
        }
        // scp would wait for a pipe, and copy a disk.
        kind => Err(usage(format!("{} is {}, which is not copied", path.display(), named(kind)))),
    }
}

/// The same of every link in a folder; scp opens what it leads to and itself passes over all else that is no file.
fn links_can_be_read(folder: &Path) -> Result<(), Failure> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(|error| looked_at(&folder, error))? {
            let entry = entry.map_err(|error| looked_at(&folder, error))?;
            let (path, kind) = (entry.path(), entry.file_type().map_err(|error| looked_at(&entry.path(), error))?);
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_symlink()
                // One that leads nowhere is for scp to tell.
                && let Ok(found) = fs::metadata(&path)
                && !found.is_file()
                && !found.is_dir()
            {
                let text = format!("{} leads to {}, which is not copied", path.display(), named(found.file_type()));
                return Err(usage(text).hint("remove the link, or copy what is beside it"));
            }
        }
    }
    Ok(())
}

fn looked_at(path: &Path, error: io::Error) -> Failure {
    let kind = if error.kind() == io::ErrorKind::NotFound { Kind::NotFound } else { Kind::Failed };
    Failure::during(kind, format!("look at {}", path.display()))(error)
}

fn named(kind: FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    match kind {
        kind if kind.is_fifo() => "a named pipe",
        kind if kind.is_socket() => "a socket",
        _ => "a device",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(words: &[&str]) -> Result<Vec<OsString>, String> {
        let operands: Vec<Operand> = words.iter().map(|word| word.parse().unwrap()).collect();
        Sides::of(&operands).map(|sides| sides.words).map_err(|failure| failure.error.to_string())
    }

    #[test]
    fn one_side_is_a_machine_and_names_with_colons_stay_local() {
        assert_eq!(asked(&["./a:b", "/c", "m:/d"]).unwrap(), ["././a:b", "/c", "127.0.0.1:/d"]);
        assert_eq!(asked(&["m:/d", "m:e", "-o"]).unwrap(), ["127.0.0.1:/d", "127.0.0.1:e", "./-o"]);
        for (words, reason) in [
            (&["a", "b"][..], "neither side is a machine"),
            (&["m:a", "n:b"], "more than one machine is named"),
            (&["m:a", "m:b"], "what is copied has to be on the other side than where it is copied to"),
            (&["a", "m:b", "m:c"], "what is copied has to be on the other side than where it is copied to"),
            (&["m:", "b"], "the machine's side names no file"),
        ] {
            assert_eq!(asked(words).unwrap_err(), reason, "{words:?}");
        }
    }

    #[test]
    fn sources_of_one_name_are_refused_with_both() {
        let same = |one: &str, two: &str| format!("{one} and {two} have the same name where they are copied to");
        for (words, one, two) in [
            (&["a/x", "b/x", "m:"][..], "a/x", "b/x"),
            (&["a/x/", "c", "x", "m:"], "a/x/", "x"),
            (&["m:a/x", "m:/b/x//", "d"], "m:a/x", "m:/b/x//"),
            (&["m:a/x*", "m:b/x\\*", "d"], "", ""),
            (&["m:a/\\x", "m:b/x", "d"], "m:a/\\x", "m:b/x"),
        ] {
            let error = asked(words).unwrap_err();
            assert!(one.is_empty() || error == same(one, two), "{words:?}: {error}");
        }
        assert!(asked(&["a/x", "b/X", "x/y", "m:"]).is_ok());
        // What is on this host has no patterns: the shell has taken them.
        assert!(asked(&["a/\\x", "b/x", "c/*", "m:"]).is_ok());
    }

    #[test]
    fn what_has_no_name_before_it_is_copied_is_copied_alone() {
        let alone = "is copied in a call of its own";
        for word in ["a/.", "..", ".", "/", "a/../"] {
            assert!(asked(&[word, "b", "m:"]).unwrap_err().contains(alone), "{word}");
            assert!(asked(&[word, "m:"]).is_ok(), "{word}");
        }
        for word in ["m:a/*", "m:b?", "m:[a]", "m:\\\\*", "m:a/.", "m:/"] {
            assert!(asked(&[word, "m:b", "d"]).unwrap_err().contains(alone), "{word}");
            assert!(asked(&[word, "d"]).is_ok(), "{word}");
        }
        for word in ["m:*/a", "m:/a[1]/b", "m:a?/b/"] {
            assert!(asked(&[word, "d"]).unwrap_err().contains("only the last part of a path"), "{word}");
        }
        assert!(asked(&["m:a\\*/b", "m:\\[a", "d"]).is_ok());
    }

    #[test]
    fn a_link_in_a_folder_leads_to_a_file_or_a_folder_or_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b");
        fs::create_dir_all(&deep).unwrap();
        let link = |target: &str, name: &str| std::os::unix::fs::symlink(target, deep.join(name)).unwrap();
        link("..", "up");
        link("none", "nowhere");
        link("/etc/hostname", "file");
        let _socket = std::os::unix::net::UnixListener::bind(deep.join("socket")).unwrap();
        assert!(can_be_read(folder.path(), true).is_ok());
        for (target, found) in [("/dev/null", "a device"), ("socket", "a socket")] {
            link(target, "odd");
            let failure = can_be_read(folder.path(), true).unwrap_err();
            let text = format!("{} leads to {found}, which is not copied", deep.join("odd").display());
            assert_eq!((failure.kind, failure.error.to_string()), (Kind::Usage, text));
            fs::remove_file(deep.join("odd")).unwrap();
        }
    }
}
