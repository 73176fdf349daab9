//! The end of a merge: the built-in defaults go below everything, and what only speaks of earlier layers has been
//! said. Must not lay one document over another itself.

use crate::{
    over::{add, over},
    tree::{Entry, Erases, Node, Value},
};

/// `node` over `defaults`. A reset gives way to its default, or vanishes; a list that found nothing to extend is a
/// list.
pub(crate) fn settle(defaults: &Node, node: Node) -> Node {
    let Some(node) = resolved(node, Some(defaults)) else {
        return defaults.clone();
    };
    // Defaults hold neither locks nor lists, so nothing can be refused here.
    over(defaults.clone(), node, "", &mut Vec::new())
}

fn resolved(mut node: Node, default: Option<&Node>) -> Option<Node> {
    if node.is_reset() {
        let mut default = default.filter(|default| !default.is_null()).cloned()?;
        add(&mut default.hidden, node.hidden);
        default.secret |= node.secret;
        return Some(default);
    }
    node.extends = None;
    let below = default.filter(|_| node.erases != Erases::Everything);
    if node.erases == Erases::Inherited {
        node.erases = Erases::Nothing;
    }
    let implied = std::mem::take(&mut node.implied);
    if let Value::Map(entries) = node.value {
        let entry = |entry: Entry| {
            let name = entry.key.as_text();
            let default = below.and_then(|map| map.entry(&name)).map(|entry| &entry.value);
            Some(Entry { value: resolved(entry.value, default)?, ..entry })
        };
        let entries: Vec<Entry> = entries.into_iter().filter_map(entry).collect();
        if implied && entries.is_empty() {
            return None;
        }
        node.value = Value::Map(entries);
    }
    Some(node)
}
