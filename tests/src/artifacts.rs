//! The things that a test cannot make itself: programs and the golden image. A missing one is an error that tells
//! how to make it, never a skipped test.

use std::{env, path::PathBuf};

/// Where everything is.
#[derive(Clone, Debug)]
pub struct Artifacts {
    /// The host program.
    pub program: PathBuf,
    /// The static agent.
    pub agent: PathBuf,
    /// Folder with `disk.raw`, `kernel`, `kernel-release`, `modules/` and, from newer builds, `programs/`.
    pub image: PathBuf,
}

/// The folder of the golden image with ZFS, from `CLOUD_MACHINE_TEST_ZFS_IMAGE`, which `make test` sets.
///
/// # Errors
/// A text that names what is missing and how to get it.
pub fn zfs_image() -> Result<PathBuf, String> {
    path("CLOUD_MACHINE_TEST_ZFS_IMAGE")
}

/// Where the root filesystem begins on the disk of [`cloud_init_image`], in bytes.
pub const CLOUD_INIT_ROOT_AT: u64 = 198_656 * 512;

/// The folder of the golden image with cloud-init, from `CLOUD_MACHINE_TEST_CLOUD_INIT_IMAGE`, which `make test` sets.
///
/// # Errors
/// A text that names what is missing and how to get it.
pub fn cloud_init_image() -> Result<PathBuf, String> {
    path("CLOUD_MACHINE_TEST_CLOUD_INIT_IMAGE")
}

/// The folder of the golden image without package manager and script languages, from `CLOUD_MACHINE_TEST_LEAN_IMAGE`, which
/// `make test` sets.
///
/// # Errors
/// A text that names what is missing and how to get it.
pub fn lean_image() -> Result<PathBuf, String> {
    path("CLOUD_MACHINE_TEST_LEAN_IMAGE")
}

/// The folder of the golden image of the next Debian release, from `CLOUD_MACHINE_TEST_NEXT_IMAGE`, which `make test` sets.
///
/// # Errors
/// A text that names what is missing and how to get it.
pub fn next_image() -> Result<PathBuf, String> {
    path("CLOUD_MACHINE_TEST_NEXT_IMAGE")
}

/// The folder of the golden image that boots by itself, with a root for a rescue system, from `CLOUD_MACHINE_TEST_CLOUD_IMAGE`, which
/// `make test` sets.
///
/// # Errors
/// A text that names what is missing and how to get it.
pub fn cloud_image() -> Result<PathBuf, String> {
    path("CLOUD_MACHINE_TEST_CLOUD_IMAGE")
}

/// The folder of the root with both generators of initramfs files, from `CLOUD_MACHINE_TEST_BAKED_IMAGE`, which `make test` sets.
///
/// # Errors
/// A text that names what is missing and how to get it.
pub fn baked_image() -> Result<PathBuf, String> {
    path("CLOUD_MACHINE_TEST_BAKED_IMAGE")
}

/// Likewise of the next Debian release, from `CLOUD_MACHINE_TEST_NEXT_BAKED_IMAGE`, which `make matrix` sets.
///
/// # Errors
/// A text that names what is missing and how to get it.
pub fn next_baked_image() -> Result<PathBuf, String> {
    path("CLOUD_MACHINE_TEST_NEXT_BAKED_IMAGE")
}

/// Likewise with what finds a root in a pool, from `CLOUD_MACHINE_TEST_ZFS_BAKED_IMAGE`, which `make matrix` sets.
///
/// # Errors
/// A text that names what is missing and how to get it.
pub fn zfs_baked_image() -> Result<PathBuf, String> {
    path("CLOUD_MACHINE_TEST_ZFS_BAKED_IMAGE")
}

/// Docker's daemon, from `CLOUD_MACHINE_TEST_DOCKERD`, which `make test` sets.
///
/// # Errors
/// A text that names what is missing and how to get it.
pub fn dockerd() -> Result<PathBuf, String> {
    path("CLOUD_MACHINE_TEST_DOCKERD")
}

/// A static busybox, from `CLOUD_MACHINE_TEST_BUSYBOX`, which `make test` sets.
///
/// # Errors
/// A text that names what is missing and how to get it.
pub fn busybox() -> Result<PathBuf, String> {
    path("CLOUD_MACHINE_TEST_BUSYBOX")
}

/// A Python that has the provider's library `hcloud`, from `CLOUD_MACHINE_TEST_HCLOUD`, which `make test` sets.
///
/// # Errors
/// A text that names what is missing and how to get it.
pub fn hcloud() -> Result<PathBuf, String> {
    path("CLOUD_MACHINE_TEST_HCLOUD")
}

/// The proxy that knows the description of an API, from `CLOUD_MACHINE_TEST_PRISM`, which `make test` sets.
///
/// # Errors
/// A text that names what is missing and how to get it.
pub fn prism() -> Result<PathBuf, String> {
    path("CLOUD_MACHINE_TEST_PRISM")
}

impl Artifacts {
    /// From `CLOUD_MACHINE_BIN`, `CLOUD_MACHINE_AGENT` and `CLOUD_MACHINE_TEST_IMAGE`, which `make test` sets.
    ///
    /// # Errors
    /// A text that names what is missing and how to get it.
    pub fn from_environment() -> Result<Self, String> {
        Ok(Self {
            program: path("CLOUD_MACHINE_BIN")?,
            agent: path("CLOUD_MACHINE_AGENT")?,
            image: path("CLOUD_MACHINE_TEST_IMAGE")?,
        })
    }

    /// The programs alone; the image is given otherwise.
    ///
    /// # Errors
    /// A text that names what is missing and how to get it.
    pub fn from_environment_without_image() -> Result<Self, String> {
        let (program, agent) = (path("CLOUD_MACHINE_BIN")?, path("CLOUD_MACHINE_AGENT")?);
        Ok(Self { program, agent, image: PathBuf::new() })
    }
}

fn path(variable: &str) -> Result<PathBuf, String> {
    let hint = "run `make test` or `make matrix`, which build everything and set it";
    let path = env::var_os(variable).map(PathBuf::from).ok_or_else(|| format!("{variable} is not set: {hint}"))?;
    if path.exists() { Ok(path) } else { Err(format!("{variable} names {}, which is absent: {hint}", path.display())) }
}
