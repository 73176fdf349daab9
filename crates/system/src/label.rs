//! Labels of SELinux for files that are written while no policy is loaded, when the kernel gives them none. Must not know what a
//! label means.

use std::path::Path;

use rustix::{
    fs::{XattrFlags, lgetxattr, lsetxattr},
    io::Errno,
};

use crate::SystemError;

/// Where a filesystem has the label (linux/xattr.h).
const NAME: &str = "security.selinux";
/// The longest one that has a meaning here; those that systems come with are below 64 bytes.
const MAX: usize = 512;

/// The label for what is made at `path`: that of what is there, or else of the folder that it is in, as the kernel would choose by
/// most policies. `None` where nothing is labelled.
pub(crate) fn inherited(path: &Path) -> Result<Option<Vec<u8>>, SystemError> {
    let label = of(path)?;
    match (label, path.parent()) {
        (None, Some(folder)) => of(folder),
        (label, _) => Ok(label),
    }
}

/// Before Linux 5.9 the kernel answers with a word of its own while there is no policy (commit c8e222616c7e): that is no label, which
/// has three parts at least.
fn of(path: &Path) -> Result<Option<Vec<u8>>, SystemError> {
    let mut label = vec![0; MAX];
    match lgetxattr(path, NAME, &mut label[..]) {
        Ok(length) => {
            label.truncate(length);
            Ok(Some(label).filter(|label| label.iter().filter(|byte| **byte == b':').count() >= 2))
        }
        Err(Errno::NODATA | Errno::NOENT | Errno::OPNOTSUPP) => Ok(None),
        Err(error) => Err(SystemError::io("read the label of", path.display().to_string())(error)),
    }
}

/// Gives `path` the label.
pub(crate) fn set(path: &Path, label: Option<Vec<u8>>) -> Result<(), SystemError> {
    let Some(label) = label else { return Ok(()) };
    lsetxattr(path, NAME, &label, XattrFlags::empty()).map_err(SystemError::io("label", path.display().to_string()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::root::{RootFile, write};

    /// Attributes below `security` are for root alone (xattr(7)).
    #[test]
    fn where_files_are_labelled_a_new_one_has_the_label_of_what_it_replaces_or_else_of_its_folder() {
        let root = tempfile::tempdir().unwrap();
        let label = |path: &str, label: &[u8]| {
            lsetxattr(root.path().join(path), NAME, label, XattrFlags::empty()).unwrap();
        };
        let found = |path: &str| {
            let mut label = [0; 64];
            lgetxattr(root.path().join(path), NAME, &mut label[..])
                .map(|length| String::from_utf8_lossy(&label[..length]).into_owned())
        };
        fs::create_dir(root.path().join("etc")).unwrap();
        write(root.path(), &RootFile::text("/etc/hosts", 0o600, "x")).unwrap();
        assert_eq!(found("etc/hosts"), Err(Errno::NODATA), "nothing is labelled");
        label("etc", b"system_u:object_r:etc_t:s0\0");
        label("etc/hosts", b"system_u:object_r:net_conf_t:s0\0");
        for path in ["/etc/hosts", "/etc/docker/deep/daemon.json"] {
            write(root.path(), &RootFile::text(path, 0o600, "x")).unwrap();
        }
        assert_eq!(found("etc/hosts").unwrap(), "system_u:object_r:net_conf_t:s0\0");
        for path in ["etc/docker", "etc/docker/deep", "etc/docker/deep/daemon.json"] {
            assert_eq!(found(path).unwrap(), "system_u:object_r:etc_t:s0\0", "{path}");
        }
        // What an older kernel says while it has no policy.
        label("etc", b"unlabeled\0");
        write(root.path(), &RootFile::text("/etc/hostname", 0o600, "x")).unwrap();
        assert_eq!(found("etc/hostname"), Err(Errno::NODATA));
    }
}
