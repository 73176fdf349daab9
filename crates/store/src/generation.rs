//! The highest generation of each image that this host ever had: what a roll-back is held against. Must not be
//! removed with the image.

use std::path::PathBuf;

use cloud_machine_protocol::Digest;
use serde::{Deserialize, Serialize};

use super::{ImageName, RECORD_VERSION, Store, StoreError, read_record, write_record};

/// `generations/NAME.json`: the image of the highest generation that was installed under a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenerationRecord {
    /// [`RECORD_VERSION`].
    pub version: u32,
    /// Its generation.
    pub generation: u64,
    /// BLAKE3 digest of its raw image.
    pub digest: Digest,
}

/// What an operator allows when an image takes the place of another one of its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replacement {
    /// A lower generation than the highest. That one stays what machines are held against.
    pub downgrade: bool,
    /// Other content under the highest generation.
    pub replace: bool,
}

impl Store {
    /// The highest generation that was ever installed under `name`; `None` when there was none.
    ///
    /// # Errors
    /// [`StoreError::UnknownVersion`], [`StoreError::InvalidJson`] or [`StoreError::Io`]: a record that cannot be read is
    /// not taken for none.
    pub fn highest_generation(&self, name: &ImageName) -> Result<Option<GenerationRecord>, StoreError> {
        let recorded: Option<GenerationRecord> = read_record(&self.generation_record(name))?;
        // An image is put in its place before its generation is recorded: after a cut between the two it counts itself.
        let installed = match self.image(name) {
            Ok(image) => image.boot.image,
            Err(StoreError::NoImage { .. }) => None,
            // A record that is gone or damaged says nothing; what was recorded stands.
            Err(StoreError::NoRecord { .. } | StoreError::InvalidJson { .. } | StoreError::UnknownVersion { .. }) => {
                None
            }
            Err(error) => return Err(error),
        };
        let installed = installed.map(|image| GenerationRecord {
            version: RECORD_VERSION,
            generation: image.generation,
            digest: image.digest,
        });
        Ok(match (recorded, installed) {
            (Some(recorded), Some(installed)) if installed.generation > recorded.generation => Some(installed),
            (Some(recorded), _) => Some(recorded),
            (None, installed) => installed,
        })
    }

    /// Checks whether an image of `generation`, and of `digest` where it is known already, may be installed.
    ///
    /// # Errors
    /// [`StoreError::GenerationLow`], [`StoreError::GenerationTaken`], or those of [`Store::highest_generation`].
    pub fn check_generation(
        &self,
        name: &ImageName,
        generation: u64,
        digest: Option<Digest>,
        allowed: Replacement,
    ) -> Result<(), StoreError> {
        let Some(highest) = self.highest_generation(name)? else { return Ok(()) };
        if generation < highest.generation && !allowed.downgrade {
            return Err(StoreError::GenerationLow { name: name.clone(), generation, highest: highest.generation });
        }
        let other = digest.is_some_and(|digest| digest != highest.digest);
        if generation == highest.generation && other && !allowed.replace {
            return Err(StoreError::GenerationTaken { name: name.clone(), generation, digest: highest.digest });
        }
        Ok(())
    }

    /// Records a generation unless a higher one was there before.
    pub(super) fn record_generation(
        &self,
        name: &ImageName,
        generation: u64,
        digest: Digest,
    ) -> Result<(), StoreError> {
        let path = self.generation_record(name);
        let recorded: Option<GenerationRecord> = read_record(&path)?;
        if recorded.is_some_and(|recorded| recorded.generation > generation) {
            return Ok(());
        }
        let record = GenerationRecord { version: RECORD_VERSION, generation, digest };
        write_record(&path, "the highest generation of an image", &record)
    }

    fn generation_record(&self, name: &ImageName) -> PathBuf {
        self.generations().join(format!("{}.json", name.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use cloud_machine_protocol::Algorithm;

    use super::*;
    use crate::{Content, ImageSource, InstalledImage};

    fn digest(byte: u8) -> Digest {
        Digest::new(Algorithm::Blake3, [byte; 32])
    }

    fn install(store: &Store, generation: u64, content: u8, allowed: Replacement) -> Result<(), StoreError> {
        let source = ImageSource {
            packed: Content::Bytes(b"packed"),
            kernel: Content::Bytes(b"kernel"),
            initramfs: Content::Bytes(b"initramfs"),
            kernel_release: "6.1.0-test",
            agent: Content::Bytes(b"agent"),
            image: InstalledImage { generation, digest: digest(content), manifest: None },
            facts: None,
            makes: &[],
            captured: None,
            signature: None,
        };
        store.install_image(&"x".parse().unwrap(), &source, allowed).map(drop)
    }

    #[test]
    fn an_image_goes_forward_and_back_only_when_that_is_allowed() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("state")).unwrap();
        let name: ImageName = "x".parse().unwrap();
        let strict = Replacement::default();
        let highest = || store.highest_generation(&name).unwrap().map(|found| (found.generation, found.digest));
        assert_eq!(highest(), None);
        install(&store, 5, 1, strict).unwrap();
        install(&store, 5, 1, strict).unwrap();
        let other = install(&store, 5, 2, strict).unwrap_err();
        assert_eq!(
            other.to_string(),
            format!("image x of generation 5 is here already with other content: {}", digest(1))
        );
        let lower = install(&store, 4, 1, strict).unwrap_err();
        assert_eq!(lower.to_string(), "image x of generation 4 is older than generation 5, the highest that was here");
        assert!(install(&store, 4, 1, Replacement { replace: true, ..strict }).is_err());
        assert!(install(&store, 5, 2, Replacement { downgrade: true, ..strict }).is_err());

        install(&store, 5, 2, Replacement { replace: true, ..strict }).unwrap();
        assert_eq!(highest(), Some((5, digest(2))));
        install(&store, 4, 9, Replacement { downgrade: true, ..strict }).unwrap();
        assert_eq!(highest(), Some((5, digest(2))), "the way back is not forgotten");
        store.delete_image(&name).unwrap();
        assert_eq!(highest(), Some((5, digest(2))), "nor is it by deletion");
        assert!(install(&store, 4, 9, strict).is_err());
        install(&store, 7, 3, strict).unwrap();
        assert_eq!(highest(), Some((7, digest(3))));
    }

    /// A cut after the image got its place and before its generation was recorded.
    #[test]
    fn an_installed_image_counts_when_its_generation_was_not_recorded() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("state")).unwrap();
        install(&store, 5, 1, Replacement::default()).unwrap();
        fs::remove_file(store.root().join("generations/x.json")).unwrap();
        assert!(matches!(install(&store, 4, 1, Replacement::default()), Err(StoreError::GenerationLow { .. })));
        assert!(matches!(install(&store, 5, 2, Replacement::default()), Err(StoreError::GenerationTaken { .. })));
    }

    #[test]
    fn a_record_that_cannot_be_read_is_not_taken_for_none() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("state")).unwrap();
        install(&store, 5, 1, Replacement::default()).unwrap();
        let path = store.root().join("generations/x.json");
        for damaged in ["", "{}", "{\"version\": 2, \"generation\": 1}"] {
            fs::write(&path, damaged).unwrap();
            assert!(install(&store, 6, 2, Replacement::default()).is_err(), "{damaged:?}");
        }
    }
}
