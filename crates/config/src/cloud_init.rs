//! The top-level keys that are not ours, as text that cloud-init reads with the meaning that their author gave them.
//! Must not give them a meaning itself.

use crate::{
    emit,
    tree::{Entry, Node},
};

/// Every top-level key that is not ours, in the order of the documents.
///
/// cloud-init reads YAML 1.1, where an unquoted `yes`, `0777` or `1_000` is a boolean or a number. So a scalar that
/// was written without quotes is handed over as it was written, and one in quotes stays a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CloudInit {
    keys: Vec<(String, String)>,
}

impl CloudInit {
    /// The entries of `root` that `theirs` accepts by name.
    pub(crate) fn of(root: &Node, theirs: impl Fn(&str) -> bool) -> Self {
        let text = |entry: &Entry| (entry.key.text(), emit::foreign_entry(entry));
        Self { keys: root.entries().iter().filter(|entry| theirs(&entry.key.text())).map(text).collect() }
    }

    /// Names of the keys, in their order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|(name, _)| name.as_str())
    }

    /// The same without the keys of these names.
    #[must_use]
    pub fn without(&self, names: &[&str]) -> Self {
        let stays = |(name, _): &&(String, String)| !names.contains(&name.as_str());
        Self { keys: self.keys.iter().filter(stays).cloned().collect() }
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys as a YAML document without a first comment line; nothing at all when there is no key.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        self.keys.iter().map(|(_, text)| text.as_str()).collect()
    }
}
