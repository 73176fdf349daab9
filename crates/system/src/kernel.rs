//! The running kernel: its command line, release, boot id, log and modules. Must not choose which modules.

use std::{
    ffi::CString,
    fs::{self, File, OpenOptions},
    io::Write,
    path::Path,
    time::Duration,
};

use cloud_machine_protocol::{LOG_PREFIX, escaped};
use nix::{
    errno::Errno,
    kmod::{ModuleInitFlags, finit_module},
    sys::utsname::uname,
};

use crate::{SystemError, program::Program};

/// The program that loads modules of a distribution.
pub const MODPROBE: &str = "/sbin/modprobe";
/// A module that takes longer hangs in its device.
const MODPROBE_TIME: Duration = Duration::from_secs(60);

fn read(path: &str) -> Result<String, SystemError> {
    fs::read_to_string(path).map(|text| text.trim_end().to_owned()).map_err(SystemError::io("read", path))
}

/// The kernel command line without its final newline.
///
/// # Errors
/// [`SystemError::Io`] when /proc is not there.
pub fn command_line() -> Result<String, SystemError> {
    read("/proc/cmdline")
}

/// The identifier of this boot (proc_sys_kernel(5)).
///
/// # Errors
/// [`SystemError::Io`] when /proc is not there.
pub fn boot_id() -> Result<String, SystemError> {
    read("/proc/sys/kernel/random/boot_id")
}

/// `uname -r`.
#[must_use]
pub fn release() -> String {
    uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default()
}

/// Loads the modules that `<folder>/<stage>` lists, in that order (finit_module(2)). One that is there already is no
/// error, nor is one for hardware that the machine has not.
///
/// # Errors
/// [`SystemError::Io`] naming the module that cannot be read or loaded.
pub fn load_modules(folder: &str, stage: &str) -> Result<(), SystemError> {
    let order = read(&format!("{folder}/{stage}"))?;
    for name in order.lines().filter(|line| !line.is_empty()) {
        let path = format!("{folder}/{name}");
        let file = File::open(&path).map_err(SystemError::io("open", &path))?;
        match finit_module(&file, &CString::default(), ModuleInitFlags::empty()) {
            // A module for what this processor has not says ENODEV; one that does the same in software is listed too, and
            // whatever needs either says so itself.
            Ok(()) | Err(Errno::EEXIST | Errno::ENODEV) => {}
            Err(error) => return Err(SystemError::io("load kernel module", &path)(error)),
        }
    }
    Ok(())
}

/// Loads a module that was named when the image was packed, and all that it needs.
///
/// # Errors
/// [`SystemError::ModuleAbsent`] when it is not in the initramfs; as [`load_modules`].
pub fn load_module(folder: &str, module: &str) -> Result<(), SystemError> {
    // The name of the list as the program that makes the initramfs writes it.
    let list = format!("module-{}", module.replace('-', "_"));
    if !Path::new(folder).join(&list).exists() {
        return Err(SystemError::ModuleAbsent { module: module.to_owned() });
    }
    load_modules(folder, &list)
}

/// Loads modules of the distribution in whose initramfs or system this runs, in that order (modprobe(8)).
///
/// # Errors
/// [`SystemError::ProgramAbsent`] without modprobe, [`SystemError::ProgramFailed`] naming the module.
pub fn modprobe(modules: &[&str]) -> Result<(), SystemError> {
    for module in modules {
        Program::new(MODPROBE).arguments(["--quiet", "--", module]).run(MODPROBE_TIME)?;
    }
    Ok(())
}

/// One line in the kernel log, which is also the console. A failure is not reported: this is the last channel.
pub fn log(text: &str) {
    let line = format!("<5>{LOG_PREFIX}{}\n", escaped(text));
    let written = OpenOptions::new().write(true).open("/dev/kmsg").and_then(|mut log| log.write_all(line.as_bytes()));
    if written.is_err() {
        // Before /dev is mounted only the console that the kernel opened for PID 1 is left.
        std::io::stderr().write_all(line.as_bytes()).unwrap_or_default();
    }
}
