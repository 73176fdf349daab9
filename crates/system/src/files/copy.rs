//! Copies every file of a filesystem, with all that [`cloud_machine_image::FileEntry`] counts. Must write into an empty
//! folder only.

use std::{
    fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions},
    io::{Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use cloud_machine_image::{Files, Progress};
use nix::{
    fcntl::AT_FDCWD,
    sys::{
        stat::{Mode, SFlag, UtimensatFlags, mknod, utimensat},
        time::TimeSpec,
    },
};

use super::{
    Reader,
    attributes::{Attributes, set_attributes},
    each,
    walk::{Name, names},
};
use crate::SystemError;

/// Copies what is below `from` into the empty folder `to`, and gives what was copied as it was read.
///
/// # Errors
/// [`SystemError::Io`] naming the file that cannot be read or made, such as when there is no room for it.
pub fn copy(from: &Path, to: &Path, progress: Progress<'_>) -> Result<Files, SystemError> {
    let reader = Reader::new(from, progress)?;
    let names = names(from)?;
    let (folders, others): (Vec<&Name>, Vec<&Name>) = names.iter().partition(|name| name.metadata.is_dir());
    let (links, others): (Vec<&Name>, Vec<&Name>) = others.into_iter().partition(|name| name.first.is_some());
    for name in &folders {
        make(name, &to.join(&name.relative))?;
    }
    each(&others, |name, buffer| {
        let target = to.join(&name.relative);
        let attributes = if name.metadata.is_file() {
            copy_file(&reader, name, &target, buffer)?
        } else {
            make(name, &target)?;
            reader.add(name, None, buffer, |_| Ok(()))?
        };
        finish(&target, &name.metadata, &attributes)
    })?;
    for name in links {
        reader.add(name, None, &mut [], |_| Ok(()))?;
        let (first, target) = (name.first.as_deref().unwrap_or(from), to.join(&name.relative));
        fs::hard_link(to.join(first), &target).map_err(failed("link", &target))?;
    }
    // What is made in a folder takes over its access control list, and changes its time.
    for name in folders.iter().rev() {
        let attributes = reader.add(name, None, &mut [], |_| Ok(()))?;
        finish(&to.join(&name.relative), &name.metadata, &attributes)?;
    }
    Ok(reader.files())
}

fn copy_file(reader: &Reader<'_>, name: &Name, target: &Path, buffer: &mut [u8]) -> Result<Attributes, SystemError> {
    let mut output = new_file(target)?;
    let attributes = reader.add(name, Some(name.open()?), buffer, |piece| {
        // What is zero takes no room.
        if piece.iter().all(|byte| *byte == 0) {
            output.seek(SeekFrom::Current(piece.len() as i64)).map(|_| ()).map_err(failed("write", target))
        } else {
            output.write_all(piece).map_err(failed("write", target))
        }
    })?;
    output.set_len(name.metadata.len()).map_err(failed("write", target))?;
    Ok(attributes)
}

fn new_file(path: &Path) -> Result<File, SystemError> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed("create", path))
}

/// Whatever is no file. The root is there already.
fn make(name: &Name, target: &Path) -> Result<(), SystemError> {
    let (kind, number) = (name.metadata.file_type(), name.metadata.rdev());
    let node = |flag| {
        let made = mknod(target, flag, Mode::S_IRUSR | Mode::S_IWUSR, number);
        made.map_err(|error| failed("create", target)(error.into()))
    };
    match () {
        () if name.relative.as_os_str().is_empty() => Ok(()),
        () if kind.is_dir() => DirBuilder::new().mode(0o700).create(target).map_err(failed("create", target)),
        () if kind.is_symlink() => {
            let to = fs::read_link(&name.path).map_err(name.failed("read the link"))?;
            std::os::unix::fs::symlink(to, target).map_err(failed("create", target))
        }
        () if kind.is_block_device() => node(SFlag::S_IFBLK),
        () if kind.is_char_device() => node(SFlag::S_IFCHR),
        () if kind.is_fifo() => node(SFlag::S_IFIFO),
        () if kind.is_socket() => node(SFlag::S_IFSOCK),
        () => Ok(()),
    }
}

/// Owner first, which takes set-user-id and capabilities away, and the time last.
fn finish(target: &Path, metadata: &Metadata, attributes: &Attributes) -> Result<(), SystemError> {
    std::os::unix::fs::lchown(target, Some(metadata.uid()), Some(metadata.gid()))
        .map_err(failed("set the owner of", target))?;
    if !metadata.is_symlink() {
        fs::set_permissions(target, Permissions::from_mode(metadata.mode() & 0o7777))
            .map_err(failed("set the mode of", target))?;
    }
    set_attributes(target, attributes)?;
    let time = TimeSpec::new(metadata.mtime(), metadata.mtime_nsec());
    utimensat(AT_FDCWD, target, &time, &time, UtimensatFlags::NoFollowSymlink)
        .map_err(|error| failed("set the time of", target)(error.into()))
}

fn failed(verb: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> SystemError {
    SystemError::io(verb, path.display().to_string())
}
