//! The virtio-serial port to the host as a channel: found by name. Must not know the messages.

use std::{
    fs::{self, OpenOptions},
    io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::{SystemError, channel::Channel, descriptors::Descriptors};

const SYSFS: &str = "/sys/class/virtio-ports";
/// What a person calls it.
const NAME: &str = "the host's port";

/// How long a port may take to appear after its driver was loaded, on a host that is busy.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause before it is looked again.
const PAUSE: Duration = Duration::from_millis(10);

/// Opens the port called `name`, once it is there: its driver hears of it, and of its name, some time after it was loaded.
///
/// # Errors
/// [`SystemError::PortAbsent`] when no port has that name in the end, [`SystemError::Io`] when it cannot be opened.
pub fn open(name: &str) -> Result<Box<dyn Channel>, SystemError> {
    let path = format!("/dev/{}", wait_for(Path::new(SYSFS), name, Instant::now() + PATIENCE)?);
    let output = OpenOptions::new().read(true).write(true).open(&path).map_err(SystemError::io("open", &path))?;
    let input = output.try_clone().map_err(SystemError::io("open", &path))?;
    Ok(Box::new(Descriptors::new(input, output, NAME)))
}

/// The kernel's name of the port called `name` below `sysfs`.
fn wait_for(sysfs: &Path, name: &str, until: Instant) -> Result<String, SystemError> {
    loop {
        match find(sysfs, name)? {
            Some(found) => return Ok(found),
            None if Instant::now() < until => thread::sleep(PAUSE),
            None => return Err(SystemError::PortAbsent { name: name.to_owned() }),
        }
    }
}

fn find(sysfs: &Path, name: &str) -> Result<Option<String>, SystemError> {
    let list = || SystemError::io("list", sysfs.display().to_string());
    let entries = match fs::read_dir(sysfs) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(list()(error)),
    };
    for entry in entries {
        let entry = entry.map_err(list())?;
        let attribute = entry.path().join("name");
        let found = match fs::read_to_string(&attribute) {
            Ok(found) => found,
            // A port without a name has no such file.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(SystemError::io("read", attribute.display().to_string())(error)),
        };
        if found.trim_end() == name {
            return Ok(Some(entry.file_name().to_string_lossy().into_owned()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn absent(sysfs: &Path, name: &str) -> bool {
        matches!(wait_for(sysfs, name, Instant::now()), Err(SystemError::PortAbsent { .. }))
    }

    #[test]
    fn a_port_that_comes_late_or_gets_its_name_late_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let sysfs = folder.path().join("virtio-ports");
        assert!(absent(&sysfs, "ours"), "there is no driver");
        fs::create_dir_all(sysfs.join("vport1p1")).unwrap();
        fs::write(sysfs.join("vport1p1/name"), "theirs\n").unwrap();
        fs::create_dir(sysfs.join("vport1p2")).unwrap();
        assert!(absent(&sysfs, "ours"), "another port, and one without a name");
        let late = sysfs.join("vport1p2/name");
        let kernel = thread::spawn(move || {
            thread::sleep(Duration::from_millis(200));
            fs::write(late, "ours\n").unwrap();
        });
        let found = wait_for(&sysfs, "ours", Instant::now() + Duration::from_secs(20)).unwrap();
        kernel.join().unwrap();
        assert_eq!(found, "vport1p2");
    }
}
