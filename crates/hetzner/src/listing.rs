//! Lists of the API, page by page, and looks for what a request without an answer may have made. Must not know what is in
//! a list.

use std::time::Instant;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{ApiError, Call, Client, client::Ask, pace::pause};

/// The most that the API gives at once.
const PER_PAGE: u32 = 50;
/// Pages of a list that are read: no project has so much.
const MOST_PAGES: u32 = 200;

#[derive(Deserialize)]
struct Page {
    meta: Meta,
    #[serde(flatten)]
    lists: serde_json::Map<String, Value>,
}

#[derive(Deserialize)]
struct Meta {
    pagination: Pagination,
}

#[derive(Deserialize)]
struct Pagination {
    next_page: Option<u32>,
}

impl Client {
    /// All of a list: the entries of `key` in the pages of `GET /path`.
    pub(crate) fn list<T: DeserializeOwned>(
        &self,
        call: &Call,
        (path, key): (&str, &str),
        query: &[(&'static str, String)],
        until: Instant,
    ) -> Result<Vec<T>, ApiError> {
        let mut entries = Vec::new();
        let mut page = 1;
        loop {
            let mut query = query.to_vec();
            query.extend([("page", page.to_string()), ("per_page", PER_PAGE.to_string())]);
            let Page { meta, mut lists } = self.ask(&Ask::get(call.clone(), path, query), until)?;
            let strange = |source| ApiError::Answer { call: call.clone(), source };
            let list = lists.remove(key).ok_or_else(|| strange(format!("it has no {key}").into()))?;
            let read: Vec<T> = serde_json::from_value(list).map_err(|error| strange(error.into()))?;
            entries.extend(read);
            match meta.pagination.next_page {
                None => return Ok(entries),
                // A next page that is not behind this one has no end.
                Some(next) if next <= page || next > MOST_PAGES => {
                    return Err(strange(format!("page {next} follows page {page}").into()));
                }
                Some(next) => page = next,
            }
        }
    }

    /// Looks again and again for something that may appear late.
    pub(crate) fn look<T>(
        &self,
        until: Instant,
        mut find: impl FnMut() -> Result<Option<T>, ApiError>,
    ) -> Result<Option<T>, ApiError> {
        let end = until.min(Instant::now() + self.pace().look);
        let mut waits = self.pace().waits();
        loop {
            if let Some(found) = find()? {
                return Ok(Some(found));
            }
            if !waits.next().is_some_and(|wait| pause(wait, end)) {
                return Ok(None);
            }
        }
    }
}
