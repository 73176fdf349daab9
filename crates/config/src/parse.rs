//! Bytes to a document: one YAML parser, read as a stream of events under budgets, so that a hostile document is
//! refused before it is built. Must not give a meaning to any key.

use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput};

use crate::{
    document::Document,
    error::{ConfigError, ConfigErrors},
    exclude::excluded,
    foreign, gzip, hint,
    limits::{DOT, ITEM, MAX_DEPTH, MAX_DOCUMENT, MAX_KEY, MAX_NODES, MAX_PATH, MAX_SCALAR},
    scalar::{Scalar, Written},
    source::{Form, LayerKind, Mark, Source, mark_of, shortened},
    tags::{self, Inside, Tag},
    tree::{Entry, Keys, Node, Value, child_path, item_path},
};

/// Parses the bytes of a document. `source` names it in origins and errors, such as a path.
///
/// A document may be compressed with gzip. A byte order mark, CR LF and comments such as a first line `#cloud-init` are accepted; a document without
/// content is an empty map.
///
/// # Errors
/// With line and column: more than one of the budgets ([`MAX_DOCUMENT`], [`MAX_DEPTH`], [`MAX_NODES`],
/// [`MAX_SCALAR`], [`MAX_KEY`], [`MAX_PATH`]) allows; text that is not UTF-8 or not printable; broken YAML; several documents;
/// another kind of user-data, such as a template, a script or MIME; keys of cloud-init that say how documents merge;
/// anchors, aliases, merge keys, tags other than ours or in a place where they mean nothing, duplicate keys, keys that
/// are no scalar; a document that is no map; an `exclude` that is no list of key paths.
pub fn parse(layer: LayerKind, source: &str, text: &[u8]) -> Result<Document, ConfigErrors> {
    let (source, root) = parse_map(layer, source, text, "cloud-machine: {…}")?;
    foreign::merging(&source, &root)?;
    Ok(Document::new(layer, excluded(&source, root)?))
}

/// The map that is the whole of `text`, empty when there is no content. `example` is one for the error about another kind
/// of value.
pub(crate) fn parse_map(
    layer: LayerKind,
    source: &str,
    text: &[u8],
    example: &str,
) -> Result<(Arc<Source>, Node), ConfigErrors> {
    let text = gzip::decompressed(layer, source, text)?;
    let readable = readable(layer, source, &text)?;
    let source = Source::new(layer, source, readable, Form::Text);
    let root = parse_node(&source, readable, Inside::Document, 0)?;
    let root = match root {
        Some(node) if !node.is_null() => node,
        _ => Node::new(&source, Mark::START, Value::Map(Vec::new())),
    };
    if !matches!(root.value, Value::Map(_)) {
        let message = format!("the document is {}", root.kind());
        return Err(ConfigError::new(&source, root.mark, "", message)
            .allowed(format!("a map, such as `{example}`"))
            .into());
    }
    Ok((source, root))
}

/// The only value in `text`, whose places are those of `source`; `None` when there is none. It will lie `depth`
/// levels deep.
pub(crate) fn parse_node(
    source: &Arc<Source>,
    text: &str,
    inside: Inside,
    depth: usize,
) -> Result<Option<Node>, ConfigErrors> {
    let mut builder = Builder { parser: Parser::new_from_str(text), source, nodes: 0 };
    let mut root = None;
    loop {
        match builder.next()? {
            (Event::StreamEnd, _) => return Ok(root),
            (Event::DocumentStart(_), span) if root.is_some() => {
                return Err(builder
                    .error(span, &Trail::Root, "a second document begins here")
                    .allowed("one document")
                    .into());
            }
            (Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing, _) => {}
            (event, span) => root = Some(builder.node(event, span, &Trail::Root, inside, depth)?),
        }
    }
}

/// `text` as printable UTF-8 of an allowed size, without its byte order mark.
fn readable<'text>(layer: LayerKind, name: &str, text: &'text [u8]) -> Result<&'text str, ConfigErrors> {
    let at = |text: &str, offset: usize, message: String| {
        let source = Source::new(layer, name, text, Form::Text);
        ConfigError::new(&source, mark_of(text, offset), "", message)
    };
    if text.len() > MAX_DOCUMENT {
        let message = format!("the document has {} bytes", text.len());
        return Err(at("", 0, message).allowed(format!("at most {MAX_DOCUMENT} bytes")).into());
    }
    let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
    foreign::kind(layer, name, text)?;
    let text = match std::str::from_utf8(text) {
        Ok(text) => text,
        Err(error) => {
            let lossy = String::from_utf8_lossy(text);
            return Err(at(&lossy, error.valid_up_to(), "the document is not UTF-8 here".to_owned())
                .allowed("UTF-8")
                .into());
        }
    };
    // Nearly every document is of these alone, which is seen faster than what each character is.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t' | b'\n' | b'\r')) {
        return Ok(text);
    }
    // YAML 1.2.2, 5.1: the printable subset. An ESC or NUL in a document serves nobody but an attacker.
    let printable = |c: char| {
        matches!(c, '\t' | '\n' | '\r' | '\u{85}') || !(c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}'))
    };
    match text.char_indices().find(|(_, character)| !printable(*character)) {
        None => Ok(text),
        Some((offset, character)) => {
            let message = format!("the document contains the character U+{:04X}", u32::from(character));
            Err(at(text, offset, message)
                .allowed("printable characters; write \"\\x1B\" and the like in double quotes")
                .into())
        }
    }
}

