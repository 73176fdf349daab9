//! The laws of merging and of round trips, on generated documents. Must not test single cases.

use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::{
    ConfigError, Document, LayerKind, emit, merge,
    merged::Merged,
    over::over,
    parse,
    scalar::Scalar,
    settle::settle,
    source::{Form, Mark, Source},
    tags::{Inside, Tag},
    tree::{Entry, Node, Value},
};

fn scalar() -> impl Strategy<Value = Scalar> {
    prop_oneof![
        Just(Scalar::Null),
        any::<bool>().prop_map(Scalar::Bool),
        any::<i64>().prop_map(Scalar::Integer),
        any::<u64>().prop_map(Scalar::from),
        any::<f64>().prop_map(|value| if value.is_nan() { Scalar::plain(".nan") } else { Scalar::Float(value) }),
        prop_oneof![
            "[a-z0-9.:#\\-\\[\\]{}'\" \n\t]{0,12}",
            "\\PC{0,12}",
            "[\u{1}-\u{2ff}]{0,6}",
            "(yes|0777|~|null|1e3|0x1F|<<|---|\\.\\.\\.)"
        ]
        .prop_map(Scalar::Text),
    ]
}

/// A tree in which every node has a place of its own, so that two origins are equal only when the nodes are; with
/// `tags` on the values of maps.
fn tree(name: &'static str, tags: &'static [Tag]) -> impl Strategy<Value = Node> {
    let source = Source::new(LayerKind::Project, name, "", Form::Text);
    let leaf = scalar().prop_map(Value::Scalar);
    let value = leaf.prop_recursive(4, 24, 4, {
        let source = source.clone();
        move |inner| {
            let (one, two) = (source.clone(), source.clone());
            let item = inner.clone().prop_map(move |value| Node::new(&one, Mark::START, value));
            let tag = prop::option::weighted(0.3, prop::sample::select(tags));
            let entry = ("[abc]", inner, tag).prop_map(move |(key, value, tag)| {
                Entry::new(&key, Mark::START, tagged(Node::new(&two, Mark::START, value), tag))
            });
            prop_oneof![
                prop::collection::vec(item, 0..4)
                    .prop_map(|items| Value::List(items.into_iter().map(untagged).collect())),
                prop::collection::vec(entry, 0..4).prop_map(|entries| Value::Map(distinct(entries))),
            ]
        }
    });
    value.prop_map(move |value| {
        let mut node = Node::new(&source, Mark::START, value);
        let mut line = 0;
        number(&mut node, &mut line);
        node.imply();
        node
    })
}

/// `node` with the tag, where it may stand.
fn tagged(mut node: Node, tag: Option<Tag>) -> Node {
    match tag {
        Some(Tag::Reset) => Node::reset(&node.source, node.mark),
        Some(tag) => {
            // A refused tag leaves the node as it is.
            let _ = tag.mark(&mut node, Inside::Map);
            node
        }
        None => node,
    }
}

/// Nothing inside a list has a tag.
fn untagged(node: Node) -> Node {
    let value = match node.value {
        Value::Map(entries) => Value::Map(
            entries
                .into_iter()
                .filter(|entry| !entry.value.is_reset())
                .map(|entry| Entry { value: untagged(entry.value), ..entry })
                .collect(),
        ),
        value => value,
    };
    Node::new(&node.source, node.mark, value)
}

const NONE: &[Tag] = &[Tag::Secret];
const REPEATABLE: &[Tag] = &[Tag::Reset, Tag::Override, Tag::Final, Tag::Secret];
const ALL: &[Tag] = &[Tag::Reset, Tag::Override, Tag::Append, Tag::Append, Tag::Prepend, Tag::Final, Tag::Secret];

/// `over`, and what it refused.
fn laid(earlier: Node, later: Node, errors: &mut Vec<ConfigError>) -> Node {
    over(earlier, later, "", errors)
}

fn distinct(entries: Vec<Entry>) -> Vec<Entry> {
    let mut seen = BTreeSet::new();
    entries.into_iter().filter(|entry| seen.insert(entry.key.text())).collect()
}

fn number(node: &mut Node, line: &mut usize) {
    *line += 1;
    node.mark.line = *line;
    node.locked = node.locked.is_some().then(|| Box::new(node.origin()));
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| number(item, line)),
        Value::Map(entries) => entries.iter_mut().for_each(|entry| number(&mut entry.value, line)),
        Value::Scalar(_) => {}
    }
}

/// What is hidden is a set: only its order depends on the grouping. Whether a hidden value is secret as well does:
/// a mark reaches the values below it that are there when it comes.
fn sorted(mut node: Node) -> Node {
    node.hidden.iter_mut().for_each(|hidden| {
        hidden.node.secret = false;
    });
    node.hidden.sort_by_key(|hidden| (hidden.path.clone(), hidden.node.origin(), emit::flow(&hidden.node.value)));
    if let Value::Map(entries) = &mut node.value {
        for entry in entries {
            entry.value = sorted(entry.value.clone());
        }
    }
    node
}

