//! The programs that the agent runs, and the files they need, as a folder that is laid out as a root folder. Owns which
//! paths, kinds and sizes may go into the archive; must not know what a program does.

use std::collections::BTreeMap;

use crate::{InitramfsError, MAX_PROGRAMS};

/// What the archive has itself, or what is hidden by a mount as soon as the agent runs.
const RESERVED: [&str; 7] = ["dev", "init", "modules", "newroot", "proc", "run", "sys"];
/// Most links that may follow each other, as in the kernel (MAXSYMLINKS of linux/namei.h).
const MAX_LINKS: usize = 40;

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProgramEntry {
    /// A folder.
    Folder,
    /// A plain file.
    File {
        /// Whether anybody may execute it.
        executable: bool,
        /// The file.
        bytes: Vec<u8>,
    },
    /// A symbolic link.
    Link {
        /// Where it leads; an absolute path is one of the folder's own.
        target: String,
    },
}

/// The files of the folder, each by its path from there without a slash in front.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Programs {
    entries: BTreeMap<String, ProgramEntry>,
    bytes: u64,
}

impl Programs {
    /// How many bytes of files still fit.
    #[must_use]
    pub const fn room(&self) -> u64 {
        MAX_PROGRAMS.saturating_sub(self.bytes)
    }

    /// Adds what is at `path`, after the folder that holds it.
    ///
    /// # Errors
    /// When the path is none of a root folder, the archive has it already, its folder was not added, or the files are
    /// larger than [`MAX_PROGRAMS`] together.
    pub fn add(&mut self, path: &str, entry: ProgramEntry) -> Result<(), InitramfsError> {
        check_path(path)?;
        if let Some((folder, _)) = path.rsplit_once('/')
            && self.entries.get(folder) != Some(&ProgramEntry::Folder)
        {
            return Err(InitramfsError::ProgramFolderAbsent { path: path.to_owned() });
        }
        if let ProgramEntry::File { bytes, .. } = &entry {
            self.bytes = self.bytes.saturating_add(bytes.len() as u64);
            if self.bytes > MAX_PROGRAMS {
                return Err(InitramfsError::ProgramsTooLarge { path: path.to_owned() });
            }
        }
        match self.entries.insert(path.to_owned(), entry) {
            None => Ok(()),
            Some(_) => Err(InitramfsError::ProgramPathTaken { path: path.to_owned() }),
        }
    }

    /// Whether there is something at the absolute `path`, by links and folders of ours alone.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        self.leads_inside(path)
    }

    /// All entries, a folder before what is in it. The order is that of the paths' bytes.
    ///
    /// # Errors
    /// When a link does not lead to something in the folder.
    pub(crate) fn entries(&self) -> Result<impl Iterator<Item = (&str, &ProgramEntry)>, InitramfsError> {
        for (path, entry) in &self.entries {
            if let ProgramEntry::Link { target } = entry
                && !self.leads_inside(path)
            {
                return Err(InitramfsError::ProgramLink { path: path.clone(), target: target.clone() });
            }
        }
        Ok(self.entries.iter().map(|(path, entry)| (path.as_str(), entry)))
    }

    /// Whether the link at `path` ends at a file or folder, by links and folders of ours alone.
    fn leads_inside(&self, path: &str) -> bool {
        let mut at: Vec<&str> = Vec::new();
        let mut ahead: Vec<&str> = path.split('/').rev().collect();
        let mut links = 0;
        while let Some(part) = ahead.pop() {
            match part {
                "" | "." => continue,
                // The kernel takes the folder above a root for that root; a link that wants more means another root.
                ".." if at.pop().is_none() => return false,
                ".." => continue,
                _ => at.push(part),
            }
            match self.entries.get(&at.join("/")) {
                Some(ProgramEntry::Folder) => {}
                Some(ProgramEntry::File { .. }) => return ahead.is_empty(),
                Some(ProgramEntry::Link { .. }) if links == MAX_LINKS => return false,
                Some(ProgramEntry::Link { target }) => {
                    links += 1;
                    at.pop();
                    if target.starts_with('/') {
                        at.clear();
                    }
                    ahead.extend(target.split('/').rev());
                }
                None => return false,
            }
        }
        true
    }
}

