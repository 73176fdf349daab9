//! The images of the store: installed whole or not at all, and checked against what was installed. Must not look
//! into a packed image.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use cloud_machine_protocol::Digest;
use rustix::fs::{CWD, RenameFlags};
use serde::{Deserialize, Serialize};

use super::{
    Captured, Content, ImageFacts, ImageName, Lock, RECORD_VERSION, Replacement, Store, StoreError, file, lock,
    read_record, write_record,
};

/// `boot.json`: what an image is started with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootRecord {
    /// [`RECORD_VERSION`].
    pub version: u32,
    /// `uname -r` of the kernel.
    pub kernel_release: String,
    /// SHA-256 of the kernel.
    pub kernel: Digest,
    /// SHA-256 of the initramfs.
    pub initramfs: Digest,
    /// SHA-256 of the agent in the initramfs.
    pub agent: Digest,
    /// Which image it is; `None` in records of before that was recorded.
    #[serde(default)]
    pub image: Option<InstalledImage>,
    /// What its system has; `None` in records of before that was looked up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<ImageFacts>,
    /// Types of the filesystems that programs in the initramfs make; `None` in records of before that was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub makes: Option<Vec<String>>,
    /// From which machine's disk it was packed; `None` for one that was packed from a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub captured: Option<Captured>,
}

/// Which image is installed, from its manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstalledImage {
    /// Its generation.
    pub generation: u64,
    /// BLAKE3 digest of the raw image.
    pub digest: Digest,
    /// [`cloud_machine_image::Manifest::fingerprint`] of its manifest, of which the zeros are known to be zeros; `None` in
    /// records of before that was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Digest>,
}

/// What is installed as an image.
#[derive(Clone, Copy, Debug)]
pub struct ImageSource<'a> {
    /// The packed image.
    pub packed: Content<'a>,
    /// The kernel.
    pub kernel: Content<'a>,
    /// The initramfs with the agent.
    pub initramfs: Content<'a>,
    /// `uname -r` of the kernel.
    pub kernel_release: &'a str,
    /// The agent, which the initramfs has, too.
    pub agent: Content<'a>,
    /// Which image it is.
    pub image: InstalledImage,
    /// What its system has.
    pub facts: Option<&'a ImageFacts>,
    /// Types of the filesystems that programs in the initramfs make.
    pub makes: &'a [&'a str],
    /// From which machine's disk it was packed.
    pub captured: Option<&'a Captured>,
    /// A signature of the packed image, in minisign's format.
    pub signature: Option<Content<'a>>,
}

/// An installed image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageFolder {
    /// Its name.
    pub name: ImageName,
    /// What it is started with.
    pub boot: BootRecord,
    path: PathBuf,
}

/// A line of the list of images; a broken one is a row with its error.
#[derive(Debug)]
pub struct ImageRow {
    /// Name of the folder; an image's name unless `image` says otherwise.
    pub name: String,
    /// The image, or why its record could not be read.
    pub image: Result<ImageFolder, StoreError>,
}

impl ImageFolder {
    /// The packed image.
    #[must_use]
    pub fn packed(&self) -> PathBuf {
        self.path.join("image.zst")
    }

    /// The kernel.
    #[must_use]
    pub fn kernel(&self) -> PathBuf {
        self.path.join("kernel")
    }

    /// The agent alone; not there in images of before it was kept beside the initramfs.
    #[must_use]
    pub fn agent(&self) -> PathBuf {
        self.path.join("agent")
    }

    /// The initramfs.
    #[must_use]
    pub fn initramfs(&self) -> PathBuf {
        self.path.join("initramfs")
    }

    /// What the manifest of the installed image is known by, once its zeros were proved.
    #[must_use]
    pub fn proved_manifest(&self) -> Option<Digest> {
        self.boot.image.and_then(|image| image.manifest)
    }

    /// Hashes kernel and initramfs and compares them with what was installed.
    ///
    /// # Errors
    /// [`StoreError::Altered`] or [`StoreError::Io`].
    pub fn verify_boot_files(&self) -> Result<(), StoreError> {
        for (path, expected) in [(self.kernel(), self.boot.kernel), (self.initramfs(), self.boot.initramfs)] {
            let found = file::digest(&path)?;
            if found != expected {
                let (found, expected) = (found.to_string(), expected.to_string());
                return Err(StoreError::Altered { path, found, expected });
            }
        }
        Ok(())
    }
}

