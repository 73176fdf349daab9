//! The laws of merging and of round trips, on generated documents. Must not test single cases.

use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::{
    Document, LayerKind, emit, merge,
    merge::over,
    merged::Merged,
    parse,
    scalar::Scalar,
    source::{Form, Mark, Source},
    tree::{Entry, Node, Value},
};

fn scalar() -> impl Strategy<Value = Scalar> {
    prop_oneof![
        Just(Scalar::Null),
        any::<bool>().prop_map(Scalar::Bool),
        any::<i64>().prop_map(|value| Scalar::Integer(value.into())),
        any::<u64>().prop_map(|value| Scalar::Integer(value.into())),
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

/// A tree in which every node has a place of its own, so that two origins are equal only when the nodes are.
fn tree(name: &'static str) -> impl Strategy<Value = Node> {
    let source = Source::new(LayerKind::Project, name, "", Form::Text);
    let leaf = scalar().prop_map(Value::Scalar);
    let value = leaf.prop_recursive(4, 24, 4, {
        let source = source.clone();
        move |inner| {
            let (one, two) = (source.clone(), source.clone());
            let item = inner.clone().prop_map(move |value| Node::new(&one, Mark::START, value));
            let entry = ("[abc]", inner).prop_map(move |(key, value)| Entry {
                key: Scalar::Text(key),
                mark: Mark::START,
                value: Node::new(&two, Mark::START, value),
            });
            prop_oneof![
                prop::collection::vec(item, 0..4).prop_map(Value::List),
                prop::collection::vec(entry, 0..4).prop_map(|entries| Value::Map(distinct(entries))),
            ]
        }
    });
    value.prop_map(move |value| {
        let mut node = Node::new(&source, Mark::START, value);
        let mut line = 0;
        number(&mut node, &mut line);
        node
    })
}

fn distinct(entries: Vec<Entry>) -> Vec<Entry> {
    let mut seen = BTreeSet::new();
    entries.into_iter().filter(|entry| seen.insert(entry.key.text())).collect()
}

fn number(node: &mut Node, line: &mut usize) {
    *line += 1;
    node.mark.line = *line;
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| number(item, line)),
        Value::Map(entries) => entries.iter_mut().for_each(|entry| number(&mut entry.value, line)),
        Value::Scalar(_) => {}
    }
}

/// What is hidden is a set: only its order depends on the grouping.
fn sorted(mut node: Node) -> Node {
    node.hidden.sort();
    if let Value::Map(entries) = &mut node.value {
        for entry in entries {
            entry.value = sorted(entry.value.clone());
        }
    }
    node
}

/// A document that holds `node` under one key.
fn document(node: &Node) -> Node {
    let entry = Entry { key: Scalar::Text("root".into()), mark: Mark::START, value: node.clone() };
    Node::new(&node.source, Mark::START, Value::Map(vec![entry]))
}

fn loaded(yaml: &str) -> Node {
    parse(LayerKind::Project, "again", yaml.as_bytes()).unwrap_or_else(|errors| panic!("{yaml}\n{errors}")).root
}

proptest! {
    #[test]
    fn merging_is_associative(a in tree("a"), b in tree("b"), c in tree("c")) {
        let left = over(over(a.clone(), b.clone()), c.clone());
        let right = over(a, over(b, c));
        prop_assert_eq!(sorted(left), sorted(right));
    }

    #[test]
    fn merging_a_document_over_itself_changes_nothing(a in tree("a"), b in tree("b")) {
        prop_assert_eq!(over(a.clone(), a.clone()), a.clone());
        let merged = over(a, b.clone());
        prop_assert_eq!(over(merged.clone(), b), merged);
    }

    #[test]
    fn what_is_written_loads_again_to_the_same_value(a in tree("a")) {
        let node = document(&a);
        // Compared as text, since `.nan` is not equal to itself.
        let expected = format!("{:?}", node.to_value());
        prop_assert_eq!(format!("{:?}", loaded(&emit::block(&node)).to_value()), expected.clone());
        prop_assert_eq!(format!("{:?}", loaded(&emit::flow(&node.value)).to_value()), expected);
    }

    #[test]
    fn a_merged_configuration_loads_again(a in tree("a"), b in tree("b")) {
        let merged = Merged::new(document(&over(a, b)));
        let again = merge(&[parse(LayerKind::Volume, "again", merged.to_yaml().as_bytes()).unwrap()]).unwrap();
        prop_assert_eq!(again.to_yaml(), merged.to_yaml());
        let values = |merged: &Merged| merged.leaves().into_iter().map(|leaf| format!("{}: {:?}", leaf.path, leaf.value)).collect::<Vec<_>>();
        prop_assert_eq!(values(&again), values(&merged));
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
            let crate::Place::Text { line, column } = leaf.origin.place else { panic!("{leaf:?}") };
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
        let documents: Vec<Document> = parse(LayerKind::Volume, "v", text.as_bytes()).into_iter().collect();
        let merged = merge(&documents).unwrap();
        let again = parse(LayerKind::Volume, "v", merged.to_yaml().as_bytes());
        prop_assert_eq!(merge(&[again.unwrap()]).unwrap().to_yaml(), merged.to_yaml());
    }
}
