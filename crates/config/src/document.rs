//! A document as its reader made it: a tree and the layer that it belongs to. Must not read one.

use std::sync::Arc;

use crate::{
    grammar::ROOT,
    source::LayerKind,
    tree::{Node, Value},
};

/// A parsed document: a map, in which each key and value knows its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    pub(crate) layer: LayerKind,
    pub(crate) root: Arc<Node>,
    pub(crate) pinned: bool,
}

impl Document {
    /// Only what stands below `cloud-machine`.
    #[must_use]
    pub fn ours(&self) -> Self {
        Self { root: Arc::new(only(&self.root, &[ROOT])), ..*self }
    }

    pub(crate) fn new(layer: LayerKind, root: Node) -> Self {
        Self { layer, root: Arc::new(root), pinned: false }
    }

    /// The layer that it belongs to.
    #[must_use]
    pub const fn layer(&self) -> LayerKind {
        self.layer
    }

    /// The same document with the word of the host behind it: it may set safety keys in layers that otherwise may only
    /// tighten them.
    #[must_use]
    pub const fn pinned(mut self) -> Self {
        self.pinned = true;
        self
    }

    pub(crate) fn is_built_in(&self) -> bool {
        self.layer == LayerKind::Defaults
    }

    /// Whether it may only tighten safety keys.
    pub(crate) fn is_restricted(&self) -> bool {
        self.layer >= LayerKind::CloudInitUrl && !self.pinned
    }
}

/// The part of the document `root` that has these top-level keys: a copy of all the rest would be for nothing.
pub(crate) fn only(root: &Node, keys: &[&str]) -> Node {
    let entries = keys.iter().filter_map(|key| root.entry(key)).cloned().collect();
    let (erases, implied) = (root.erases, root.implied);
    Node { erases, implied, ..Node::new(&root.source, root.mark, Value::Map(entries)) }
}
