//! Images: the provider's own and snapshots. Must not make any: that is where ownership is known.

use std::time::Instant;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    ApiError, Call, Client,
    client::Ask,
    servers::{Labels, Numbered},
};

/// The architecture of everything here.
pub(crate) const ARCHITECTURE: &str = "x86";

/// An image. Its texts are the provider's or a user's, and must be escaped where they are shown.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Image {
    /// Its number.
    pub id: u64,
    /// Of the provider's own, such as `debian-12`; snapshots have none.
    #[serde(default)]
    pub name: Option<String>,
    /// For people.
    pub description: String,
    /// `available`, `creating` or `unavailable`.
    pub status: String,
    /// Its labels.
    #[serde(default)]
    pub labels: Labels,
    /// When it was made.
    pub created: Timestamp,
    /// The smallest disk that it fits on, in GB.
    pub disk_size: f64,
    /// `system`, `snapshot` or another one.
    #[serde(rename = "type")]
    kind: String,
    /// The server that it was made of, when it is a snapshot.
    #[serde(default)]
    pub created_from: Option<Numbered>,
}

impl Image {
    /// Whether it was made of a server's disk.
    #[must_use]
    pub fn is_snapshot(&self) -> bool {
        self.kind == "snapshot"
    }

    /// Whether a disk can be written with it.
    #[must_use]
    pub fn is_available(&self) -> bool {
        self.status == "available"
    }
}

#[derive(Deserialize)]
struct One {
    image: Image,
}

impl Client {
    /// The provider's own images that are not deprecated.
    ///
    /// # Errors
    /// Any [`ApiError`] of a call.
    pub fn system_images(&self, until: Instant) -> Result<Vec<Image>, ApiError> {
        let query = [("type", "system".to_owned()), ("architecture", ARCHITECTURE.to_owned())];
        self.list(&Call::new("list the images", ""), ("images", "images"), &query, until)
    }

    /// Snapshots whose labels a selector fits, by number.
    ///
    /// # Errors
    /// Any [`ApiError`] of a call.
    pub fn snapshots(&self, selector: &str, until: Instant) -> Result<Vec<Image>, ApiError> {
        let call = Call::new("list the snapshots with", selector);
        let query = [("type", "snapshot"), ("label_selector", selector), ("sort", "id:asc")];
        self.list(&call, ("images", "images"), &query.map(|(key, value)| (key, value.to_owned())), until)
    }

    /// An image by its number.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] when there is none, and any other.
    pub fn image(&self, id: u64, until: Instant) -> Result<Image, ApiError> {
        let ask = Ask::get(Call::new("look at image", id), format!("images/{id}"), Vec::new());
        self.ask::<One>(&ask, until).map(|one| one.image)
    }

    /// An image by its number, or one of the provider's own by its name.
    ///
    /// # Errors
    /// [`ApiError::NoSuch`] with the names that there are, and any other of a call.
    pub fn find_image(&self, reference: &str, until: Instant) -> Result<Image, ApiError> {
        let call = Call::new("look for image", reference);
        let found = match reference.parse() {
            Ok(id) => match self.image(id, until) {
                Err(error) if error.is_not_found() => None,
                found => Some(found?),
            },
            Err(_) => {
                let query = [("name", reference), ("architecture", ARCHITECTURE)];
                let query = query.map(|(key, value)| (key, value.to_owned()));
                self.list(&call, ("images", "images"), &query, until)?.into_iter().next()
            }
        };
        found.map_or_else(|| Err(self.no_image(call, reference, until)?), Ok)
    }

    /// Deletes a snapshot; whether there was one.
    ///
    /// # Errors
    /// Any [`ApiError`] of a call.
    pub fn delete_image(&self, id: u64, until: Instant) -> Result<bool, ApiError> {
        self.delete(Call::new("delete image", id), &format!("images/{id}"), until)
    }

    /// Deletes what is gone at once; whether there was something.
    pub(crate) fn delete(&self, call: Call, path: &str, until: Instant) -> Result<bool, ApiError> {
        match self.ask::<Option<Value>>(&Ask::delete(call, path), until) {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The better error for a call that was refused, when it is the image that is not there.
    pub(crate) fn no_such_image(&self, call: &Call, reference: &str, until: Instant) -> Option<ApiError> {
        match self.find_image(reference, until) {
            Err(ApiError::NoSuch { what, name, why, available, .. }) => {
                Some(ApiError::NoSuch { call: call.clone(), what, name, why, available })
            }
            _ => None,
        }
    }

    fn no_image(&self, call: Call, reference: &str, until: Instant) -> Result<ApiError, ApiError> {
        let mut available: Vec<String> =
            self.system_images(until)?.into_iter().filter_map(|image| image.name).map(|name| shown(&name)).collect();
        available.sort();
        let (name, why) = (shown(reference), String::new());
        Ok(ApiError::NoSuch { call, what: "image", name, why, available })
    }
}

/// A name as an error may repeat it.
pub(crate) fn shown(name: &str) -> String {
    cloud_machine_protocol::escape::line(name.as_bytes(), 100)
}
