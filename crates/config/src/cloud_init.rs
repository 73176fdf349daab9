//! The top-level keys that are not ours, as text that cloud-init reads with the meaning that their author gave them.
//! Must not give them a meaning itself.

use std::{borrow::Cow, sync::Arc};

use crate::{
    emit,
    grammar::{NETWORK, is_ours},
    tree::{Entry, Node},
};

/// Keys of cloud-init that a machine's own settings overrule, each with the reason.
pub const OVERRULED: [(&str, &str); 6] = [
    ("disk_setup", DISKS),
    ("fs_setup", DISKS),
    ("growpart", "the root's partition stays as the image has it, and the machine does not start with another one"),
    ("ssh_deletekeys", HOST_KEYS),
    ("ssh_genkeytypes", HOST_KEYS),
    ("ssh_keys", HOST_KEYS),
];
const DISKS: &str =
    "the machine's disks are described below cloud-machine.resources.disks, and the agent makes what they hold";
const HOST_KEYS: &str = "the agent writes the SSH host key at each reimage, and the host believes no other";

/// The top-level key of a leaf's path, when it is cloud-init's and not ours.
#[must_use]
pub fn foreign_key(path: &str) -> Option<&str> {
    path.split('.').next().filter(|key| !is_ours(key))
}

/// Every top-level key that is not ours, in the order of the documents.
///
/// cloud-init reads YAML 1.1, where an unquoted `yes`, `0777` or `1_000` is a boolean or a number. So a scalar that
/// was written without quotes is handed over as it was written, and one in quotes stays a text.
#[derive(Clone, Debug)]
pub struct CloudInit {
    /// The whole configuration: it becomes text only for whoever asks for that.
    root: Arc<Node>,
    left_out: Vec<String>,
}

impl CloudInit {
    pub(crate) fn new(root: &Arc<Node>) -> Self {
        Self { root: Arc::clone(root), left_out: Vec::new() }
    }

    fn entries(&self) -> impl Iterator<Item = (Cow<'_, str>, &Entry)> {
        let named = self.root.entries().iter().map(|entry| (entry.key.as_text(), entry));
        named.filter(|(name, _)| !is_ours(name) && !self.left_out.iter().any(|left_out| left_out == name))
    }

    /// Names of the keys, in their order.
    pub fn keys(&self) -> impl Iterator<Item = Cow<'_, str>> {
        self.entries().map(|(name, _)| name)
    }

    /// The same without the keys of these names.
    #[must_use]
    pub fn without(&self, names: &[&str]) -> Self {
        let left_out = self.left_out.iter().cloned().chain(names.iter().map(|name| (*name).to_owned())).collect();
        Self { left_out, ..self.clone() }
    }

    /// What describes the network, as a setting of cloud-init's: the top-level key `network`, which it does not read among the
    /// others of a document.
    #[must_use]
    pub fn network_config(&self) -> Option<String> {
        let (_, entry) = self.entries().find(|(name, _)| name == NETWORK)?;
        entry.value.states_something().then(|| emit::foreign_entry(entry))
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries().next().is_none()
    }

    /// The keys as a YAML document without a first comment line; nothing at all when there is no key.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        self.entries().map(|(_, entry)| emit::foreign_entry(entry)).collect()
    }
}

/// What cloud-init is handed counts, not where it was written.
impl PartialEq for CloudInit {
    fn eq(&self, other: &Self) -> bool {
        self.keys().eq(other.keys()) && self.to_yaml() == other.to_yaml()
    }
}

impl Eq for CloudInit {}
