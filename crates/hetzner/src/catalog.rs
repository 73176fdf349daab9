//! The provider's lists as they were kept, with their age: enough for looking at a machine without the network. Must not
//! keep anything of the project.

use std::{path::Path, time::Instant};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{ApiError, Client, ServerType};

/// The file in the folder that the caller gives.
const FILE: &str = "hetzner-lists.json";
/// Of the file's form.
const VERSION: u32 = 1;
/// Older lists are asked for anew.
const FRESH: SignedDuration = SignedDuration::from_hours(24);

/// The lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalog {
    version: u32,
    /// Of whom they are.
    endpoint: String,
    /// When they were asked for.
    pub fetched: Timestamp,
    /// Types of servers.
    pub server_types: Vec<ServerType>,
    /// Names of places.
    pub locations: Vec<String>,
    /// Names of the provider's own images.
    pub images: Vec<String>,
}

/// Lists and how old they are.
#[derive(Debug)]
pub struct Listed {
    /// The lists.
    pub catalog: Catalog,
    /// How old they are.
    pub age: SignedDuration,
    /// Why they are older than they may be, when they are.
    pub offline: Option<ApiError>,
}

impl Client {
    /// The provider's lists: those that are kept in the folder, those of the provider when they are older than a day, and the
    /// old ones all the same when the provider cannot be asked. What is kept and cannot be read is replaced; nothing is kept in a
    /// folder that is not there.
    ///
    /// # Errors
    /// [`ApiError::Kept`] when they cannot be kept, and any other of a call where no old ones help.
    pub fn catalog(&self, folder: &Path, now: Timestamp, until: Instant) -> Result<Listed, ApiError> {
        let path = folder.join(FILE);
        let kept = self.kept(&path)?;
        let age = |catalog: &Catalog| now.duration_since(catalog.fetched);
        // Lists of the future were kept under a wrong clock.
        let is_fresh = |catalog: &Catalog| (SignedDuration::ZERO..FRESH).contains(&age(catalog));
        if let Some(catalog) = kept.clone().filter(is_fresh) {
            return Ok(Listed { age: age(&catalog), catalog, offline: None });
        }
        let asked = match (self.asked(now, until), kept) {
            (Err(error), Some(catalog)) if error.is_offline() => {
                let age = age(&catalog).max(SignedDuration::ZERO);
                return Ok(Listed { age, catalog, offline: Some(error) });
            }
            (asked, _) => asked?,
        };
        // Who only looks at a configuration has no folder yet, and needs none.
        if !folder.is_dir() {
            return Ok(Listed { age: SignedDuration::ZERO, catalog: asked, offline: None });
        }
        let bytes = serde_json::to_vec(&asked).map_err(|error| kept_wrongly(&path, error.into()))?;
        cloud_machine_store::file::replace(&path, &bytes).map_err(|error| ApiError::Kept(error.into()))?;
        Ok(Listed { age: SignedDuration::ZERO, catalog: asked, offline: None })
    }

    /// What is kept and is of this provider.
    fn kept(&self, path: &Path) -> Result<Option<Catalog>, ApiError> {
        let limit = cloud_machine_store::MAX_RECORD;
        let bytes = cloud_machine_store::read(path, limit).map_err(|error| ApiError::Kept(error.into()))?;
        let read = bytes.and_then(|bytes| serde_json::from_slice::<Catalog>(&bytes).ok());
        Ok(read.filter(|catalog| catalog.version == VERSION && catalog.endpoint == self.endpoint()))
    }

    fn asked(&self, now: Timestamp, until: Instant) -> Result<Catalog, ApiError> {
        let images = self.system_images(until)?;
        Ok(Catalog {
            version: VERSION,
            endpoint: self.endpoint().to_owned(),
            fetched: now,
            server_types: self.server_types(until)?,
            locations: self.locations(until)?,
            images: images.into_iter().filter_map(|image| image.name).collect(),
        })
    }
}

fn kept_wrongly(path: &Path, error: std::io::Error) -> ApiError {
    ApiError::Kept(Box::new(cloud_machine_store::StoreError::io("write", path)(error)))
}