/// Three documents in both groupings, each with what was refused: the first two first, and the last two first.
fn grouped(a: Node, b: Node, c: Node) -> (Node, Vec<ConfigError>, Node, Vec<ConfigError>) {
    let (mut left_errors, mut right_errors) = (Vec::new(), Vec::new());
    let left = laid(a.clone(), b.clone(), &mut left_errors);
    let left = laid(left, c.clone(), &mut left_errors);
    let right = laid(b, c, &mut right_errors);
    let right = laid(a, right, &mut right_errors);
    (left, left_errors, right, right_errors)
}

fn without_hidden(mut node: Node) -> Node {
    node.hidden.clear();
    if let Value::Map(entries) = &mut node.value {
        for entry in entries {
            entry.value = without_hidden(entry.value.clone());
        }
    }
    node
}

/// Without empty values, and with the keys in the order of their names: where a reset below a scalar or a list is passed
/// over, its key does not keep its place, nor an empty value the key.
fn values(mut node: Node) -> Node {
    if let Value::Map(entries) = &mut node.value {
        entries.retain(|entry| !entry.value.is_null());
        entries.sort_by_key(|entry| entry.key.text());
        for entry in entries {
            entry.value = values(entry.value.clone());
        }
    }
    node
}

/// A document that holds `node` under one key.
fn document(node: &Node) -> Node {
    Node::new(&node.source, Mark::START, Value::Map(vec![Entry::new("root", Mark::START, node.clone())]))
}

/// `node` at the end of a merge, as a document.
fn ended(node: Node) -> Node {
    let empty =
        Node::new(&Source::new(LayerKind::Defaults, "", "", Form::BuiltIn), Mark::START, Value::Map(Vec::new()));
    settle(&empty, document(&node))
}

fn merged(node: &Node) -> Merged {
    Merged::new(ended(node.clone()))
}

/// Every leaf as text, since `.nan` is not equal to itself.
fn leaves(merged: &Merged) -> Vec<String> {
    merged.leaves().iter().map(|leaf| format!("{leaf:?}")).collect()
}

fn loaded(yaml: &str) -> Node {
    let again = parse(LayerKind::Project, "again", yaml.as_bytes()).unwrap_or_else(|errors| panic!("{yaml}\n{errors}"));
    Node::clone(&again.root)
}

