//! Files that were open when this program was started. Must not close one: `--config /dev/fd/63` is such a file.

#![expect(unsafe_code, reason = "a descriptor that nobody here has opened is known by its number alone")]

use std::{
    fs, io,
    os::fd::{BorrowedFd, RawFd},
};

use rustix::io::{Errno, FdFlags, fcntl_setfd};

/// Keeps from every program that is run what was open when this one was started, but standard input, output and error. A machine would
/// hold a lock or a pipe of whoever called for as long as it runs.
///
/// # Errors
/// When the kernel does not show which files are open.
pub fn keep_inherited() -> io::Result<()> {
    let mut numbers: Vec<RawFd> = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        numbers.extend(entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()));
    }
    for number in numbers.into_iter().filter(|number| *number > 2) {
        // SAFETY: the number is not negative, nothing is read or written through it, and a file of another thread that has it by now
        // is none for a child either.
        let file = unsafe { BorrowedFd::borrow_raw(number) };
        match fcntl_setfd(file, FdFlags::CLOEXEC) {
            // The folder that was listed is closed.
            Ok(()) | Err(Errno::BADF) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_program_gets_no_file_that_was_open_before() {
        let path = std::env::current_exe().unwrap();
        let lent = fs::File::open(&path).unwrap();
        fcntl_setfd(&lent, FdFlags::empty()).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let sees_it = || {
            let output = Command::new("ls").args(["-l", "/proc/self/fd"]).output().unwrap();
            assert!(output.status.success());
            String::from_utf8(output.stdout).unwrap().contains(&name)
        };
        assert!(sees_it(), "without any of this");
        keep_inherited().unwrap();
        assert!(!sees_it());
    }
}
