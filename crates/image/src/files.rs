//! What of a file counts when two roots are compared, and the digest of all files of one. Must not open a file: names,
//! content and attributes come from whoever walks a filesystem.

use std::collections::BTreeMap;

use blake3::Hasher;
use cloud_machine_protocol::{Algorithm, Digest};

/// One name in a filesystem, with all that counts of it: what a program that runs later could tell apart, but for the
/// times of access and of the last change of an inode, and numbers that the filesystem chose itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry<'a> {
    /// Path below the root of the filesystem, empty for the root itself.
    pub path: &'a [u8],
    /// What it is.
    pub kind: FileKind<'a>,
    /// Permission bits, with those for set-user-id, set-group-id and sticky.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u32, u32),
    /// Time of the last change of the content: seconds since 1970 and nanoseconds.
    pub modified: (i64, i64),
    /// Extended attributes with their values, sorted by name: access control lists and capabilities among them.
    pub attributes: &'a [(Vec<u8>, Vec<u8>)],
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileKind<'a> {
    /// A folder.
    Folder,
    /// A file: bytes and the BLAKE3 digest of them.
    File {
        /// Bytes.
        size: u64,
        /// BLAKE3 of the content.
        content: [u8; 32],
    },
    /// Another name of a file that was met before by this one: folders before what is in them, names in the order of
    /// their bytes.
    SameAs(&'a [u8]),
    /// A symbolic link and where it leads.
    Link(&'a [u8]),
    /// A device: whether it is one for blocks, and its major and minor number.
    Device {
        /// Whether it is a block device.
        block: bool,
        /// Major and minor number.
        number: (u64, u64),
    },
    /// A named pipe.
    Pipe,
    /// A socket.
    Socket,
}

impl FileEntry<'_> {
    /// BLAKE3 over all fields; each part of changing length comes behind its length.
    fn digest(&self) -> [u8; 32] {
        let mut hasher = Hasher::new();
        hasher.update(&self.mode.to_le_bytes());
        hasher.update(&self.owner.0.to_le_bytes()).update(&self.owner.1.to_le_bytes());
        hasher.update(&self.modified.0.to_le_bytes()).update(&self.modified.1.to_le_bytes());
        match &self.kind {
            FileKind::Folder => hasher.update(b"d"),
            FileKind::File { size, content } => hasher.update(b"f").update(&size.to_le_bytes()).update(content),
            FileKind::SameAs(first) => part(hasher.update(b"h"), first),
            FileKind::Link(target) => part(hasher.update(b"l"), target),
            FileKind::Device { block, number } => {
                hasher.update(if *block { b"b" } else { b"c" });
                hasher.update(&number.0.to_le_bytes()).update(&number.1.to_le_bytes())
            }
            FileKind::Pipe => hasher.update(b"p"),
            FileKind::Socket => hasher.update(b"s"),
        };
        for (name, value) in self.attributes {
            part(part(&mut hasher, name), value);
        }
        *hasher.finalize().as_bytes()
    }
}

fn part<'a>(hasher: &'a mut Hasher, bytes: &[u8]) -> &'a mut Hasher {
    hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes)
}

/// All files of a root, by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    entries: BTreeMap<Vec<u8>, [u8; 32]>,
    bytes: u64,
}

impl Files {
    /// Adds a name; in any order.
    pub fn add(&mut self, entry: &FileEntry<'_>) {
        if let FileKind::File { size, .. } = entry.kind {
            self.bytes += size;
        }
        self.entries.insert(entry.path.to_vec(), entry.digest());
    }

    /// BLAKE3 over all names in the order of their bytes, each with its [`FileEntry`].
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut hasher = Hasher::new();
        for (path, entry) in &self.entries {
            part(&mut hasher, path).update(entry);
        }
        Digest::new(Algorithm::Blake3, *hasher.finalize().as_bytes())
    }

    /// How many names.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Bytes in files.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The names that only one of the two has, and those that are something else in the other, in order.
    #[must_use]
    pub fn differing<'a>(&'a self, other: &'a Self) -> Vec<&'a [u8]> {
        let here = self.entries.iter().filter(|(path, entry)| other.entries.get(*path) != Some(entry));
        let there = other.entries.keys().filter(|path| !self.entries.contains_key(*path));
        let mut paths: Vec<&[u8]> = here.map(|(path, _)| path).chain(there).map(Vec::as_slice).collect();
        paths.sort_unstable();
        paths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: FileEntry<'static> = FileEntry {
        path: b"etc/passwd",
        kind: FileKind::File { size: 3, content: [7; 32] },
        mode: 0o644,
        owner: (0, 0),
        modified: (1_700_000_000, 5),
        attributes: &[],
    };

    fn files(entries: &[FileEntry<'_>]) -> Files {
        let mut files = Files::default();
        entries.iter().for_each(|entry| files.add(entry));
        files
    }

    /// Every field by itself makes another digest, and no two of these entries the same one.
    #[test]
    fn whatever_counts_of_a_file_changes_the_digest() {
        let one = [(b"user.a".to_vec(), b"bc".to_vec())];
        let shifted = [(b"user.ab".to_vec(), b"c".to_vec())];
        let capable = [(b"security.capability".to_vec(), vec![1])];
        let kinds = [
            FileKind::Folder,
            FileKind::File { size: 4, content: [7; 32] },
            FileKind::File { size: 3, content: [8; 32] },
            FileKind::SameAs(b"etc/passwd-"),
            FileKind::Link(b"etc/passwd-"),
            FileKind::Device { block: true, number: (8, 0) },
            FileKind::Device { block: false, number: (8, 0) },
            FileKind::Device { block: true, number: (0, 8) },
            FileKind::Pipe,
            FileKind::Socket,
        ];
        let mut entries = vec![
            FILE,
            FileEntry { mode: 0o4755, ..FILE },
            FileEntry { owner: (1, 0), ..FILE },
            FileEntry { owner: (0, 1), ..FILE },
            FileEntry { modified: (1_700_000_001, 5), ..FILE },
            FileEntry { modified: (1_700_000_000, 6), ..FILE },
            FileEntry { attributes: &one, ..FILE },
            FileEntry { attributes: &shifted, ..FILE },
            FileEntry { attributes: &capable, ..FILE },
            FileEntry { path: b"etc/passwd2", ..FILE },
        ];
        entries.extend(kinds.into_iter().map(|kind| FileEntry { kind, ..FILE }));
        let digests: std::collections::BTreeSet<String> =
            entries.iter().map(|entry| files(std::slice::from_ref(entry)).digest().to_string()).collect();
        assert_eq!(digests.len(), entries.len());
    }

    #[test]
    fn the_order_in_which_names_are_found_does_not_count() {
        let other = FileEntry { path: b"etc", kind: FileKind::Folder, ..FILE };
        let (one, two) = (files(&[FILE, other.clone()]), files(&[other, FILE]));
        assert_eq!((one.digest(), one.count(), one.bytes()), (two.digest(), 2, 3));
        assert!(one.differing(&two).is_empty());
    }

    #[test]
    fn what_differs_is_named() {
        let folder = FileEntry { path: b"etc", kind: FileKind::Folder, ..FILE };
        let planted = FileEntry { path: b"etc/cron.d/planted", ..FILE };
        let golden = files(&[folder.clone(), FILE]);
        let dirty = files(&[folder, FileEntry { mode: 0o666, ..FILE }, planted]);
        let expected: [&[u8]; 2] = [b"etc/cron.d/planted", b"etc/passwd"];
        assert_eq!(golden.differing(&dirty), expected);
        assert_eq!(dirty.differing(&golden), expected);
    }
}
