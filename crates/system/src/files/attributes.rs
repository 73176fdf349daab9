//! Extended attributes of a name (xattr(7)): access control lists and capabilities are among them. Must not follow a
//! link.

use std::{os::unix::ffi::OsStrExt, path::Path};

use rustix::fs::{XattrFlags, lgetxattr, llistxattr, llistxattr_query, lsetxattr};

use crate::SystemError;

/// Names and values, sorted by name.
pub(super) type Attributes = Vec<(Vec<u8>, Vec<u8>)>;

/// The kernel's own limit of a list of names, and of one value (xattr(7)).
const MAX_BYTES: usize = 64 << 10;

pub(super) fn attributes(path: &Path) -> Result<Attributes, SystemError> {
    let failed = || SystemError::io::<rustix::io::Errno>("read the attributes of", path.display().to_string());
    // Most names have none.
    let length = llistxattr_query(path).map_err(failed())?;
    if length == 0 {
        return Ok(Vec::new());
    }
    let (mut names, mut value) = (vec![0; MAX_BYTES], vec![0; MAX_BYTES]);
    let length = llistxattr(path, &mut names[..]).map_err(failed())?;
    let mut found = Vec::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let key = std::ffi::OsStr::from_bytes(name);
        let length = lgetxattr(path, key, &mut value[..]).map_err(failed())?;
        found.push((name.to_vec(), value[..length].to_vec()));
    }
    found.sort_unstable();
    Ok(found)
}

pub(super) fn set_attributes(path: &Path, attributes: &Attributes) -> Result<(), SystemError> {
    for (name, value) in attributes {
        let key = std::ffi::OsStr::from_bytes(name);
        lsetxattr(path, key, value, XattrFlags::empty()).map_err(|error| {
            let object = format!("the attribute {} of {}", name.escape_ascii(), path.display());
            SystemError::io("set", object)(error)
        })?;
    }
    Ok(())
}
