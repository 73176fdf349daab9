//! What was seen on a disk and found right, down to the values that the root is computed from. Must only be told of
//! bytes that were read from the disk after the last write to them.

use cloud_machine_protocol::{Algorithm, Digest};

use crate::{
    Manifest,
    goal::Observation,
    manifest::Entry,
    tree::{self, Node, Value},
};

/// Values and byte counts of the pieces that were right.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    // For each entry of the manifest the value of its subtree, as the observations carried it.
    values: Vec<Value>,
    // For each entry how many of its leaves were not seen yet.
    missing: Vec<u32>,
    seen: u64,
    beyond: u64,
}

impl Observed {
    pub(crate) fn new(manifest: Option<&Manifest>) -> Self {
        let entries = manifest.map(Manifest::entries).unwrap_or_default();
        Self {
            values: vec![[0; 32]; entries.len()],
            missing: entries.iter().map(|entry| entry.leaves).collect(),
            seen: 0,
            beyond: 0,
        }
    }

    pub(crate) fn add(&mut self, observation: &Observation) {
        self.seen += observation.length;
        self.beyond += observation.beyond;
        if let Some((entry, value)) = observation.entry {
            self.values[entry] = value;
            self.missing[entry] = self.missing[entry].saturating_sub(1);
        }
    }

    /// Bytes that were right.
    pub(crate) fn seen(&self) -> u64 {
        self.seen
    }

    /// Bytes behind the image that were zero.
    pub(crate) fn beyond(&self) -> u64 {
        self.beyond
    }

    /// The root of the values as they were seen; `None` while any leaf is missing.
    pub(crate) fn root(&self, manifest: &Manifest) -> Option<Digest> {
        if self.missing.iter().any(|missing| *missing != 0) {
            return None;
        }
        let node = |(entry, value): (&Entry, &Value)| Node { value: *value, ..entry.node(manifest.size()) };
        let nodes = manifest.entries().iter().zip(&self.values).map(node);
        let root = tree::root(manifest.size(), nodes)?;
        Some(Digest::new(Algorithm::Blake3, root))
    }
}
