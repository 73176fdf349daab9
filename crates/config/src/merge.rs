//! One document laid over another: maps by key, scalars and lists whole, an empty value not at all. Must not know any
//! key.

use std::collections::BTreeMap;

use crate::{
    emit,
    error::ConfigErrors,
    merged::Merged,
    parse::Document,
    scalar::Scalar,
    source::{LayerKind, Mark},
    tree::{Entry, Hidden, Node, Value, child_path},
};

/// Merges documents: a later layer wins, and within one layer the later document.
///
/// Maps merge by key. Scalars and lists replace what was there, and so does a map that meets a scalar or a list.
/// An empty value states nothing, so what it meets stays. The result is the same however the documents are grouped.
///
/// # Errors
/// None yet: the signature leaves room for keys that a layer may lock.
pub fn merge(documents: &[Document]) -> Result<Merged, ConfigErrors> {
    let mut ordered: Vec<&Document> = documents.iter().collect();
    ordered.sort_by_key(|document| document.layer);
    let mut roots = ordered.into_iter().map(|document| document.root.clone());
    let root = match roots.next() {
        Some(first) => roots.fold(first, over),
        None => empty(),
    };
    Ok(Merged::new(root))
}

fn empty() -> Node {
    let source = crate::source::Source::new(LayerKind::Defaults, "built-in", "", crate::source::Form::BuiltIn);
    Node::new(&source, Mark::START, Value::Map(Vec::new()))
}

/// `later` laid over `earlier`.
pub(crate) fn over(earlier: Node, mut later: Node) -> Node {
    if later.is_null() {
        return earlier;
    }
    if earlier.is_null() {
        return later;
    }
    match (&earlier.value, &mut later.value) {
        // A map that once replaced a scalar or list has replaced everything below it as well: without that, the
        // result would depend on which two of three documents were merged first.
        (Value::Map(_), Value::Map(entries)) if !later.replaces => {
            later.replaces = earlier.replaces;
            add(&mut later.hidden, earlier.hidden);
            let Value::Map(below) = earlier.value else {
                return later;
            };
            *entries = merge_entries(below, std::mem::take(entries));
        }
        (Value::Map(_), Value::Map(_)) => hide(&mut later, &earlier),
        (_, Value::Map(_)) => {
            later.replaces = true;
            hide(&mut later, &earlier);
        }
        _ => hide(&mut later, &earlier),
    }
    later
}

fn merge_entries(earlier: Vec<Entry>, later: Vec<Entry>) -> Vec<Entry> {
    let mut merged = earlier;
    let places: BTreeMap<String, usize> =
        merged.iter().enumerate().map(|(place, entry)| (entry.key.text(), place)).collect();
    for entry in later {
        match places.get(&entry.key.text()).and_then(|place| merged.get_mut(*place)) {
            Some(below) => merge_entry(below, entry),
            None => merged.push(entry),
        }
    }
    merged
}

fn merge_entry(below: &mut Entry, later: Entry) {
    if !later.value.is_null() {
        below.key = later.key;
        below.mark = later.mark;
    }
    let placeholder = Node::new(&later.value.source, later.mark, Value::Scalar(Scalar::Null));
    let earlier = std::mem::replace(&mut below.value, placeholder);
    below.value = over(earlier, later.value);
}

/// Adds `earlier` and what it hid to what `later` hides. A value does not hide itself.
fn hide(later: &mut Node, earlier: &Node) {
    let own = Hidden { path: String::new(), text: emit::flow(&later.value), origin: later.origin() };
    let mut found = Vec::new();
    collect(earlier, "", &mut found);
    found.retain(|hidden| *hidden != own);
    add(&mut later.hidden, found);
}

fn add(hidden: &mut Vec<Hidden>, more: Vec<Hidden>) {
    for one in more {
        if !hidden.contains(&one) {
            hidden.push(one);
        }
    }
}

/// Every leaf of `node`, and every value that it or one of its maps hid, with its path below `node`.
fn collect(node: &Node, path: &str, found: &mut Vec<Hidden>) {
    if let Value::Map(entries) = &node.value {
        for entry in entries {
            collect(&entry.value, &child_path(path, &entry.key.text()), found);
        }
    } else if !node.is_null() {
        found.push(Hidden { path: path.to_owned(), text: emit::flow(&node.value), origin: node.origin() });
    }
    let below = |hidden: &Hidden| Hidden { path: join(path, &hidden.path), ..hidden.clone() };
    found.extend(node.hidden.iter().map(below));
}

fn join(path: &str, below: &str) -> String {
    if path.is_empty() || below.is_empty() { format!("{path}{below}") } else { format!("{path}.{below}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    fn merged(texts: &[&str]) -> Merged {
        let documents: Vec<Document> = texts
            .iter()
            .enumerate()
            .map(|(index, text)| parse(LayerKind::Project, &format!("f{index}"), text.as_bytes()).unwrap())
            .collect();
        merge(&documents).unwrap()
    }

    #[test]
    fn maps_merge_by_key_and_scalars_and_lists_replace() {
        let result = merged(&["a: {x: 1, y: [1, 2]}\nb: 1", "a: {y: [3], z: 4}\nb: text"]);
        assert_eq!(result.to_yaml(), merged(&["a: {x: 1, y: [3], z: 4}\nb: text"]).to_yaml());
    }

    #[test]
    fn an_empty_value_states_nothing() {
        assert_eq!(merged(&["a: {x: 1}\nb: [1]", "a:\nb: ~"]).to_yaml(), "a:\n  x: 1\nb:\n  - 1\n");
        assert_eq!(merged(&["a:", "a: {x: 1}"]).to_yaml(), "a:\n  x: 1\n");
    }

    #[test]
    fn a_map_and_a_scalar_replace_each_other_however_they_are_grouped() {
        assert_eq!(merged(&["a: {x: 1}", "a: 2", "a: {z: 3}"]).to_yaml(), "a:\n  z: 3\n");
        assert_eq!(merged(&["a: {x: 1}", "a: 2"]).to_yaml(), "a: 2\n");
    }

    #[test]
    fn a_leaf_knows_its_origin_and_what_it_hid() {
        let result = merged(&["a: {x: 1}", "a:\n  x: 2", "a:\n  x: [3]"]);
        let leaf = &result.leaves()[0];
        assert_eq!((leaf.path.as_str(), leaf.origin.to_string().as_str()), ("a.x", "project f2:2:6"));
        assert_eq!(leaf.hidden, ["2 (project f1:2:6)", "1 (project f0:1:8)"]);
        assert_eq!(merged(&["a: {x: 1}", "a: 2"]).leaves()[0].hidden, ["x: 1 (project f0:1:8)"]);
    }

    #[test]
    fn layers_win_by_their_order_and_not_by_the_order_of_the_call() {
        let global = parse(LayerKind::Global, "g", b"a: global").unwrap();
        let user = parse(LayerKind::User, "u", b"a: user").unwrap();
        assert_eq!(merge(&[user, global]).unwrap().to_yaml(), "a: user\n");
        assert_eq!(merge(&[]).unwrap().to_yaml(), "{}\n");
    }
}
