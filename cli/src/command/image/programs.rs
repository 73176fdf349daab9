//! `--programs`: a folder on this host, read for the initramfs. Must not follow a link, nor decide what the archive takes.

use std::{
    fs::{self, File, FileType},
    io::{ErrorKind, Read},
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::Path,
};

use cloud_machine_initramfs::{ProgramEntry, Programs};

use crate::failure::{Failure, Kind};

/// All that is in `folder`, each file with its content.
pub(super) fn read(folder: &Path) -> Result<Programs, Failure> {
    let mut programs = Programs::default();
    add_folder(&mut programs, folder, "")?;
    Ok(programs)
}

/// Adds what is in `folder`, of which the path in the initramfs is `inside`.
fn add_folder(programs: &mut Programs, folder: &Path, inside: &str) -> Result<(), Failure> {
    let listed = fs::read_dir(folder).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
    let mut entries = listed.map_err(|error| {
        let kind = if error.kind() == ErrorKind::NotFound { Kind::NotFound } else { Kind::Failed };
        Failure::during(kind, format!("list the programs in {}", folder.display()))(error)
    })?;
    // The first error is the same one each time.
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let name = entry.file_name().into_string().map_err(|name| {
            Failure::failed(format!("file name {name:?} in the programs of {} is not UTF-8", folder.display()))
        })?;
        let inside = if inside.is_empty() { name } else { format!("{inside}/{name}") };
        let kind = entry.file_type().map_err(Failure::during(Kind::Failed, format!("examine {}", path.display())))?;
        let found = read_entry(&path, kind, programs.room())?;
        let is_folder = found == ProgramEntry::Folder;
        programs.add(&inside, found).map_err(Failure::during(Kind::Failed, format!("take {}", path.display())))?;
        if is_folder {
            add_folder(programs, &path, &inside)?;
        }
    }
    Ok(())
}

/// What is at `path`. Of a file one byte more than `room` is read at most, by which it is seen to be too large.
fn read_entry(path: &Path, kind: FileType, room: u64) -> Result<ProgramEntry, Failure> {
    if kind.is_dir() {
        Ok(ProgramEntry::Folder)
    } else if kind.is_symlink() {
        let target = fs::read_link(path).map_err(Failure::during(Kind::Failed, format!("read {}", path.display())))?;
        let target = target.into_os_string().into_string().map_err(|target| {
            Failure::failed(format!("symbolic link {} to {target:?} is not UTF-8", path.display()))
        })?;
        Ok(ProgramEntry::Link { target })
    } else if kind.is_file() {
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| {
            let mode = file.metadata()?.permissions().mode();
            file.take(room + 1).read_to_end(&mut bytes)?;
            Ok(mode & 0o111 != 0)
        });
        let executable = read.map_err(Failure::during(Kind::Failed, format!("read {}", path.display())))?;
        Ok(ProgramEntry::File { executable, bytes })
    } else {
        Err(Failure::failed(format!("{} is {}, no program", path.display(), name_of(kind)))
            .hint("--programs takes folders, plain files and symbolic links"))
    }
}

fn name_of(kind: FileType) -> &'static str {
    if kind.is_block_device() || kind.is_char_device() {
        "a device"
    } else if kind.is_fifo() {
        "a named pipe"
    } else {
        "a socket"
    }
}
