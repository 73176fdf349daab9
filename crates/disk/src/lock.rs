//! Locks over all bytes of a file that belong to an open file, and not to a process: fcntl(2), "Open file description locks".
//! Must not know what the file is for.

use std::{io, os::fd::AsFd};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
    libc,
};

/// Every byte, also those that are still to come.
const WHOLE: libc::flock = libc::flock {
    l_type: libc::F_WRLCK as libc::c_short,
    l_whence: libc::SEEK_SET as libc::c_short,
    l_start: 0,
    l_len: 0,
    l_pid: 0,
};

/// Locks an open file, until it and every copy of its descriptor are closed; `false` when somebody else has a lock on a part of it.
///
/// # Errors
/// For a file that is not open for writing, or has no locks.
pub fn lock(file: impl AsFd) -> io::Result<bool> {
    match fcntl(file, FcntlArg::F_OFD_SETLK(&WHOLE)) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Whether somebody else has a lock on a part of an open file. Takes none, so it is in nobody's way.
///
/// # Errors
/// For a file that has no locks.
pub fn is_locked(file: impl AsFd) -> io::Result<bool> {
    meets(file, WHOLE)
}

/// Whether somebody else may write to an open file: has a lock that keeps readers out, or is a QEMU that opened it for writing or for
/// changing its size, and not as what another file stands on.
///
/// # Errors
/// For a file that has no locks.
pub fn is_written(file: impl AsFd) -> io::Result<bool> {
    // QEMU locks one byte for each thing that it may do, for reading, so that others may do it likewise (`block/file-posix.c`).
    const WRITES: libc::off_t = 101;
    const RESIZES: libc::off_t = 103;
    let byte = |l_start| libc::flock { l_start, l_len: 1, ..WHOLE };
    let keeps_readers_out = libc::flock { l_type: libc::F_RDLCK as libc::c_short, ..WHOLE };
    Ok(meets(&file, keeps_readers_out)? || meets(&file, byte(WRITES))? || meets(&file, byte(RESIZES))?)
}

/// Whether a lock of somebody else would be in the way of this one.
fn meets(file: impl AsFd, mut asked: libc::flock) -> io::Result<bool> {
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut asked))?;
    Ok(asked.l_type != libc::F_UNLCK as libc::c_short)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn a_lock_is_seen_by_every_other_open_file_and_ends_with_its_last_copy() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (first, looker) = (file.reopen().unwrap(), File::open(file.path()).unwrap());
        assert!(!is_locked(&looker).unwrap());
        assert!(lock(&first).unwrap() && lock(&first).unwrap(), "it is the same one");
        assert!(is_locked(&looker).unwrap() && !is_locked(&first).unwrap());
        assert!(!lock(file.reopen().unwrap()).unwrap());
        let copy = first.try_clone().unwrap();
        drop(first);
        assert!(is_locked(&looker).unwrap(), "a copy of its descriptor holds it");
        drop(copy);
        assert!(!is_locked(&looker).unwrap());
        assert!(lock(&looker).is_err(), "it is only open for reading");
    }

    #[test]
    fn a_reader_of_qemu_is_told_from_a_writer() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let looker = File::open(file.path()).unwrap();
        // Bytes that QEMU 7.2 locks: as what another file stands on, 100 and 201; for writing, 101 as well.
        let of_qemu = |bytes: &[i64]| {
            let opened = file.reopen().unwrap();
            for start in bytes {
                let byte = libc::flock { l_type: libc::F_RDLCK as libc::c_short, l_start: *start, l_len: 1, ..WHOLE };
                fcntl(&opened, FcntlArg::F_OFD_SETLK(&byte)).unwrap();
            }
            opened
        };
        assert!(!is_written(&looker).unwrap());
        let reader = of_qemu(&[100, 201]);
        assert!(is_locked(&looker).unwrap() && !is_written(&looker).unwrap());
        drop(reader);
        for writes in [101, 103] {
            let writer = of_qemu(&[100, writes]);
            assert!(is_written(&looker).unwrap(), "{writes}");
            drop(writer);
        }
        let ours = file.reopen().unwrap();
        assert!(lock(&ours).unwrap() && is_written(&looker).unwrap());
    }
}