impl Store {
    /// Copies an image into the store under `name`, replacing an older one in one step.
    ///
    /// # Errors
    /// [`StoreError::ImageLocked`] when the same image is being installed; [`StoreError::GenerationLow`] or
    /// [`StoreError::GenerationTaken`] unless that is `allowed`; [`StoreError::Io`].
    pub fn install_image(
        &self,
        name: &ImageName,
        source: &ImageSource<'_>,
        allowed: Replacement,
    ) -> Result<ImageFolder, StoreError> {
        let _lock = self.lock_image(name)?;
        let InstalledImage { generation, digest, .. } = source.image;
        self.check_generation(name, generation, Some(digest), allowed)?;
        let path = self.images().join(name.as_str());
        let new = file::prepare_folder(&path)?;
        let installed = fill(&new, source).and_then(|boot| {
            self.put_in_place(&new, &path)?;
            Ok(ImageFolder { name: name.clone(), boot, path: path.clone() })
        });
        // Whether it is half made or the one that was replaced, it is not to stay; the first error tells more.
        let removed = match fs::remove_dir_all(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("remove", &new)(error)),
            _ => file::flush_folder(&self.images()),
        };
        let installed = installed?;
        self.record_generation(name, generation, digest)?;
        removed.map(|()| installed)
    }

    /// Gives the folder `new` the name `path`. An older one at that place has the name `new` then.
    fn put_in_place(&self, new: &Path, path: &Path) -> Result<(), StoreError> {
        if path.try_exists().map_err(StoreError::io("look for", path))? {
            // An exchange, so that the name leads to one whole image at every moment.
            rustix::fs::renameat_with(CWD, new, CWD, path, RenameFlags::EXCHANGE)
                .map_err(|error| StoreError::io("exchange", path)(error.into()))?;
        } else {
            fs::rename(new, path).map_err(StoreError::io("put in place", path))?;
        }
        file::flush_folder(&self.images())
    }

    /// Reads the record of an image.
    ///
    /// # Errors
    /// [`StoreError::NoImage`], [`StoreError::NoRecord`], [`StoreError::UnknownVersion`],
    /// [`StoreError::InvalidJson`] or [`StoreError::Io`].
    pub fn image(&self, name: &ImageName) -> Result<ImageFolder, StoreError> {
        let path = self.images().join(name.as_str());
        let record = path.join("boot.json");
        match read_record(&record)? {
            Some(boot) => Ok(ImageFolder { name: name.clone(), boot, path }),
            None if path.try_exists().map_err(StoreError::io("look for", &path))? => {
                Err(StoreError::NoRecord { path: record })
            }
            None => Err(StoreError::NoImage { name: name.clone() }),
        }
    }

    /// All images, sorted by name; a broken one is a row with its error.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the folder itself cannot be listed.
    pub fn list_images(&self) -> Result<Vec<ImageRow>, StoreError> {
        let folder = self.images();
        let mut rows = Vec::new();
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(rows),
            entries => entries.map_err(StoreError::io("list", &folder))?,
        };
        for entry in entries {
            let entry = entry.map_err(StoreError::io("list", &folder))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') {
                continue;
            }
            let invalid = |source| StoreError::InvalidName { path: entry.path(), source };
            let image = name.parse().map_err(invalid).and_then(|name| self.image(&name));
            rows.push(ImageRow { name, image });
        }
        rows.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(rows)
    }

    /// Removes an image; one that does not exist is no error. Whether a machine still needs it is for the caller.
    ///
    /// # Errors
    /// [`StoreError::ImageLocked`], those of [`Store::highest_generation`], or [`StoreError::Io`].
    pub fn delete_image(&self, name: &ImageName) -> Result<(), StoreError> {
        let _lock = self.lock_image(name)?;
        // What was here is not forgotten with it.
        if let Some(highest) = self.highest_generation(name)? {
            self.record_generation(name, highest.generation, highest.digest)?;
        }
        file::remove_folder(&self.images().join(name.as_str()))
    }

    fn lock_image(&self, name: &ImageName) -> Result<Lock, StoreError> {
        let path = self.root.join("locks/images").join(name.as_str());
        lock::try_lock(&path)?.ok_or_else(|| StoreError::ImageLocked { name: name.clone() })
    }
}

