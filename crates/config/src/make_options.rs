//! Which arguments a document may give the program that makes a filesystem, and which options a mount. Allows what
//! shapes a filesystem and nothing that names a file, a device or another program; must not know a disk.

use crate::config::FilesystemType;

/// Options of each program that take one value.
const SHAPING: [(FilesystemType, &[&str]); 5] = [
    (FilesystemType::Ext4, &["-b", "-C", "-E", "-g", "-G", "-i", "-I", "-J", "-m", "-N", "-O", "-T"]),
    (FilesystemType::Xfs, &["-b", "-d", "-i", "-l", "-m", "-n", "-s"]),
    (FilesystemType::Btrfs, &["-d", "-m", "-n", "-O", "-s", "--checksum", "--csum"]),
    (FilesystemType::Vfat, &["-F", "-f", "-r", "-R", "-s", "-S"]),
    (FilesystemType::Swap, &["-p"]),
];
/// Parts of a value that lead elsewhere (another device or file, another place on this one), undo the wipe, or have a
/// key of their own.
const FOREIGN: [&str; 10] =
    ["device", "logdev", "rtdev", "name", "file", "offset", "discard", "uuid", "label", "proto"];

/// What is wrong with arguments for the program of `kind`, for people.
pub(crate) fn wrong(kind: FilesystemType, options: &[String]) -> Option<String> {
    let word = kind.word();
    if kind == FilesystemType::Zfs && !options.is_empty() {
        return Some("zfs takes no options of a program: it has `properties`".to_owned());
    }
    let Some((_, shaping)) = SHAPING.iter().find(|(made, _)| *made == kind) else {
        return (!options.is_empty()).then(|| format!("{word} takes no options"));
    };
    let mut rest = options.iter();
    while let Some(option) = rest.next() {
        if !shaping.contains(&option.as_str()) {
            let list = shaping.join(", ");
            return Some(format!("`{option}` is no option for {word}; those that shape it are {list}"));
        }
        let Some(value) = rest.next() else {
            return Some(format!("the option `{option}` needs a value behind it"));
        };
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"^_=,.:+-".contains(&byte);
        let foreign = |part: &str| FOREIGN.iter().any(|word| part.split('=').next() == Some(word));
        if value.is_empty() || value.len() > 128 || value.starts_with('-') || !value.bytes().all(fits) {
            return Some(format!("`{value}` is no value of `{option}`: it has 1 to 128 of a-z, A-Z, 0-9 and ^_=,.:+-"));
        }
        if let Some(part) = value.split(',').find(|part| foreign(part)) {
            return Some(format!("`{option} {value}`: `{part}` is not for a document to say"));
        }
    }
    None
}

/// Options that mean something to mount(8) or fstab(5) alone, or that say what the unit itself says.
const NOT_OF_A_MOUNT: [&str; 20] = [
    "auto",
    "noauto",
    "user",
    "users",
    "nouser",
    "group",
    "owner",
    "nofail",
    "defaults",
    "bind",
    "rbind",
    "move",
    "remount",
    "loop",
    "offset",
    "sizelimit",
    "logdev",
    "rtdev",
    "device",
    "subtype",
];

/// What is wrong with options of a mount, for people.
pub(crate) fn wrong_mount(options: &[String]) -> Option<String> {
    options.iter().find_map(|option| {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_=.:+-".contains(&byte);
        let name = option.split('=').next().unwrap_or_default();
        let first = option.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
        if !first || option.len() > 64 || !option.bytes().all(fits) {
            return Some(format!("`{}` is no option: it has 1 to 64 of a-z, 0-9 and _=.:+-", option.escape_debug()));
        }
        let foreign = NOT_OF_A_MOUNT.contains(&name) || name.starts_with("x-");
        foreign.then(|| format!("the option `{option}` has no meaning here or leads elsewhere"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> Vec<String> {
        text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    #[test]
    fn what_shapes_a_filesystem_is_taken() {
        for (kind, text) in [
            (FilesystemType::Ext4, "-O ^metadata_csum,64bit -m 0 -E lazy_itable_init=0,stride=16"),
            (FilesystemType::Xfs, "-d su=64k,sw=4 -m reflink=1"),
            (FilesystemType::Btrfs, "--csum xxhash -n 16k"),
            (FilesystemType::Vfat, "-F 32"),
            (FilesystemType::Zfs, ""),
        ] {
            assert_eq!(wrong(kind, &options(text)), None, "{text}");
        }
    }

    #[test]
    fn what_leads_elsewhere_is_refused() {
        for (kind, text) in [
            (FilesystemType::Ext4, "-J device=sdb1"),
            (FilesystemType::Ext4, "-J size=4,device=/dev/sdb"),
            (FilesystemType::Ext4, "-d /etc"),
            (FilesystemType::Ext4, "-E discard"),
            (FilesystemType::Ext4, "-E offset=4096"),
            (FilesystemType::Ext4, "-L CIDATA"),
            (FilesystemType::Ext4, "/dev/vda"),
            (FilesystemType::Ext4, "-m"),
            (FilesystemType::Ext4, "-m -n"),
            (FilesystemType::Xfs, "-l logdev=x"),
            (FilesystemType::Xfs, "-d name=x,file"),
            (FilesystemType::Xfs, "-p proto"),
            (FilesystemType::Btrfs, "-r root"),
            (FilesystemType::Btrfs, "vdc"),
            (FilesystemType::Swap, "-f 1"),
            (FilesystemType::Zfs, "-o x"),
        ] {
            assert!(wrong(kind, &options(text)).is_some(), "{text}");
        }
        assert!(wrong(FilesystemType::Ext4, &["-m".to_owned(), "1 2".to_owned()]).is_some());
    }

    #[test]
    fn an_option_of_a_mount_is_one_plain_word() {
        assert_eq!(wrong_mount(&options("noatime nodev commit=30 pri=5 compress=zstd:3")), None);
        for word in
            ["", "a,b", "noatime\nType=x", "%h", "x-systemd.device-timeout=1", "loop", "offset=1", "-o", "A", "/x"]
        {
            assert!(wrong_mount(&[word.to_owned()]).is_some(), "{word:?}");
        }
    }
}
