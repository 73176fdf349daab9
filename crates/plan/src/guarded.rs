//! What may not be done through a mount of what earlier jobs left: the options that a mount has before those of the
//! document. Must not take away what the document asks for by name.

use cloud_machine_config::FilesystemType;

use crate::filesystem::WantedFilesystem;

/// An option against each use of a file that a job could have left, what asks for that use in `mount-options`, and which
/// property of a pool does.
const GUARDS: [(&str, &str, &str); 3] =
    [("nosuid", "suid", "setuid=on"), ("nodev", "dev", "devices=on"), ("noexec", "exec", "exec=on")];
/// What ext4 does about an error that it finds: its superblock, which a job can write, could say that the kernel panics.
const ERRORS: &str = "errors=remount-ro";

/// The options of the mount of `wanted`, or of its swap area. `kept`: it may hold what a job left before the last reimage.
pub(crate) fn options(wanted: &WantedFilesystem, kept: bool) -> Vec<String> {
    let own = &wanted.mount_options;
    let mounted = wanted.mountpoint.is_some();
    let asked = |word: &str, property: &str| {
        own.iter().any(|option| option == word) || wanted.properties.iter().any(|one| one == property)
    };
    let guards = GUARDS.iter().filter(|(_, word, property)| mounted && kept && !asked(word, property));
    let stated = own.iter().any(|option| option.starts_with("errors="));
    let errors = (mounted && wanted.kind == FilesystemType::Ext4.word() && !stated).then_some(ERRORS);
    guards.map(|(guard, ..)| *guard).chain(errors).map(str::to_owned).chain(own.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use cloud_machine_config::{LayerKind, defaults, merge, parse, validate};

    use super::*;

    /// Options of the disk `d` that is described so.
    fn of(disk: &str, kept: bool) -> String {
        let text = format!("cloud-machine: {{resources: {{disks: {{d: {{{disk}}}}}}}}}");
        let document = parse(LayerKind::Project, "f", text.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"));
        let config = validate(&merge(&[defaults(), document]).unwrap()).unwrap_or_else(|errors| panic!("{errors}"));
        let name = "d".parse().unwrap();
        options(&WantedFilesystem::of(&name, &config.resources.disks[&name]).unwrap(), kept).join(",")
    }

    #[test]
    fn what_a_job_left_is_neither_run_nor_obeyed_unless_the_document_asks() {
        for (disk, made, kept) in [
            ("filesystem: xfs", "", "nosuid,nodev,noexec"),
            ("filesystem: xfs, mount-options: [noatime, exec]", "noatime,exec", "nosuid,nodev,noatime,exec"),
            ("filesystem: xfs, mount-options: [suid, dev, exec]", "suid,dev,exec", "suid,dev,exec"),
            ("filesystem: zfs", "", "nosuid,nodev,noexec"),
            ("filesystem: {type: zfs, properties: [exec=on, setuid=off]}", "", "nosuid,nodev"),
            ("filesystem: swap, mount-options: ['pri=5']", "pri=5", "pri=5"),
        ] {
            assert_eq!((of(disk, false).as_str(), of(disk, true).as_str()), (made, kept), "{disk}");
        }
    }

    #[test]
    fn no_superblock_of_ext4_says_what_becomes_of_the_kernel() {
        for (disk, kept, expected) in [
            ("filesystem: ext4", false, "errors=remount-ro"),
            ("filesystem: ext4", true, "nosuid,nodev,noexec,errors=remount-ro"),
            ("filesystem: ext4, mount-options: ['errors=continue']", false, "errors=continue"),
            ("filesystem: ext4, readonly: true, source: /x", false, "errors=remount-ro"),
        ] {
            assert_eq!(of(disk, kept), expected, "{disk}");
        }
    }
}