proptest! {
    // Where the merge from the first to the last succeeds, so does every other grouping, with the same result. The other
    // way round it need not: `!append` to a text is refused, but in `text, (!append, list)` the list comes first. What a
    // value hides is left out here: a list that was extended and then replaced is hidden whole or in its parts.
    // Defaults are not part of the law: they lie below all, however the rest is grouped.
    #[test]
    fn merging_is_associative(a in tree("a", ALL), b in tree("b", ALL), c in tree("c", ALL)) {
        let (left, left_errors, right, right_errors) = grouped(a, b, c);
        if left_errors.is_empty() {
            prop_assert_eq!(right_errors, Vec::new());
            prop_assert_eq!(values(without_hidden(ended(left))), values(without_hidden(ended(right))));
        } else if left_errors.iter().all(|error| error.message.contains("is final")) {
            prop_assert!(!right_errors.is_empty());
        }
    }

    #[test]
    fn merging_without_extended_lists_is_associative_to_what_is_hidden(a in tree("a", REPEATABLE), b in tree("b", REPEATABLE), c in tree("c", REPEATABLE)) {
        let (left, left_errors, right, right_errors) = grouped(a, b, c);
        prop_assert_eq!(left_errors.is_empty(), right_errors.is_empty());
        if left_errors.is_empty() {
            prop_assert_eq!(values(sorted(ended(left))), values(sorted(ended(right))));
        }
    }

    #[test]
    fn merging_without_tags_is_associative_to_the_order_of_the_keys(a in tree("a", NONE), b in tree("b", NONE), c in tree("c", NONE)) {
        let (left, left_errors, right, right_errors) = grouped(a, b, c);
        prop_assert_eq!(sorted(left), sorted(right));
        prop_assert_eq!((left_errors, right_errors), (Vec::new(), Vec::new()));
    }

    // Lists that extend are left out: laid over itself, such a list extends twice.
    #[test]
    fn merging_a_document_over_itself_changes_nothing(a in tree("a", REPEATABLE), b in tree("b", REPEATABLE)) {
        let mut errors = Vec::new();
        prop_assert_eq!(laid(a.clone(), a.clone(), &mut errors), a.clone());
        prop_assert_eq!(&errors, &Vec::new());
        let merged = laid(a, b.clone(), &mut errors);
        if errors.is_empty() {
            prop_assert_eq!(sorted(laid(merged.clone(), b, &mut errors)), sorted(merged));
            prop_assert_eq!(errors, Vec::new());
        }
    }

    #[test]
    fn what_is_written_loads_again_to_the_same_value(a in tree("a", NONE)) {
        let node = document(&a);
        // Compared as text, since `.nan` is not equal to itself.
        let expected = format!("{:?}", node.to_value());
        prop_assert_eq!(format!("{:?}", loaded(&emit::document(&node)).to_value()), expected.clone());
        prop_assert_eq!(format!("{:?}", loaded(&emit::flow(&node.value)).to_value()), expected);
    }

    #[test]
    fn a_merged_configuration_loads_again(a in tree("a", ALL), b in tree("b", ALL)) {
        let merged = merged(&laid(a, b, &mut Vec::new()));
        let document = parse(LayerKind::Volume, "again", merged.to_yaml().as_bytes()).unwrap();
        let again = merge(&[document.pinned()]).unwrap();
        prop_assert_eq!(again.to_yaml(), merged.to_yaml());
        let values = |merged: &Merged| merged.leaves().into_iter().map(|leaf| format!("{}: {:?}", leaf.path, leaf.value)).collect::<Vec<_>>();
        prop_assert_eq!(values(&again), values(&merged));
    }

    #[test]
    fn layers_load_again_to_the_same_values_origins_locks_and_marks(a in tree("a", ALL), b in tree("b", ALL)) {
        let merged = merged(&laid(a, b, &mut Vec::new()));
        let document = Document::from_layers(&merged.to_layers()).unwrap_or_else(|errors| panic!("{errors}"));
        let nothing = crate::parse(LayerKind::Volume, "v", b"").unwrap();
        for documents in [vec![document.clone()], vec![crate::defaults(), document.clone()], vec![document, nothing]] {
            let again = merge(&documents).unwrap();
            let theirs = |leaf: &String| !leaf.contains("path: \"cloud-machine.");
            prop_assert_eq!(leaves(&again).into_iter().filter(theirs).collect::<Vec<_>>(), leaves(&merged));
        }
        prop_assert_eq!(merge(&[Document::from_layers(&merged.to_layers()).unwrap()]).unwrap().to_layers(), merged.to_layers());
    }

    #[test]
    fn every_hidden_value_is_shown_at_one_leaf(a in tree("a", NONE), b in tree("b", NONE)) {
        fn count(node: &Node) -> usize {
            node.hidden.len() + node.entries().iter().map(|entry| count(&entry.value)).sum::<usize>()
        }
        let both = laid(a, b, &mut Vec::new());
        let shown: usize = merged(&both).leaves().iter().map(|leaf| leaf.hidden.len()).sum();
        prop_assert_eq!(shown, count(&both));
    }

    #[test]
    fn no_bytes_make_the_reader_of_layers_panic(a in tree("a", NONE), place in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut text = merged(&a).to_layers();
        let place = place.index(text.len());
        text[place] = byte;
        if let Ok(document) = Document::from_layers(&text) {
            let again = merge(&[document]).unwrap();
            let _ = (again.leaves(), again.to_yaml(), again.to_layers());
        }
    }

    #[test]
    fn an_origin_names_a_line_that_contains_the_value(values in prop::collection::vec(("[a-z]{1,8}", 0u32..1000), 1..20)) {
        let mut text = String::from("#cloud-init\r\ntop:\r\n");
        for (index, (key, value)) in values.iter().enumerate() {
            text += &format!("  {key}{index}:\r\n\r\n    deep: value-{index}-{value}\r\n");
        }
        let merged = merge(&[parse(LayerKind::User, "u", text.as_bytes()).unwrap()]).unwrap();
        prop_assert_eq!(merged.leaves().len(), values.len());
        for leaf in merged.leaves() {
            let crate::Location::Text { line, column } = leaf.origin.location else { panic!("{leaf:?}") };
            let found = text.split("\r\n").nth(line - 1).and_then(|line| line.get(column - 1..));
            prop_assert_eq!(found, leaf.value.as_str());
        }
    }

    #[test]
    fn no_bytes_make_the_parser_panic_or_print_a_control_character(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Err(errors) = parse(LayerKind::Volume, "v", &bytes) {
            prop_assert!(!errors.to_string().chars().any(|c| c.is_control() && c != '\n'));
        }
    }

    #[test]
    fn no_text_of_yaml_characters_makes_the_parser_panic(text in "[ab:\\-?,#&*!|>'\"%@`{}\\[\\] \n\t<0]{0,60}") {
        let documents: Vec<Document> = parse(LayerKind::User, "u", text.as_bytes()).into_iter().collect();
        let merged = merge(&documents).unwrap();
        let again = parse(LayerKind::User, "u", merged.to_yaml().as_bytes());
        prop_assert_eq!(merge(&[again.unwrap()]).unwrap().to_yaml(), merged.to_yaml());
    }
}
