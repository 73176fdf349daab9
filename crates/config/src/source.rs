//! Where a value was written: the document, its layer and the place in it. Must not know what the value means.

use std::{borrow::Cow, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

/// Layers of configuration; the order of declaration is the precedence, and a later one wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LayerKind {
    /// Built into the program.
    Defaults,
    /// The host's own files.
    Global,
    /// The user's files.
    User,
    /// The nearest project file.
    Project,
    /// Environment variables.
    Environment,
    /// Files and values named on the command line.
    CommandLine,
    /// The document behind the configured address.
    CloudInitUrl,
    /// A volume labelled `CLOUD-INIT`.
    Volume,
}

impl fmt::Display for LayerKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Defaults => "default",
            Self::Global => "global",
            Self::User => "user",
            Self::Project => "project",
            Self::Environment => "environment",
            Self::CommandLine => "command line",
            Self::CloudInitUrl => "cloud-init URL",
            Self::Volume => "volume",
        })
    }
}

/// Where inside a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Location {
    /// There is no text: the program itself says so.
    BuiltIn,
    /// The argument of the command line with this index.
    Argument(usize),
    /// The whole value of the environment variable that is the source.
    Variable,
    /// Line and column of a text, both from 1, the column in characters.
    Text {
        /// Line.
        line: usize,
        /// Column.
        column: usize,
    },
}

/// Which layer, document and location gave a value.
///
/// In text `project cloud-machine.yaml:12:9`, `argument --set a.b=v`, `environment CLOUD_MACHINE__RESOURCES__RAM` or
/// `built-in default`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The layer.
    pub layer: LayerKind,
    /// Name of the document, as it was handed in.
    pub source: Arc<str>,
    /// Location in the document.
    pub location: Location,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.location {
            Location::BuiltIn => formatter.write_str("built-in default"),
            Location::Argument(_) => write!(formatter, "argument {}", shown(&self.source)),
            Location::Variable => write!(formatter, "{} {}", self.layer, shown(&self.source)),
            Location::Text { line, column } => {
                write!(formatter, "{} {}:{line}:{column}", self.layer, shown(&self.source))
            }
        }
    }
}

/// How a source came to be, which decides how a place in it is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Form {
    BuiltIn,
    Argument(usize),
    Variable,
    Text,
}

/// One document's name and text, shared by all its nodes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) layer: LayerKind,
    pub(crate) name: Arc<str>,
    pub(crate) text: String,
    pub(crate) form: Form,
}

/// A range of characters in one line: line and column from 1, width in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) width: usize,
}

impl Mark {
    pub(crate) const START: Self = Self { line: 1, column: 1, width: 1 };
}

impl Source {
    pub(crate) fn new(layer: LayerKind, name: &str, text: &str, form: Form) -> Arc<Self> {
        Arc::new(Self { layer, name: name.into(), text: text.to_owned(), form })
    }

    /// The location of `mark`, in the terms of this source.
    pub(crate) fn origin(&self, mark: Mark) -> Origin {
        let location = match self.form {
            Form::BuiltIn => Location::BuiltIn,
            Form::Argument(index) => Location::Argument(index),
            Form::Variable => Location::Variable,
            Form::Text => Location::Text { line: mark.line, column: mark.column },
        };
        Origin { layer: self.layer, source: Arc::clone(&self.name), location }
    }

    /// The line with this number, from 1, without its line break; empty beyond the end.
    pub(crate) fn line(&self, number: usize) -> &str {
        lines(&self.text).nth(number.saturating_sub(1)).unwrap_or_default()
    }
}

/// Lines as YAML 1.2 counts them: a break is CR LF, CR or LF.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let current = rest?;
        let Some(end) = current.bytes().position(|byte| byte == b'\n' || byte == b'\r') else {
            rest = None;
            return Some(current);
        };
        let (line, tail) = current.split_at(end);
        rest = Some(tail.strip_prefix("\r\n").unwrap_or_else(|| tail.get(1..).unwrap_or_default()));
        Some(line)
    })
}

/// Line and column, from 1 and in characters, of the byte at `offset`.
pub(crate) fn mark_of(text: &str, offset: usize) -> Mark {
    let before = text.get(..offset).unwrap_or(text);
    let (mut line, mut last) = (0, "");
    for current in lines(before) {
        line += 1;
        last = current;
    }
    Mark { line, column: last.chars().count() + 1, width: 1 }
}

/// `text` with every character that a terminal could obey, or that hides its neighbours, replaced one for one.
///
/// Replacing one for one keeps columns right under a caret.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.into();
    }
    text.chars().map(shown_character).collect()
}

fn shown_character(character: char) -> char {
    match character {
        '\u{0}'..='\u{1f}' => char::from_u32(0x2400 + u32::from(character)).unwrap_or('\u{fffd}'),
        '\u{7f}' => '\u{2421}',
        '\u{80}'..='\u{9f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' => '\u{fffd}',
        // Marks and overrides of writing direction, and separators of lines and paragraphs.
        '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => '\u{fffd}',
        '\u{e0000}'..='\u{e007f}' => '\u{fffd}',
        other => other,
    }
}

/// [`shown`], cut to 80 characters.
pub(crate) fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(80).map(shown_character).collect();
    if text.chars().nth(80).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_where_yaml_breaks_them() {
        assert_eq!(lines("a\r\nb\rc\nd").collect::<Vec<_>>(), ["a", "b", "c", "d"]);
        assert_eq!(lines("a\n").collect::<Vec<_>>(), ["a", ""]);
        assert_eq!(lines("").collect::<Vec<_>>(), [""]);
    }

    #[test]
    fn a_byte_offset_becomes_line_and_character_column() {
        assert_eq!(mark_of("ä\r\nöx", "ä\r\nö".len()), Mark { line: 2, column: 2, width: 1 });
        assert_eq!(mark_of("abc", 0), Mark::START);
    }

    #[test]
    fn nothing_shown_can_steer_a_terminal_and_columns_stay() {
        let hostile = "a\u{1b}[31m\u{202e}\u{9b}b\u{7f}\r";
        let text = shown(hostile);
        assert!(!text.chars().any(char::is_control), "{text:?}");
        assert_eq!(text.chars().count(), hostile.chars().count());
    }

    #[test]
    fn layers_are_ordered_by_precedence() {
        assert!(LayerKind::Defaults < LayerKind::Project && LayerKind::CommandLine < LayerKind::Volume);
    }
}
