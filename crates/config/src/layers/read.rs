//! The format of layers to a tree, held to the budgets of every document. Must not trust a field of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{FORMAT, Layers, MAX_LAYERS, MAX_VALUES, Written, WrittenEntry, WrittenKey, WrittenOrigin};
use crate::{
    LayerKind,
    error::{ConfigError, ConfigErrors},
    key_path,
    limits::{MAX_DEPTH, MAX_KEY, MAX_SCALAR},
    scalar::{Scalar, Written as How},
    source::{Form, Mark, Source, shortened},
    tree::{Entry, Erases, Node, Replaced, Value, child_path},
};

pub(super) fn read(text: &[u8]) -> Result<Node, ConfigErrors> {
    let named = Source::new(LayerKind::CommandLine, "layers", "", Form::Text);
    let refuse = |mark: Mark, path: &str, message: String| ConfigError::new(&named, mark, path, message);
    if text.len() > MAX_LAYERS {
        let message = format!("the layers have {} bytes", text.len());
        return Err(refuse(Mark::START, "", message).allowed(format!("at most {MAX_LAYERS} bytes")).into());
    }
    let layers: Layers = serde_json::from_slice(text).map_err(|error| {
        let mark = Mark { line: error.line().max(1), column: error.column().max(1), width: 1 };
        refuse(mark, "", format!("the layers cannot be read: {}", shortened(&error.to_string())))
    })?;
    if layers.format != FORMAT {
        let message = format!("the layers have format {}", layers.format);
        return Err(refuse(Mark::START, "", message).allowed(format!("format {FORMAT}")).into());
    }
    let mut reader = Reader { sources: BTreeMap::new(), values: 0 };
    let root = reader
        .value(layers.root, "", 0)
        .map_err(|wrong| refuse(Mark::START, &wrong.path, format!("the layers hold {}", wrong.what)))?;
    if !matches!(root.value, Value::Map(_)) {
        return Err(refuse(Mark::START, "", format!("the layers hold {}", root.kind())).allowed("a map").into());
    }
    Ok(root)
}

/// What no document could hold, and where.
struct Wrong {
    path: String,
    what: &'static str,
}

fn wrong<T>(path: &str, what: &'static str) -> Result<T, Wrong> {
    Err(Wrong { path: path.to_owned(), what })
}

struct Reader {
    sources: BTreeMap<WrittenOrigin, Arc<Source>>,
    values: usize,
}

impl Reader {
    fn value(&mut self, written: Written, path: &str, depth: usize) -> Result<Node, Wrong> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return wrong(path, "too many values");
        }
        // One more than a document has: an assignment may lie below a map.
        if depth > MAX_DEPTH {
            return wrong(path, "maps and lists that are nested too deep");
        }
        let origin = WrittenOrigin {
            layer: written.layer,
            source: written.source,
            line: written.line,
            column: written.column,
            argument: written.argument,
            variable: written.variable,
        };
        let (source, mark) = self.place(origin, path)?;
        let mut how = How::Quoted;
        let value = match (written.plain, written.text, written.list, written.map) {
            (Some(plain), None, None, None) => {
                let scalar = Scalar::plain(checked(&plain, path)?);
                how = How::plain(&plain, &scalar);
                Value::Scalar(scalar)
            }
            (None, Some(text), None, None) => Value::Scalar(Scalar::Text(checked(&text, path)?.to_owned())),
            (None, None, Some(items), None) => {
                let items = items.into_iter().map(|item| self.value(item, path, depth + 1));
                Value::List(items.collect::<Result<_, _>>()?)
            }
            (None, None, None, Some(entries)) => Value::Map(self.entries(entries, path, depth)?),
            _ => return wrong(path, "a value that is not one of plain, text, list and map"),
        };
        let hidden = written.hidden.into_iter().map(|hidden| self.replaced(hidden, path, depth));
        let hidden = hidden.collect::<Result<_, _>>()?;
        let locked = match written.locked {
            Some(origin) => {
                let (source, mark) = self.place(origin, path)?;
                Some(Box::new(source.origin(mark)))
            }
            None => None,
        };
        let erases = if written.replaces { Erases::Everything } else { Erases::Nothing };
        if written.replaces && !matches!(value, Value::Map(_)) {
            return wrong(path, "a value that replaces and is no map");
        }
        if written.binary {
            if !matches!(value, Value::Scalar(Scalar::Text(_))) || how != How::Quoted {
                return wrong(path, "bytes that are no text in base64");
            }
            how = How::Binary;
        }
        let secret = written.secret;
        Ok(Node { written: how, hidden, locked, erases, secret, ..Node::new(&source, mark, value) })
    }

    fn entries(&mut self, entries: Vec<WrittenEntry>, path: &str, depth: usize) -> Result<Vec<Entry>, Wrong> {
        let mut seen = BTreeSet::new();
        let mut result = Vec::with_capacity(entries.len().min(MAX_VALUES));
        for WrittenEntry { key, line, column, value } in entries {
            let (key, written) = match key {
                WrittenKey::Plain(raw) => {
                    let key = Scalar::plain(&raw);
                    let written = How::plain(&raw, &key);
                    (key, written)
                }
                WrittenKey::Text(text) => (Scalar::Text(text), How::Quoted),
            };
            let name = key.text();
            let below = child_path(path, &name);
            let fits = !name.is_empty() && name.len() <= MAX_KEY && name != "<<" && key != Scalar::Null;
            if !fits || name.contains('\0') {
                return wrong(&below, "a key that no document could hold");
            }
            if !seen.insert(name) {
                return wrong(&below, "a key that is there twice");
            }
            let mark = Mark { line: line.max(1), column: column.max(1), width: 1 };
            let value = self.value(value, &below, depth + 1)?;
            result.push(Entry { key, written, mark, value });
        }
        Ok(result)
    }

    fn replaced(&mut self, mut hidden: Written, path: &str, depth: usize) -> Result<Replaced, Wrong> {
        let below = hidden.path.take().unwrap_or_default();
        let printable = !below.contains(char::is_control);
        if !printable || !(below.is_empty() || key_path::parse(&below).is_some()) {
            return wrong(path, "a hidden value without a path");
        }
        let node = self.value(hidden, path, depth)?;
        Ok(Replaced { path: below, node })
    }

    fn place(&mut self, origin: WrittenOrigin, path: &str) -> Result<(Arc<Source>, Mark), Wrong> {
        let mut mark = Mark::START;
        let form = match (origin.line, origin.column, origin.argument, origin.variable) {
            (Some(line @ 1..), Some(column @ 1..), None, false) => {
                mark = Mark { line, column, width: 1 };
                Form::Text
            }
            (None, None, Some(index), false) => Form::Argument(index),
            (None, None, None, true) => Form::Variable,
            (None, None, None, false) => Form::BuiltIn,
            _ => return wrong(path, "an origin that is no place"),
        };
        let key = WrittenOrigin { line: None, column: None, ..origin };
        // The key tells a text from what is built in by its layer and name; its form must agree.
        let source = match self.sources.get(&key) {
            Some(source) if source.form == form => Arc::clone(source),
            _ => {
                let source = Source::new(key.layer, &key.source, "", form);
                self.sources.insert(key, Arc::clone(&source));
                source
            }
        };
        Ok((source, mark))
    }
}

fn checked<'text>(text: &'text str, path: &str) -> Result<&'text str, Wrong> {
    if text.len() > MAX_SCALAR || text.contains('\0') {
        return wrong(path, "a scalar that no document could hold");
    }
    Ok(text)
}
