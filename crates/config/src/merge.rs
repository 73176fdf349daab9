//! Documents to one tree, in the order of their layers, and what each layer may say. Must not lay one over another itself.

use std::sync::Arc;

use crate::{
    document::{Document, only},
    error::ConfigErrors,
    merged::Merged,
    over::over,
    safety,
    settle::settle,
    size::fits,
    source::{Form, LayerKind, Mark, Source},
    tree::{Node, Value},
};

/// Merges documents: a later layer wins, and within one layer the later document.
///
/// Maps merge by key. Scalars and lists replace what was there, and so does a map that meets a scalar or a list.
/// An empty value states nothing, so what it meets stays. `!override` replaces a whole map; `!append` and `!prepend`
/// extend an inherited list; `!reset`, `exclude` and [`crate::unset`] leave the built-in default or nothing;
/// `!final` locks. Built-in defaults lie below everything, whatever their place in `documents`.
///
/// The result is the same however the documents are grouped, where a merge succeeds.
///
/// # Errors
/// All that are found: a value that a later document sets although an earlier one locked it; a list to extend that
/// is no list; a document of the layers [`LayerKind::CloudInitUrl`] and [`LayerKind::Volume`] that is not
/// [`Document::pinned`] and loosens or redirects a safety key. Each of these names both places. And a result that one
/// document could not hold ([`crate::MAX_NODES`], [`crate::MAX_PATH`], [`crate::MAX_DOCUMENT`]).
pub fn merge(documents: &[Document]) -> Result<Merged, ConfigErrors> {
    merge_all(documents.to_vec())
}

/// [`merge`] of documents that nobody needs any more, which saves a copy of each.
///
/// # Errors
/// Those of [`merge`].
pub fn merge_all(mut documents: Vec<Document>) -> Result<Merged, ConfigErrors> {
    documents.sort_by_key(|document| document.layer);
    let (built_in, stated): (Vec<Document>, Vec<Document>) = documents.into_iter().partition(Document::is_built_in);
    let mut errors = Vec::new();
    let mut defaults = empty();
    for document in built_in {
        defaults = over(defaults, Arc::unwrap_or_clone(document.root), "", &mut errors);
    }
    let mut merged = empty();
    for document in stated {
        if document.is_restricted() {
            let ours = |root: &Node| only(root, &safety::TOP_LEVEL);
            let (before, said) = (settle(&defaults, ours(&merged)), ours(&document.root));
            merged = over(merged, Arc::unwrap_or_clone(document.root), "", &mut errors);
            safety::compare(&before, &settle(&defaults, ours(&merged)), &said, &mut errors);
        } else {
            merged = over(merged, Arc::unwrap_or_clone(document.root), "", &mut errors);
        }
    }
    ConfigErrors::check(errors)?;
    let merged = Merged::new(settle(&defaults, merged));
    fits(&merged)?;
    Ok(merged)
}

fn empty() -> Node {
    let source = Source::new(LayerKind::Defaults, "built-in", "", Form::BuiltIn);
    Node::new(&source, Mark::START, Value::Map(Vec::new()))
}
