//! Making filesystems on whole disks, by the programs of the initramfs. Must not decide whether one may be made: what is
//! on the disk is lost.

use std::{fs::File, time::Duration};

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

/// Makes an empty filesystem of type `kind` on `/dev/<name>`, makes it durable and probes for it.
///
/// # Errors
/// A type that nothing makes, a program that is absent, fails or hangs, a disk that cannot be flushed, and
/// [`SystemError::Unexpected`] when the disk does not hold the filesystem afterwards.
pub fn make_filesystem(name: &str, kind: &str, label: Option<&str>) -> Result<(), SystemError> {
    let maker = MAKERS.iter().find(|maker| maker.kind == kind);
    let maker = maker.ok_or_else(|| SystemError::unexpected("type of a filesystem", kind, "one that can be made"))?;
    let device = format!("/dev/{name}");
    let program = Program::new(maker.program).arguments(maker.options);
    // FAT keeps labels in capitals; a program that warns of it has nothing to say here.
    let label = label.map(|label| if kind == "vfat" { label.to_ascii_uppercase() } else { label.to_owned() });
    let program = match &label {
        Some(label) => program.arguments([maker.label, label.as_str()]),
        None => program,
    };
    program.arguments(["--", device.as_str()]).run(LIMIT)?;
    File::open(&device).and_then(|disk| disk.sync_all()).map_err(SystemError::io("flush", &device))?;
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
