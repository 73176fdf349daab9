//! The JSON header of a manifest: facts about the image as a whole. Owns their limits; must not look at leaves.

use cloud_machine_protocol::{Algorithm, Digest};
use serde::{Deserialize, Serialize};

use crate::{
    ALIGNMENT, FRAME_SIZE, ImageError, LEAF_SIZE, MANIFEST_VERSION, MAX_IMAGE_SIZE, Partition, SECTOR_SIZE, partition,
};

/// The only filesystem that the agent's kernel is sure to mount.
pub(crate) const ROOT_FILESYSTEM: &str = "ext4";

/// Facts about the image as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Header {
    pub(crate) version: u32,
    pub(crate) name: String,
    pub(crate) generation: u64,
    pub(crate) size: u64,
    pub(crate) leaf_size: u64,
    pub(crate) frame_size: u64,
    pub(crate) sector_size: u64,
    pub(crate) digest: Digest,
    pub(crate) kernel_release: String,
    pub(crate) partitions: Vec<Partition>,
    pub(crate) root_partition: u32,
    pub(crate) root_filesystem: String,
}

impl Header {
    /// Checks everything that can be checked without the rest of the manifest, and gives the root partition.
    pub(crate) fn check(&self) -> Result<&Partition, ImageError> {
        check_size(self.size)?;
        check_name("image name", &self.name)?;
        check_name("kernel release", &self.kernel_release)?;
        let fixed = [
            ("version", u64::from(self.version), u64::from(MANIFEST_VERSION)),
            ("leaf size", self.leaf_size, LEAF_SIZE),
            ("frame size", self.frame_size, FRAME_SIZE),
            ("sector size", self.sector_size, SECTOR_SIZE),
        ];
        for (what, found, expected) in fixed {
            if found != expected {
                return Err(contradiction(format!("{what} is {found} instead of {expected}")));
            }
        }
        if self.digest.algorithm() != Algorithm::Blake3 {
            return Err(contradiction(format!("digest {} is not BLAKE3", self.digest)));
        }
        if self.root_filesystem != ROOT_FILESYSTEM {
            return Err(contradiction(format!(
                "root filesystem is {:?} instead of {ROOT_FILESYSTEM:?}",
                self.root_filesystem
            )));
        }
        if let Err(reason) = partition::check(&self.partitions, self.size) {
            return Err(contradiction(reason));
        }
        let root = self.partitions.iter().find(|partition| partition.number == self.root_partition);
        root.ok_or_else(|| contradiction(format!("root partition {} is not in its list", self.root_partition)))
    }
}

fn contradiction(reason: String) -> ImageError {
    ImageError::ManifestInvalid { reason }
}

/// Checks that a raw image of `size` bytes can be described.
pub(crate) fn check_size(size: u64) -> Result<(), ImageError> {
    if size <= LEAF_SIZE {
        Err(ImageError::SizeTooSmall { size })
    } else if !size.is_multiple_of(ALIGNMENT) {
        Err(ImageError::SizeUnaligned { size })
    } else if size > MAX_IMAGE_SIZE {
        Err(ImageError::SizeTooLarge { size })
    } else {
        Ok(())
    }
}

/// Checks a name that becomes part of file names and of lines on a terminal.
pub(crate) fn check_name(what: &'static str, name: &str) -> Result<(), ImageError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._+~-".contains(&byte);
    if (1..=128).contains(&name.len()) && name.bytes().all(allowed) && !name.starts_with(['.', '-']) {
        return Ok(());
    }
    Err(ImageError::NameInvalid { what, found: name.chars().take(80).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_outside_the_limits_have_their_own_errors_with_the_way_out() {
        for size in [0, 4096, 65_536] {
            assert!(matches!(check_size(size), Err(ImageError::SizeTooSmall { .. })), "{size}");
        }
        let unaligned = check_size(65_537).unwrap_err();
        assert!(unaligned.to_string().contains("truncate -s %4096"), "{unaligned}");
        assert!(matches!(check_size(MAX_IMAGE_SIZE + 4096), Err(ImageError::SizeTooLarge { .. })));
        for size in [65_536 + 4096, 1 << 20, MAX_IMAGE_SIZE] {
            check_size(size).unwrap();
        }
    }

    #[test]
    fn names_that_would_leave_a_folder_or_a_line_are_refused() {
        for name in ["debian-12", "6.1.0-56-cloud-amd64", "a", "1.0~rc1+b2"] {
            check_name("image name", name).unwrap();
        }
        for name in ["", ".", "..", "../x", "a/b", "a b", "a\n", "-x", "\u{1b}[0m", &"x".repeat(129)] {
            let error = check_name("image name", name).unwrap_err();
            assert!(error.to_string().starts_with("invalid image name "), "{error}");
        }
    }
}
