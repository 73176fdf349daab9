//! Errors of configuration: where, which key, what is allowed, what was probably meant. Owns how they are shown;
//! must not decide what an error is.

use std::{fmt, sync::Arc};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::{
    secret::{Secrecy, is_told_in},
    source::{LayerKind, Mark, Source, shown},
};

/// Widest excerpt of a line, in characters; a longer line is cut around the place of the error.
const EXCERPT: usize = 160;
/// Most errors that are shown; the others are counted.
const SHOWN: usize = 20;

/// One thing that is wrong, and where.
///
/// Every text in it may be printed: control characters of the document are replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Name of the document, such as `cloud-machine.yaml` or `--set a.b=v`.
    pub document: String,
    /// Layer of the document.
    pub layer: LayerKind,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Path of the key, such as `cloud-machine.resources.ram`; empty for the document itself.
    pub path: String,
    /// What is wrong: a lower-case fragment.
    pub message: String,
    /// What is allowed there.
    pub allowed: Option<String>,
    /// What was probably meant.
    pub suggestion: Option<String>,
    source: Arc<Source>,
    mark: Mark,
}

/// A line of the document, and whether it may hold a secret.
#[derive(Clone, Copy)]
struct Line<'text> {
    text: &'text str,
    secret: bool,
}

/// A line of the document, ready to be printed, and the marked range in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Excerpt {
    text: String,
    start: usize,
    width: usize,
}

impl ConfigError {
    /// An error at `mark` of `source`.
    pub(crate) fn new(source: &Arc<Source>, mark: Mark, path: &str, message: impl Into<String>) -> Self {
        Self {
            document: shown(&source.name).into_owned(),
            layer: source.layer,
            line: mark.line,
            column: mark.column,
            path: path.to_owned(),
            message: message.into(),
            allowed: None,
            suggestion: None,
            source: Arc::clone(source),
            mark,
        }
    }

    /// Says what is allowed.
    #[must_use]
    pub(crate) fn allowed(mut self, allowed: impl Into<String>) -> Self {
        self.allowed = Some(allowed.into());
        self
    }

    /// Says what was probably meant.
    #[must_use]
    pub(crate) fn suggestion(mut self, suggestion: Option<String>) -> Self {
        self.suggestion = suggestion;
        self
    }

    fn line(&self) -> Line<'_> {
        let text = self.source.line(self.line);
        Line { text, secret: is_told_in(text) }
    }

    fn is_on_line_of(&self, other: &Self) -> bool {
        self.line == other.line && Arc::ptr_eq(&self.source, &other.source)
    }

    fn render(&self, line: Line<'_>) -> String {
        let place = format!("{}:{}:{}", self.document, self.line, self.column);
        let title = format!("{place}: {}", self.message);
        let mut group = Group::with_title(Level::ERROR.primary_title(title.as_str()));
        // Made only now: ten thousand errors in a long line are counted, and the first of them are shown.
        let secret = line.secret || Secrecy::default().along(&self.path).is_within(line.text);
        let excerpt = (!self.source.text.is_empty() && !secret).then(|| Excerpt::of(line.text, self.mark));
        if let Some(excerpt) = &excerpt {
            let annotation = AnnotationKind::Primary.span(excerpt.bytes());
            group = group.element(Snippet::source(&excerpt.text).line_start(self.line).annotation(annotation));
        }
        let withheld = secret.then(|| "not shown, since it may hold a secret".to_owned());
        let notes = [
            ("line", withheld.as_ref()),
            ("key", Some(&self.path)),
            ("allowed", self.allowed.as_ref()),
            ("help", self.suggestion.as_ref()),
        ];
        for (name, text) in notes {
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                group = group.element(Level::NOTE.with_name(name).message(text.as_str()));
            }
        }
        Renderer::plain().render(&[group])
    }
}

impl fmt::Display for ConfigError {
    /// One line: place, key and message.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}:{}: ", self.document, self.line, self.column)?;
        if !self.path.is_empty() {
            write!(formatter, "{}: ", self.path)?;
        }
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for ConfigError {}

impl Excerpt {
    fn of(line: &str, mark: Mark) -> Self {
        let column = mark.column - 1;
        let skip = column.saturating_sub(EXCERPT / 2);
        // Of a line of a megabyte, all but the last part is passed over at once.
        let rest = if line.is_ascii() { line.get(skip..).unwrap_or_default() } else { line };
        let skipped = if line.is_ascii() { 0 } else { skip };
        // A tab would be drawn wider than the one column that it counts for.
        let cut: String = rest.chars().skip(skipped).take(EXCERPT).map(|c| if c == '\t' { ' ' } else { c }).collect();
        let text = shown(&cut).into_owned();
        let length = text.chars().count();
        let start = (column - skip).min(length);
        Self { width: mark.width.clamp(1, (length - start).max(1)), start, text }
    }

