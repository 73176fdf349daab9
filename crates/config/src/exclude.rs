//! `exclude: [a.b]`, the twin of `!reset` for documents that carry no tags. Must not look at what is excluded.

use std::sync::Arc;

use crate::{
    error::{ConfigError, ConfigErrors},
    limits::MAX_NODES,
    over::over,
    paths::{keys, wrap},
    scalar::Scalar,
    source::Source,
    tree::{Entry, Node, Value, item_path},
};

/// The top-level key.
pub(crate) const EXCLUDE: &str = "exclude";
const ALLOWED: &str = "a list of key paths, such as [resources.ram]";

/// `root` without its key `exclude`, laid over a reset for each path there.
pub(crate) fn excluded(source: &Arc<Source>, root: Node) -> Result<Node, ConfigErrors> {
    let mut root = over_resets(source, root)?;
    root.imply();
    Ok(root)
}

fn over_resets(source: &Arc<Source>, mut root: Node) -> Result<Node, ConfigErrors> {
    let Value::Map(entries) = &mut root.value else {
        return Ok(root);
    };
    let Some(place) = entries.iter().position(|entry| entry.key.text() == EXCLUDE) else {
        return Ok(root);
    };
    let entry: Entry = entries.remove(place);
    let node = entry.value;
    if node.states_nothing() {
        return Ok(root);
    }
    let wrong = |node: &Node, path: &str| {
        let message = format!("found {}", node.kind());
        ConfigErrors::from(ConfigError::new(&node.source, node.mark, path, message).allowed(ALLOWED))
    };
    let tagged = node.is_null() || node.extends.is_some() || node.locked.is_some() || node.secret;
    let items = match &node.value {
        Value::List(items) if !tagged => items,
        Value::List(_) | Value::Scalar(_) if tagged => {
            let error = ConfigError::new(&node.source, node.mark, EXCLUDE, "a tag means nothing here");
            return Err(error.allowed(ALLOWED).into());
        }
        _ => return Err(wrong(&node, EXCLUDE)),
    };
    let (mut resets, mut count) = (Vec::new(), 0);
    for (index, item) in items.iter().enumerate() {
        let Value::Scalar(Scalar::Text(path)) = &item.value else {
            return Err(wrong(item, &item_path(EXCLUDE, index)));
        };
        let keys = keys(source, item.mark, path)?;
        // Each of them becomes a map.
        count += keys.len();
        if count > MAX_NODES {
            let error = ConfigError::new(source, item.mark, EXCLUDE, "the paths have too many keys");
            return Err(error.allowed(format!("at most {MAX_NODES} keys in all paths together")).into());
        }
        resets.push(wrap(source, &keys, Node::reset(source, item.mark)));
    }
    // A reset holds no lock, so nothing can be refused here.
    Ok(match together(resets) {
        Some(resets) => over(resets, root, "", &mut Vec::new()),
        None => root,
    })
}

/// All of them laid over one another, in their order: in pairs, and pairs of these. One after the other, each of
/// thousands would be laid over all that came before it.
fn together(mut nodes: Vec<Node>) -> Option<Node> {
    while nodes.len() > 1 {
        let mut rest = nodes.into_iter();
        nodes = Vec::new();
        while let Some(earlier) = rest.next() {
            nodes.push(match rest.next() {
                Some(later) => over(earlier, later, "", &mut Vec::new()),
                None => earlier,
            });
        }
    }
    nodes.pop()
}