/// The keys on the way to a value. Only an error makes a path of them.
enum Trail<'way> {
    Root,
    Key(&'way Trail<'way>, &'way str),
    Item(&'way Trail<'way>, usize),
}

impl Trail<'_> {
    /// Bytes of the keys, with what stands between them.
    fn len(&self) -> usize {
        match self {
            Self::Root => 0,
            Self::Key(parent, key) => parent.len() + key.len() + DOT,
            Self::Item(parent, _) => parent.len() + ITEM,
        }
    }

    fn to_path(&self) -> String {
        match self {
            Self::Root => String::new(),
            Self::Key(parent, key) => child_path(&parent.to_path(), key),
            Self::Item(parent, index) => item_path(&parent.to_path(), *index),
        }
    }
}

struct Builder<'text> {
    parser: Parser<'text, StrInput<'text>>,
    source: &'text Arc<Source>,
    nodes: usize,
}

impl<'text> Builder<'text> {
    fn next(&mut self) -> Result<(Event<'text>, Span), ConfigErrors> {
        match self.parser.next_event() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => Err(self.scan_error(&error)),
            // The parser ends with StreamEnd; anything after it is an end as well.
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn scan_error(&self, error: &ScanError) -> ConfigErrors {
        let mark = Mark { line: error.marker().line().max(1), column: error.marker().col() + 1, width: 1 };
        if error.info().contains("unknown anchor") {
            return ConfigError::new(self.source, mark, "", "aliases are not supported").into();
        }
        // The scanner's own bound, met when it looks ahead through brackets before the tree is built.
        if error.info().contains("recursion limit") {
            return self.too_deep(mark, &Trail::Root).into();
        }
        let (message, suggestion) = hint::explain(&self.source.text, mark, error.info());
        ConfigError::new(self.source, mark, "", message).suggestion(suggestion).into()
    }

    fn error(&self, span: Span, path: &Trail<'_>, message: impl Into<String>) -> ConfigError {
        ConfigError::new(self.source, mark(span), &path.to_path(), message)
    }

    fn node(
        &mut self,
        event: Event<'text>,
        span: Span,
        path: &Trail<'_>,
        inside: Inside,
        depth: usize,
    ) -> Result<Node, ConfigErrors> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            let error = self.error(span, path, "the document has too many values");
            return Err(error.allowed(format!("at most {MAX_NODES} keys, values, maps and lists")).into());
        }
        let (tag, mut node) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let tag = self.tag(span, path, anchor, tag.as_deref())?;
                (tag, self.scalar(&text, style, span, path)?)
            }
            Event::SequenceStart(anchor, tag) => {
                let tag = self.tag(span, path, anchor, tag.as_deref())?;
                self.deeper(span, path, depth)?;
                let list = self.list(path, depth + 1)?;
                (tag, Node::new(self.source, mark(span), list))
            }
            Event::MappingStart(anchor, tag) => {
                let tag = self.tag(span, path, anchor, tag.as_deref())?;
                self.deeper(span, path, depth)?;
                let map = self.map(path, inside, depth + 1)?;
                (tag, Node::new(self.source, mark(span), map))
            }
            Event::Alias(_) => {
                return Err(self.error(span, path, "aliases are not supported").into());
            }
            _ => return Err(self.error(span, path, "a value was expected here").into()),
        };
        if let Some(tag) = tag {
            tag.mark(&mut node, inside).map_err(|(message, suggestion)| {
                ConfigErrors::from(self.error(span, path, message).suggestion(suggestion))
            })?;
        }
        Ok(node)
    }

    fn tag(
        &self,
        span: Span,
        path: &Trail<'_>,
        anchor: usize,
        tag: Option<&saphyr_parser::Tag>,
    ) -> Result<Option<Tag>, ConfigErrors> {
        if anchor != 0 {
            return Err(self.error(span, path, "anchors are not supported").into());
        }
        let Some(tag) = tag else {
            return Ok(None);
        };
        let name = format!("{}{}", tag.handle, tag.suffix);
        match Tag::of(&name) {
            Some(tag) => Ok(Some(tag)),
            None => {
                let message = format!("unknown tag `{}`", shortened(&name));
                Err(self.error(span, path, message).allowed(tags::ALLOWED).into())
            }
        }
    }

    fn deeper(&self, span: Span, path: &Trail<'_>, depth: usize) -> Result<(), ConfigErrors> {
        if depth < MAX_DEPTH {
            return Ok(());
        }
        Err(self.too_deep(mark(span), path).into())
    }

    fn too_deep(&self, mark: Mark, path: &Trail<'_>) -> ConfigError {
        let message = "maps and lists are nested too deep";
        ConfigError::new(self.source, mark, &path.to_path(), message).allowed(format!("at most {MAX_DEPTH} levels"))
    }

    fn scalar(&self, text: &str, style: ScalarStyle, span: Span, path: &Trail<'_>) -> Result<Node, ConfigErrors> {
        if text.len() > MAX_SCALAR {
            let error = self.error(span, path, format!("the value has {} bytes", text.len()));
            return Err(error.allowed(format!("at most {MAX_SCALAR} bytes")).into());
        }
        if text.contains('\0') {
            return Err(self.error(span, path, "the value contains the character U+0000").into());
        }
        let plain = style == ScalarStyle::Plain;
        let scalar = if plain { Scalar::plain(text) } else { Scalar::Text(text.to_owned()) };
        let written = if plain { Written::plain(text, &scalar) } else { Written::Quoted };
        Ok(Node { written, ..Node::new(self.source, mark(span), Value::Scalar(scalar)) })
    }

    fn list(&mut self, path: &Trail<'_>, depth: usize) -> Result<Value, ConfigErrors> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::List(items)),
                (event, span) => {
                    let path = Trail::Item(path, items.len());
                    items.push(self.node(event, span, &path, Inside::List, depth)?);
                }
            }
        }
    }

    fn map(&mut self, path: &Trail<'_>, around: Inside, depth: usize) -> Result<Value, ConfigErrors> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen = Keys::default();
        // Lists are not merged, and so nothing inside them is.
        let inside = if around == Inside::List { Inside::List } else { Inside::Map };
        loop {
            let (event, span) = match self.next()? {
                (Event::MappingEnd, _) => return Ok(Value::Map(entries)),
                next => next,
            };
            let (key, written) = self.key(event, span, path, depth)?;
            let name = key.as_text();
            let below = Trail::Key(path, &name);
            if below.len() > MAX_PATH {
                let error = self.error(span, path, format!("the path of a key has {} bytes", below.len()));
                return Err(error.allowed(format!("at most {MAX_PATH} bytes")).into());
            }
            if !seen.insert(&name, &entries) {
                return Err(self.duplicate(span, &below, &key, &entries).into());
            }
            let (event, value_span) = self.next()?;
            let value = self.node(event, value_span, &below, inside, depth)?;
            entries.push(Entry { key, written, mark: mark(span), value });
        }
    }

    /// A key, and how it was written.
    fn key(
        &mut self,
        event: Event<'text>,
        span: Span,
        path: &Trail<'_>,
        depth: usize,
    ) -> Result<(Scalar, Written), ConfigErrors> {
        let merge = matches!(&event, Event::Scalar(text, ..) if text == "<<");
        if merge {
            return Err(self.error(span, path, "merge keys `<<` are not supported").into());
        }
        let node = self.node(event, span, path, Inside::Key, depth)?;
        match node.value {
            Value::Scalar(key) if key == Scalar::Null || key.as_text().is_empty() => {
                Err(self.error(span, path, "a key is empty").allowed("a text").into())
            }
            Value::Scalar(key) if key.as_text().len() > MAX_KEY => {
                let error = self.error(span, path, format!("a key has {} bytes", key.text().len()));
                Err(error.allowed(format!("at most {MAX_KEY} bytes")).into())
            }
            Value::Scalar(key) => Ok((key, node.written)),
            Value::List(_) | Value::Map(_) => {
                Err(self.error(span, path, "a key is a map or a list").allowed("a text").into())
            }
        }
    }

    fn duplicate(&self, span: Span, path: &Trail<'_>, key: &Scalar, entries: &[Entry]) -> ConfigError {
        let first = entries.iter().find(|entry| entry.key.as_text() == key.as_text());
        let line = first.map_or(0, |entry| entry.mark.line);
        let message = format!("the key `{}` is there twice, first in line {line}", shortened(&key.text()));
        self.error(span, path, message)
    }
}

fn mark(span: Span) -> Mark {
    let width = if span.start.line() == span.end.line() { span.end.col().saturating_sub(span.start.col()) } else { 1 };
    Mark { line: span.start.line().max(1), column: span.start.col() + 1, width: width.max(1) }
}