fn check_path(path: &str) -> Result<(), InitramfsError> {
    let invalid = |reason| InitramfsError::ProgramPath { path: path.chars().take(200).collect(), reason };
    // The limit of a path in the kernel (PATH_MAX of linux/limits.h), with its end.
    if path.len() >= 4096 {
        return Err(invalid("it has more than 4095 bytes"));
    }
    if path.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return Err(invalid("it is not relative to the folder"));
    }
    if path.contains(char::is_control) {
        return Err(invalid("it has a control character"));
    }
    // The end of an archive is an entry of this name (buffer-format.rst).
    if path == "TRAILER!!!" {
        return Err(invalid("it ends an archive"));
    }
    let top = path.split('/').next().unwrap_or(path);
    if RESERVED.contains(&top) {
        return Err(InitramfsError::ProgramPathTaken { path: path.to_owned() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> ProgramEntry {
        ProgramEntry::File { executable: false, bytes: b"content".to_vec() }
    }

    fn link(target: &str) -> ProgramEntry {
        ProgramEntry::Link { target: target.to_owned() }
    }

    fn programs(entries: &[(&str, ProgramEntry)]) -> Programs {
        let mut programs = Programs::default();
        for (path, entry) in entries {
            programs.add(path, entry.clone()).unwrap();
        }
        programs
    }

    #[test]
    fn a_program_is_found_by_its_path_and_by_links_to_it() {
        let merged = programs(&[
            ("sbin", ProgramEntry::Folder),
            ("sbin/mke2fs", file()),
            ("sbin/mkfs.ext4", link("mke2fs")),
            ("usr", ProgramEntry::Folder),
            ("usr/sbin", link("../sbin")),
            ("usr/mkfs.xfs", link("/nothing")),
        ]);
        assert!(merged.has("/usr/sbin/mkfs.ext4") && merged.has("/sbin/mke2fs"));
        assert!(!merged.has("/usr/sbin/mkfs.xfs") && !merged.has("/usr/mkfs.xfs"));
    }

    #[test]
    fn paths_of_the_archive_itself_and_paths_that_are_none_are_refused() {
        let long = "a/".repeat(2048);
        let cases = [
            ("init", "\"/init\" of the programs is a path of the initramfs itself, or there twice"),
            ("modules", "\"/modules\" of the programs is a path of the initramfs itself, or there twice"),
            ("modules/boot", "\"/modules/boot\" of the programs is a path"),
            ("dev/null", "\"/dev/null\" of the programs is a path"),
            ("newroot", "\"/newroot\" of the programs is a path"),
            ("", "invalid path \"\" of the programs: it is not relative"),
            ("/etc", "invalid path \"/etc\" of the programs: it is not relative"),
            ("etc/", "invalid path \"etc/\" of the programs: it is not relative"),
            ("etc/../init", "invalid path \"etc/../init\" of the programs: it is not relative"),
            ("./init", "invalid path \"./init\" of the programs: it is not relative"),
            ("a\nb", "invalid path \"a\\nb\" of the programs: it has a control character"),
            ("TRAILER!!!", "invalid path \"TRAILER!!!\" of the programs: it ends an archive"),
            (&long, "invalid path \"a/a/"),
            ("usr/sbin", "\"/usr/sbin\" of the programs comes before its folder"),
        ];
        for (path, expected) in cases {
            for entry in [file(), link("a"), ProgramEntry::Folder] {
                let error = Programs::default().add(path, entry).unwrap_err().to_string();
                assert!(error.starts_with(expected), "{error}");
            }
        }
        assert!(Programs::default().add("initrd", file()).is_ok());
    }

    #[test]
    fn nothing_is_there_twice_nor_below_a_file_or_a_link() {
        let mut programs = programs(&[("usr", ProgramEntry::Folder), ("lib", link("usr")), ("file", file())]);
        assert!(matches!(programs.add("usr", ProgramEntry::Folder), Err(InitramfsError::ProgramPathTaken { .. })));
        for path in ["lib/a", "file/a"] {
            let error = programs.add(path, file()).unwrap_err();
            assert!(matches!(error, InitramfsError::ProgramFolderAbsent { .. }), "{error}");
        }
    }

    #[test]
    fn links_of_distributions_lead_inside() {
        let library = ("usr/lib/x/ld.so", file());
        let folders = [
            ("usr", ProgramEntry::Folder),
            ("usr/lib", ProgramEntry::Folder),
            ("usr/lib/x", ProgramEntry::Folder),
            library,
        ];
        for (path, target) in [
            ("lib", "usr/lib"),
            ("lib", "/usr/lib"),
            ("lib", "./usr//lib/"),
            ("ld.so", "/usr/lib/x/ld.so"),
            ("usr/lib/x/other", "ld.so"),
            ("usr/lib/x/other", "../../../usr/lib/x/ld.so"),
            ("usr/root", "/"),
            ("usr/root", ".."),
        ] {
            let mut programs = programs(&folders);
            programs.add(path, link(target)).unwrap();
            assert_eq!(programs.entries().unwrap().count(), 5, "{path} -> {target}");
        }
        let mut chain = programs(&folders);
        chain.add("lib", link("usr/lib")).unwrap();
        chain.add("usr/ld.so", link("/lib/x/ld.so")).unwrap();
        chain.add("ld.so", link("usr/ld.so")).unwrap();
        assert!(chain.entries().is_ok());
    }

    #[test]
    fn links_that_lead_out_or_nowhere_are_refused() {
        for (path, target) in [
            ("out", "../etc/passwd"),
            ("etc/out", "../../etc/file"),
            ("out", "/etc/shadow"),
            ("out", "etc/absent"),
            ("out", "/init"),
            ("out", "/modules"),
            ("out", "/dev/vda"),
            ("out", "etc/file/.."),
            ("out", "etc/file/"),
            ("out", "out"),
            ("out", "out/out"),
        ] {
            let mut programs = programs(&[("etc", ProgramEntry::Folder), ("etc/file", file())]);
            programs.add(path, link(target)).unwrap();
            let error = programs.entries().err().map(|error| error.to_string());
            let expected =
                format!("symbolic link \"/{path}\" to {target:?} does not lead to a file or folder of the programs");
            assert_eq!(error, Some(expected));
        }
    }

    #[test]
    fn more_than_the_limit_is_refused_and_the_limit_is_not() {
        let large =
            |bytes: u64| ProgramEntry::File { executable: false, bytes: vec![0; usize::try_from(bytes).unwrap()] };
        let mut programs = Programs::default();
        programs.add("a", large(MAX_PROGRAMS - 1)).unwrap();
        assert_eq!(programs.room(), 1);
        programs.add("b", large(1)).unwrap();
        assert_eq!(programs.room(), 0);
        programs.add("empty", large(0)).unwrap();
        assert_eq!(
            programs.add("c", large(1)).unwrap_err().to_string(),
            "with \"/c\" the programs have more than 256 MiB, the most that goes into an initramfs"
        );
    }
}
