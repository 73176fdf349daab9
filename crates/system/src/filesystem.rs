//! Making filesystems on whole disks, by the programs of the initramfs. Must not decide whether one may be made: what is
//! on the disk is lost.

use std::{fs::File, path::Path, time::Duration};

use cloud_machine_protocol::Probe;

use crate::{SystemError, probe::probe, program::Program};

/// A program that takes longer hangs: none writes more than some percent of the disk.
const LIMIT: Duration = Duration::from_secs(600);

/// How a program is told what to make.
struct Maker {
    kind: &'static str,
    program: &'static str,
    /// Without questions, and without discarding: what the disk holds has been decided before.
    options: &'static [&'static str],
    label: &'static str,
}

/// One line a type.
const MAKERS: [Maker; 5] = [
    Maker { kind: "ext4", program: "/usr/sbin/mkfs.ext4", options: &["-q", "-F", "-E", "nodiscard"], label: "-L" },
    Maker { kind: "xfs", program: "/usr/sbin/mkfs.xfs", options: &["-q", "-f", "-K"], label: "-L" },
    Maker { kind: "btrfs", program: "/usr/sbin/mkfs.btrfs", options: &["-q", "-f", "-K"], label: "-L" },
    // On a whole disk only when it is told twice.
    Maker { kind: "vfat", program: "/usr/sbin/mkfs.vfat", options: &["-I"], label: "-n" },
    Maker { kind: "swap", program: "/usr/sbin/mkswap", options: &["-q"], label: "-L" },
];

/// The call that makes an empty filesystem on `device`: an absolute path, then the arguments.
///
/// # Errors
/// [`SystemError::Unexpected`] for a type that nothing makes.
pub fn maker(kind: &str, label: Option<&str>, device: &str) -> Result<Vec<String>, SystemError> {
    let maker = MAKERS.iter().find(|maker| maker.kind == kind);
    let maker = maker.ok_or_else(|| SystemError::unexpected("type of a filesystem", kind, "one that can be made"))?;
    let mut words = vec![maker.program];
    words.extend(maker.options);
    let label = label.map(|label| written(kind, label));
    words.extend(label.iter().flat_map(|label| [maker.label, label.as_str()]));
    words.extend(["--", device]);
    Ok(words.into_iter().map(str::to_owned).collect())
}

/// Checks that the program for filesystems of type `kind` is there, so that nothing is begun that cannot be finished.
///
/// # Errors
/// [`SystemError::ProgramAbsent`], or [`SystemError::Unexpected`] for a type that nothing makes.
pub fn check_maker(kind: &str) -> Result<(), SystemError> {
    match maker(kind, None, "")?.into_iter().next() {
        Some(program) if !Path::new(&program).exists() => Err(SystemError::ProgramAbsent { program }),
        _ => Ok(()),
    }
}

/// FAT keeps labels in capitals, and a program that warns of it has nothing to say here.
fn written(kind: &str, label: &str) -> String {
    if kind == "vfat" { label.to_ascii_uppercase() } else { label.to_owned() }
}

/// Makes an empty filesystem of type `kind` on `/dev/<name>`, makes it durable and probes for it.
///
/// # Errors
/// A type that nothing makes, a program that is absent, fails or hangs, a disk that cannot be flushed, and
/// [`SystemError::Unexpected`] when the disk does not hold the filesystem afterwards.
pub fn make_filesystem(name: &str, kind: &str, label: Option<&str>) -> Result<(), SystemError> {
    let device = format!("/dev/{name}");
    let mut words = maker(kind, label, &device)?.into_iter();
    Program::new(words.next().unwrap_or_default()).arguments(words).run(LIMIT)?;
    flush(name)?;
    let label = label.map(|label| written(kind, label));
    let found = probe(name);
    match &found {
        Probe::Found(found)
            if found.filesystem.as_deref() == Some(kind) && (label.is_none() || found.label == label) =>
        {
            Ok(())
        }
        _ => Err(SystemError::unexpected(device, &format!("{found:?}"), "the filesystem that was made")),
    }
}

/// Makes durable what was written to `/dev/<name>`.
pub(crate) fn flush(name: &str) -> Result<(), SystemError> {
    let device = format!("/dev/{name}");
    File::open(&device).and_then(|disk| disk.sync_all()).map_err(SystemError::io("flush", &device))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_the_label_behind_its_option_and_the_device_last() {
        let words = maker("vfat", Some("share"), "/dev/vdb").unwrap();
        assert_eq!(words, ["/usr/sbin/mkfs.vfat", "-I", "-n", "SHARE", "--", "/dev/vdb"]);
        let words = maker("swap", None, "/dev/vdb").unwrap();
        assert_eq!(words, ["/usr/sbin/mkswap", "-q", "--", "/dev/vdb"]);
    }

    #[test]
    fn a_type_that_nothing_makes_is_refused_before_anything_is_begun() {
        let error = check_maker("zfs_member").unwrap_err().to_string();
        assert_eq!(error, "type of a filesystem holds \"zfs_member\", expected one that can be made");
    }
}
