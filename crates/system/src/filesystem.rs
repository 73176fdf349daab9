//! Making filesystems on disks and in partitions, by the programs of the initramfs. Must not decide whether one may be made: what is
//! on the disk is lost.

use std::{path::Path, time::Duration};

use cloud_machine_protocol::Probe;

use crate::{SystemError, block::flush, pool, probe::probe, program::Program};

/// A program that takes longer hangs: none writes more than some percent of the disk.
const LIMIT: Duration = Duration::from_secs(600);

/// How a program is told what to make.
struct Maker {
    kind: &'static str,
    program: &'static str,
    /// Without questions, and without discarding: what the disk holds has been decided before.
    options: &'static [&'static str],
    label: &'static str,
    /// The option for its identifier, and what comes before the identifier in its value.
    uuid: (&'static str, &'static str),
}

/// A filesystem to make.
#[derive(Clone, Copy, Debug)]
pub struct NewFilesystem<'a> {
    /// Its type, in the words of libblkid.
    pub kind: &'a str,
    /// Its label.
    pub label: Option<&'a str>,
    /// Its identifier, in the words of libblkid.
    pub uuid: Option<&'a str>,
    /// More arguments of its program.
    pub options: &'a [String],
}

impl<'a> NewFilesystem<'a> {
    /// One of which only the type is said.
    #[must_use]
    pub const fn of(kind: &'a str) -> Self {
        Self { kind, label: None, uuid: None, options: &[] }
    }
}

/// One line a type.
static MAKERS: [Maker; 5] = [
    Maker {
        kind: "ext4",
        program: "/usr/sbin/mkfs.ext4",
        options: &["-q", "-F", "-E", "nodiscard"],
        label: "-L",
        uuid: ("-U", ""),
    },
    Maker {
        kind: "xfs",
        program: "/usr/sbin/mkfs.xfs",
        options: &["-q", "-f", "-K"],
        label: "-L",
        uuid: ("-m", "uuid="),
    },
    Maker {
        kind: "btrfs",
        program: "/usr/sbin/mkfs.btrfs",
        options: &["-q", "-f", "-K"],
        label: "-L",
        uuid: ("-U", ""),
    },
    // On a whole disk only when it is told twice.
    Maker { kind: "vfat", program: "/usr/sbin/mkfs.vfat", options: &["-I"], label: "-n", uuid: ("-i", "") },
    Maker { kind: "swap", program: "/usr/sbin/mkswap", options: &["-q"], label: "-L", uuid: ("-U", "") },
];

/// The call that makes an empty filesystem on `device`: an absolute path, then the arguments.
///
/// # Errors
/// [`SystemError::Unexpected`] for a type that nothing makes.
pub fn maker(new: &NewFilesystem<'_>, device: &str) -> Result<Vec<String>, SystemError> {
    let kind = new.kind;
    let maker = maker_of(kind)?;
    let mut words = vec![maker.program];
    words.extend(maker.options);
    let label = new.label.map(|label| written(kind, label));
    words.extend(label.iter().flat_map(|label| [maker.label, label.as_str()]));
    // FAT is told its eight digits without the dash.
    let digits = |uuid: &str| if kind == "vfat" { uuid.replace('-', "") } else { uuid.to_owned() };
    let uuid = new.uuid.map(|uuid| format!("{}{}", maker.uuid.1, digits(uuid)));
    words.extend(uuid.iter().flat_map(|uuid| [maker.uuid.0, uuid.as_str()]));
    let options: Vec<String> = more(maker, new.options);
    words.extend(options.iter().map(String::as_str));
    words.extend(["--", device]);
    Ok(words.into_iter().map(str::to_owned).collect())
}

fn maker_of(kind: &str) -> Result<&'static Maker, SystemError> {
    let maker = MAKERS.iter().find(|maker| maker.kind == kind);
    maker.ok_or_else(|| SystemError::unexpected("type of a filesystem", kind, "one that can be made"))
}

/// Options of a document behind those of `maker`. Where a program keeps only the last value of an option, that value has
/// ours in it too: mke2fs would discard again, whatever the first `-E` said.
fn more(maker: &Maker, options: &[String]) -> Vec<String> {
    let ours = |name: &String| {
        let at = maker.options.iter().position(|option| option == name)?;
        maker.options.get(at + 1).filter(|value| !value.starts_with('-'))
    };
    // Each option has its value behind it, as the configuration was checked for.
    let pair = |pair: &[String]| match pair {
        [name, value] => match ours(name) {
            Some(kept) => vec![name.clone(), format!("{kept},{value}")],
            None => pair.to_vec(),
        },
        other => other.to_vec(),
    };
    options.chunks(2).flat_map(pair).collect()
}

/// Absolute paths of the programs that make filesystems of type `kind`, in the words of libblkid, or pools of ZFS.
///
/// # Errors
/// [`SystemError::Unexpected`] for a type that nothing makes.
pub fn programs(kind: &str) -> Result<Vec<&'static str>, SystemError> {
    if kind == pool::KIND { Ok(pool::PROGRAMS.to_vec()) } else { Ok(vec![maker_of(kind)?.program]) }
}