/// Writes all files of an image to an empty folder.
fn fill(folder: &Path, source: &ImageSource<'_>) -> Result<BootRecord, StoreError> {
    file::copy(source.packed, &folder.join("image.zst"))?;
    if let Some(signature) = source.signature {
        file::copy(signature, &folder.join("image.zst.minisig"))?;
    }
    let boot = BootRecord {
        version: RECORD_VERSION,
        kernel_release: source.kernel_release.to_owned(),
        kernel: file::copy(source.kernel, &folder.join("kernel"))?,
        initramfs: file::copy(source.initramfs, &folder.join("initramfs"))?,
        agent: file::copy(source.agent, &folder.join("agent"))?,
        image: Some(source.image),
        facts: source.facts.cloned(),
        makes: Some(source.makes.iter().map(|kind| (*kind).to_owned()).collect()),
        captured: source.captured.cloned(),
    };
    write_record(&folder.join("boot.json"), "the record of an image", &boot)?;
    Ok(boot)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source<'a>(packed: &'a Path, kernel: &'a [u8]) -> ImageSource<'a> {
        ImageSource {
            packed: Content::File(packed),
            kernel: Content::Bytes(kernel),
            initramfs: Content::Bytes(b"initramfs"),
            kernel_release: "6.1.0-test",
            agent: Content::Bytes(b"agent"),
            image: InstalledImage {
                generation: 1,
                digest: format!("blake3:{}", "ab".repeat(32)).parse().unwrap(),
                manifest: None,
            },
            facts: None,
            makes: &["ext4"],
            captured: None,
            signature: None,
        }
    }

    #[test]
    fn an_image_is_installed_replaced_listed_checked_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("state")).unwrap();
        let packed = folder.path().join("packed");
        fs::write(&packed, b"packed").unwrap();
        let name: ImageName = "debian-12".parse().unwrap();
        assert_eq!(store.image(&name).unwrap_err().to_string(), "no image debian-12");

        store.install_image(&name, &source(&packed, b"old"), Replacement::default()).unwrap();
        let image = store.install_image(&name, &source(&packed, b"new"), Replacement::default()).unwrap();
        assert_eq!(store.image(&name).unwrap(), image);
        assert_eq!(fs::read(image.kernel()).unwrap(), b"new");
        assert_eq!(fs::read(image.packed()).unwrap(), b"packed");
        assert_eq!(fs::read_dir(store.images()).unwrap().count(), 1, "nothing half made stays");
        image.verify_boot_files().unwrap();

        fs::write(image.initramfs(), b"altered").unwrap();
        let error = image.verify_boot_files().unwrap_err().to_string();
        assert!(error.contains("/initramfs has digest sha256:") && error.contains("installed as"), "{error}");
        fs::write(store.images().join("debian-12/boot.json"), "{}").unwrap();
        let rows = store.list_images().unwrap();
        assert!(matches!(rows.as_slice(), [row] if matches!(row.image, Err(StoreError::InvalidJson { .. }))));
        store.delete_image(&name).unwrap();
        store.delete_image(&name).unwrap();
        assert!(store.list_images().unwrap().is_empty());
    }

    #[test]
    fn a_missing_source_leaves_the_old_image() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("state")).unwrap();
        let packed = folder.path().join("packed");
        fs::write(&packed, b"packed").unwrap();
        let name: ImageName = "x".parse().unwrap();
        let image = store.install_image(&name, &source(&packed, b"old"), Replacement::default()).unwrap();
        let error =
            store.install_image(&name, &source(Path::new("/nonexistent"), b"new"), Replacement::default()).unwrap_err();
        assert_eq!(error.to_string(), "cannot open /nonexistent");
        assert_eq!(store.image(&name).unwrap(), image);
        image.verify_boot_files().unwrap();
        assert_eq!(fs::read_dir(store.images()).unwrap().count(), 1, "nothing half made stays");
    }
}
