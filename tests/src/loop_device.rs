//! Loop devices of the tests' own. Detached when dropped, also after a failed test.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// A block device over a file.
#[derive(Debug)]
pub struct LoopDevice {
    path: PathBuf,
}

impl LoopDevice {
    /// Stands on `file` with logical sectors of `sector_size` bytes and scans for partitions.
    ///
    /// # Panics
    /// When `losetup` (loop(4)) fails: it needs root.
    #[must_use]
    pub fn new(file: &Path, sector_size: u64) -> Self {
        let sector_size = format!("--sector-size={sector_size}");
        Self::attach(&["--partscan", "--direct-io=on", &sector_size], file)
    }

    /// As above with sectors of 512 bytes, and the kernel refuses writes.
    ///
    /// # Panics
    /// As [`LoopDevice::new`].
    #[must_use]
    pub fn read_only(file: &Path) -> Self {
        Self::attach(&["--read-only"], file)
    }

    fn attach(options: &[&str], file: &Path) -> Self {
        let mut command = Command::new("losetup");
        let output = run(command.args(["--find", "--show"]).args(options).arg(file));
        Self { path: PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()) }
    }

    /// Its device node.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The kernel's name, such as `loop3`.
    ///
    /// # Panics
    /// Never: the path of a node has a name.
    #[must_use]
    pub fn name(&self) -> String {
        self.path.file_name().expect("a name").to_string_lossy().into_owned()
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        // A failed test tells more than this could.
        let ended = Command::new("losetup").arg("--detach").arg(&self.path).status();
        if !ended.is_ok_and(|status| status.success()) {
            eprintln!("{} was not detached", self.path.display());
        }
    }
}

/// Runs a program that must succeed.
///
/// # Panics
/// When it does not, with what it said.
pub fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}