/// Checks that the program for filesystems of type `kind` is there, so that nothing is begun that cannot be finished.
///
/// # Errors
/// [`SystemError::ProgramAbsent`], or [`SystemError::Unexpected`] for a type that nothing makes.
pub fn check_maker(kind: &str) -> Result<(), SystemError> {
    match maker(&NewFilesystem::of(kind), "")?.into_iter().next() {
        Some(program) if !Path::new(&program).exists() => Err(SystemError::ProgramAbsent { program }),
        _ => Ok(()),
    }
}

/// FAT keeps labels in capitals, and a program that warns of it has nothing to say here.
fn written(kind: &str, label: &str) -> String {
    if kind == "vfat" { label.to_ascii_uppercase() } else { label.to_owned() }
}

/// Makes an empty filesystem on `/dev/<name>`, makes it durable and probes for it.
///
/// # Errors
/// A type that nothing makes, a program that is absent, fails or hangs, a disk that cannot be flushed, and
/// [`SystemError::Unexpected`] when the disk does not hold the filesystem afterwards.
pub fn make_filesystem(name: &str, new: &NewFilesystem<'_>) -> Result<(), SystemError> {
    let kind = new.kind;
    let device = format!("/dev/{name}");
    let mut words = maker(new, &device)?.into_iter();
    Program::new(words.next().unwrap_or_default()).arguments(words).run(LIMIT)?;
    flush(name)?;
    let label = new.label.map(|label| written(kind, label));
    let identified =
        |found: Option<&str>| new.uuid.is_none_or(|uuid| found.is_some_and(|found| found.eq_ignore_ascii_case(uuid)));
    let found = probe(name);
    match &found {
        Probe::Found(found)
            if found.filesystem.as_deref() == Some(kind)
                && (label.is_none() || found.label == label)
                && identified(found.uuid.as_deref()) =>
        {
            Ok(())
        }
        _ => Err(SystemError::unexpected(device, &format!("{found:?}"), "the filesystem that was made")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_looks_for_the_programs_that_are_started_here() {
        let known: Vec<(&str, &str)> = MAKERS.iter().map(|maker| (maker.kind, maker.program)).collect();
        assert_eq!(known, cloud_machine_protocol::MAKERS);
    }

    #[test]
    fn the_programs_of_a_type_are_those_that_are_started() {
        for (kind, program) in cloud_machine_protocol::MAKERS {
            assert_eq!(programs(kind).unwrap(), [program]);
            assert_eq!(maker(&NewFilesystem::of(kind), "/dev/vdb").unwrap()[0], program);
        }
        assert_eq!(programs("zfs_member").unwrap(), ["/usr/sbin/zpool", "/usr/sbin/zfs"]);
        assert!(programs("iso9660").is_err());
    }

    #[test]
    fn a_call_has_the_label_behind_its_option_and_the_device_last() {
        let share = NewFilesystem { label: Some("share"), ..NewFilesystem::of("vfat") };
        let words = maker(&share, "/dev/vdb").unwrap();
        assert_eq!(words, ["/usr/sbin/mkfs.vfat", "-I", "-n", "SHARE", "--", "/dev/vdb"]);
        let words = maker(&NewFilesystem::of("swap"), "/dev/vdb").unwrap();
        assert_eq!(words, ["/usr/sbin/mkswap", "-q", "--", "/dev/vdb"]);
        let options = ["-s".to_owned(), "1".to_owned()];
        let words = maker(&NewFilesystem { uuid: Some("1A2B-3C4D"), options: &options, ..share }, "/dev/vdb1").unwrap();
        assert_eq!(words[1..], ["-I", "-n", "SHARE", "-i", "1A2B3C4D", "-s", "1", "--", "/dev/vdb1"]);
        let options = ["-m", "0", "-E", "stride=16"].map(str::to_owned);
        let words = maker(&NewFilesystem { options: &options, ..NewFilesystem::of("ext4") }, "/dev/vdb").unwrap();
        let last = ["-m", "0", "-E", "nodiscard,stride=16", "--", "/dev/vdb"];
        assert_eq!(words[5..], last);
        let xfs = NewFilesystem { uuid: Some("6f1a2b3c-0d4e-4f5a-8b6c-7d8e9f0a1b2c"), ..NewFilesystem::of("xfs") };
        let words = maker(&xfs, "/dev/vdb1").unwrap();
        assert_eq!(words[4..6], ["-m", "uuid=6f1a2b3c-0d4e-4f5a-8b6c-7d8e9f0a1b2c"]);
    }

    #[test]
    fn a_type_that_nothing_makes_is_refused_before_anything_is_begun() {
        let error = check_maker("zfs_member").unwrap_err().to_string();
        assert_eq!(error, "type of a filesystem holds \"zfs_member\", expected one that can be made");
    }
}
