//! The tree to the format of layers. Must not fail.

use super::{FORMAT, Layers, Written, WrittenEntry, WrittenKey, WrittenOrigin};
use crate::{
    scalar::{Scalar, Written as How},
    tree::{Entry, Erases, Node, Replaced, Value},
};

pub(super) fn written(root: &Node) -> Vec<u8> {
    let layers = Layers { format: FORMAT, root: value(root) };
    // Only a map with keys that are no text, or a writer that fails, could make this fail; there is neither.
    let mut text = serde_json::to_vec(&layers).unwrap_or_default();
    text.push(b'\n');
    text
}

fn value(node: &Node) -> Written {
    let WrittenOrigin { layer, source, line, column, argument, variable } = WrittenOrigin::from(&node.origin());
    let mut written = Written {
        path: None,
        plain: None,
        text: None,
        list: None,
        map: None,
        layer,
        source,
        line,
        column,
        argument,
        variable,
        hidden: node.hidden.iter().map(hidden).collect(),
        locked: node.locked.as_deref().map(WrittenOrigin::from),
        binary: node.written == How::Binary,
        secret: node.secret,
        replaces: node.erases == Erases::Everything,
    };
    match &node.value {
        Value::Scalar(scalar) => match key(scalar, &node.written) {
            WrittenKey::Plain(plain) => written.plain = Some(plain),
            WrittenKey::Text(text) => written.text = Some(text),
        },
        Value::List(items) => written.list = Some(items.iter().map(value).collect()),
        Value::Map(entries) => written.map = Some(entries.iter().map(entry).collect()),
    }
    written
}

fn entry(entry: &Entry) -> WrittenEntry {
    WrittenEntry {
        key: key(&entry.key, &entry.written),
        line: entry.mark.line,
        column: entry.mark.column,
        value: value(&entry.value),
    }
}

fn hidden(replaced: &Replaced) -> Written {
    Written { path: Some(replaced.path.clone()), ..value(&replaced.node) }
}

fn key(scalar: &Scalar, written: &How) -> WrittenKey {
    match (scalar, written.raw(scalar)) {
        (_, Some(raw)) => WrittenKey::Plain(raw.to_owned()),
        (Scalar::Text(text), None) => WrittenKey::Text(text.clone()),
        (typed, None) => WrittenKey::Plain(typed.text()),
    }
}