    /// The marked range in bytes; past the end of the line it is empty.
    fn bytes(&self) -> std::ops::Range<usize> {
        let offset = |count| self.text.char_indices().nth(count).map_or(self.text.len(), |(byte, _)| byte);
        offset(self.start)..offset(self.start + self.width)
    }
}

/// One or more errors, in the order of the document. Displays the first 20 of them, each with its line and a caret,
/// and how many more there are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", render(.0))]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// `Ok` for no errors, otherwise all of them.
    pub(crate) const fn all(errors: Vec<ConfigError>) -> Self {
        Self(errors)
    }

    pub(crate) fn check(errors: Vec<ConfigError>) -> Result<(), Self> {
        if errors.is_empty() { Ok(()) } else { Err(Self(errors)) }
    }

    /// The errors, at least one.
    #[must_use]
    pub fn errors(&self) -> &[ConfigError] {
        &self.0
    }
}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self(vec![error])
    }
}

fn render(errors: &[ConfigError]) -> String {
    let mut all: Vec<String> = Vec::new();
    // Many errors may stand in one line, and that of a whole document is looked through once.
    let mut last: Option<(&ConfigError, Line<'_>)> = None;
    for error in errors.iter().take(SHOWN) {
        let line = match last {
            Some((other, line)) if error.is_on_line_of(other) => line,
            _ => error.line(),
        };
        all.push(error.render(line));
        last = Some((error, line));
    }
    if let Some(more @ 1..) = errors.len().checked_sub(SHOWN) {
        all.push(format!("and {more} more errors"));
    }
    all.join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Form;

    fn error(text: &str, mark: Mark) -> ConfigError {
        let source = Source::new(LayerKind::Project, "cloud-machine.yaml", text, Form::Text);
        ConfigError::new(&source, mark, "cloud-machine.rum", "unknown key")
    }

    #[test]
    fn an_error_shows_line_caret_key_allowed_and_help() {
        let error = error("cloud-machine:\n  rum: 4\n", Mark { line: 2, column: 3, width: 3 })
            .allowed("ram or cpus")
            .suggestion(Some("did you mean `ram`?".into()));
        let expected = "\
error: cloud-machine.yaml:2:3: unknown key
  |
2 |   rum: 4
  |   ^^^
  |
  = key: cloud-machine.rum
  = allowed: ram or cpus
  = help: did you mean `ram`?";
        assert_eq!(ConfigErrors::from(error.clone()).to_string(), expected);
        assert_eq!(error.to_string(), "cloud-machine.yaml:2:3: cloud-machine.rum: unknown key");
    }

    #[test]
    fn a_line_that_may_hold_a_secret_is_not_shown() {
        let mark = Mark { line: 1, column: 11, width: 7 };
        let text = ConfigErrors::from(error("password: hunter2", mark)).to_string();
        assert!(!text.contains("hunter2") && text.contains("line: not shown, since it may hold a secret"), "{text}");
        let source = Source::new(LayerKind::Project, "f", "  hunter2", Form::Text);
        let below = ConfigError::new(&source, mark, "yum.password", "is wrong");
        assert!(!ConfigErrors::from(below).to_string().contains("hunter2"));
    }

    #[test]
    fn control_characters_of_the_document_are_not_printed() {
        let error = error("a: \u{1b}[31m\u{9b}\u{202e}x", Mark { line: 1, column: 9, width: 2 });
        let text = ConfigErrors::from(error).to_string();
        assert!(!text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{text:?}");
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let line = format!("{}WRONG{}", "a".repeat(5000), "b".repeat(5000));
        let text = ConfigErrors::from(error(&line, Mark { line: 1, column: 5001, width: 5 })).to_string();
        assert!(text.contains("WRONG") && text.contains(":1:5001: ") && text.len() < 1000, "{text}");
        let end = ConfigErrors::from(error("ab", Mark { line: 1, column: 3, width: 9 })).to_string();
        assert!(end.contains("ab"), "{end}");
    }

    #[test]
    fn several_errors_are_shown_together() {
        let one = error("a: 1", Mark::START);
        let errors = ConfigErrors::check(vec![one.clone(), one]).unwrap_err();
        assert_eq!(errors.errors().len(), 2);
        assert_eq!(errors.to_string().matches("unknown key").count(), 2);
        assert!(ConfigErrors::check(Vec::new()).is_ok());
    }
}
