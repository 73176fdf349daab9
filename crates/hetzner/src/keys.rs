//! SSH keys of the project. Must not make one.

use std::time::Instant;

use serde::Deserialize;
use serde_json::json;

use crate::{ApiError, Call, Client, client::Ask, servers::Labels};

/// A public key that servers and rescue systems can be given. Its texts must be escaped where they are shown.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct SshKey {
    /// Its number.
    pub id: u64,
    /// Its name, which no other one of the project has.
    pub name: String,
    /// MD5 in hexadecimal, as the provider shows it.
    pub fingerprint: String,
    /// One line, as in `authorized_keys`.
    pub public_key: String,
    /// Its labels.
    #[serde(default)]
    pub labels: Labels,
    /// When it was made.
    pub created: jiff::Timestamp,
}

#[derive(Deserialize)]
struct One {
    ssh_key: SshKey,
}

impl Client {
    /// The key of the project that is this public one. Compared as a whole: the provider's fingerprints are MD5, of which
    /// two keys can have the same.
    ///
    /// # Errors
    /// Any [`ApiError`] of a call.
    pub fn find_ssh_key(&self, public: &str, until: Instant) -> Result<Option<SshKey>, ApiError> {
        let keys: Vec<SshKey> = self.list(&Call::new("list the SSH keys", ""), ("ssh_keys", "ssh_keys"), &[], until)?;
        Ok(keys.into_iter().find(|key| is_same(&key.public_key, public)))
    }

    /// The key of the project that is this public one, made when there is none; whether it was made now. The provider keeps no
    /// key twice, so however often it is asked for there is one. A key that was there keeps its name and labels.
    ///
    /// # Errors
    /// [`ApiError::Refused`] with `uniqueness_error` when another key has the name, and any other of a call.
    pub fn find_or_create_ssh_key(
        &self,
        name: &str,
        public: &str,
        labels: &Labels,
        until: Instant,
    ) -> Result<(SshKey, bool), ApiError> {
        if let Some(key) = self.find_ssh_key(public, until)? {
            return Ok((key, false));
        }
        let body = json!({"name": name, "public_key": public.trim(), "labels": labels});
        match self.ask::<One>(&Ask::post(Call::new("create the SSH key", name), "ssh_keys", body), until) {
            Ok(One { ssh_key }) => Ok((ssh_key, true)),
            // Made by another program meanwhile, or by a request without an answer.
            Err(error @ ApiError::Refused { .. }) => match self.find_ssh_key(public, until)? {
                Some(key) => {
                    let is_ours = key.name == name && key.labels == *labels;
                    Ok((key, is_ours))
                }
                None => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// A key by its number.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] when there is none, and any other.
    pub fn ssh_key(&self, id: u64, until: Instant) -> Result<SshKey, ApiError> {
        let ask = Ask::get(Call::new("look at SSH key", id), format!("ssh_keys/{id}"), Vec::new());
        self.ask::<One>(&ask, until).map(|one| one.ssh_key)
    }

    /// Keys whose labels a selector fits.
    ///
    /// # Errors
    /// Any [`ApiError`] of a call.
    pub fn ssh_keys(&self, selector: &str, until: Instant) -> Result<Vec<SshKey>, ApiError> {
        let call = Call::new("list the SSH keys with", selector);
        let query = [("label_selector", selector.to_owned()), ("sort", "id:asc".to_owned())];
        self.list(&call, ("ssh_keys", "ssh_keys"), &query, until)
    }

    /// Deletes a key from the project; servers that have it keep it. Whether there was one.
    ///
    /// # Errors
    /// Any [`ApiError`] of a call.
    pub fn delete_ssh_key(&self, id: u64, until: Instant) -> Result<bool, ApiError> {
        self.delete(Call::new("delete SSH key", id), &format!("ssh_keys/{id}"), until)
    }
}

/// Whether two lines have the same key: kind and body, whatever the comments say.
fn is_same(one: &str, other: &str) -> bool {
    let key = |line: &str| {
        let mut words = line.split_ascii_whitespace().map(str::to_owned);
        words.next().zip(words.next())
    };
    key(one).is_some_and(|one| Some(one) == key(other))
}

#[cfg(test)]
mod tests {
    use super::is_same;

    #[test]
    fn keys_are_the_same_whatever_their_comments() {
        assert!(is_same("ssh-ed25519 AAAA ada\n", " ssh-ed25519\tAAAA"));
        for (one, other) in
            [("ssh-ed25519 AAAA", "ssh-ed25519 AAAB"), ("ssh-rsa AAAA", "ssh-ed25519 AAAA"), ("", ""), ("x", "x")]
        {
            assert!(!is_same(one, other), "{one:?} {other:?}");
        }
    }
}
