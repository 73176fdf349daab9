//! Our tags, the two of YAML that are taken, and where each may stand. Must not merge.

use crate::{
    scalar::{Scalar, Written},
    tree::{Erases, Node, Value},
};

/// A tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    Reset,
    Override,
    Append,
    Prepend,
    Final,
    Secret,
    /// YAML's own: bytes, written in base64. They reach cloud-init as they are.
    Binary,
    /// YAML's own: a text, as if it were in quotes.
    Text,
}

/// All tags, for people.
pub(crate) const ALLOWED: &str = "!reset, !override, !append, !prepend, !final, !secret, !!binary or !!str";

/// What a value is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inside {
    /// A document: the value is all of it.
    Document,
    /// A map: the value of a key, or of an assignment.
    Map,
    /// A list.
    List,
    /// A map: the key itself.
    Key,
}

impl Tag {
    /// The tag that is written as `name`, with its `!`.
    pub(crate) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "!reset" => Self::Reset,
            "!override" => Self::Override,
            "!append" => Self::Append,
            "!prepend" => Self::Prepend,
            "!final" => Self::Final,
            "!secret" => Self::Secret,
            "tag:yaml.org,2002:binary" | "!!binary" => Self::Binary,
            "tag:yaml.org,2002:str" | "!!str" => Self::Text,
            _ => return None,
        })
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Reset => "!reset",
            Self::Override => "!override",
            Self::Append => "!append",
            Self::Prepend => "!prepend",
            Self::Final => "!final",
            Self::Secret => "!secret",
            Self::Binary => "!!binary",
            Self::Text => "!!str",
        }
    }

    /// Marks `node`; an error is a message and a suggestion.
    pub(crate) fn mark(self, node: &mut Node, inside: Inside) -> Result<(), (String, Option<String>)> {
        let name = self.name();
        let nowhere = match inside {
            Inside::Document => Some("on the whole document"),
            Inside::Key => Some("on a key"),
            Inside::List if !matches!(self, Self::Secret | Self::Binary | Self::Text) => Some("inside a list"),
            Inside::List | Inside::Map => None,
        };
        if let Some(place) = nowhere {
            return Err((format!("the tag `{name}` means nothing {place}"), None));
        }
        let refuse = |message: &str, suggestion: &str| {
            Err((format!("the tag `{name}` {message}"), Some(suggestion.to_owned()).filter(|text| !text.is_empty())))
        };
        match (self, &node.value) {
            (Self::Binary | Self::Text, Value::Scalar(scalar)) => {
                // A text whatever it looks like: `0777`, `null` and nothing at all, too.
                let plain = node.written.raw(scalar).map(str::to_owned);
                let text = plain.unwrap_or_else(|| if node.is_null() { String::new() } else { scalar.text() });
                if self == Self::Binary && !is_base64(&text) {
                    return refuse("stands before base64, and this is none", "`base64 FILE` writes it");
                }
                node.written = if self == Self::Binary { Written::Binary } else { Written::Quoted };
                node.value = Value::Scalar(Scalar::Text(text));
            }
            (Self::Binary | Self::Text, _) => return refuse("stands before a text, and this is none", ""),
            (Self::Reset, _) if node.is_null() => node.erases = Erases::Inherited,
            (Self::Reset, _) => return refuse("takes no value", "write `!override` to replace what was inherited"),
            _ if node.is_null() => return refuse("needs a value", "write `!reset` to forget what was inherited"),
            (Self::Override, Value::Map(_)) => node.erases = Erases::Everything,
            // They replace what they meet anyway.
            (Self::Override, _) => {}
            (Self::Append, Value::List(_)) => node.extends = Some(0),
            (Self::Prepend, Value::List(items)) => node.extends = Some(items.len()),
            (Self::Append | Self::Prepend, _) => return refuse("extends a list, and this is none", "write `[item]`"),
            (Self::Final, _) => node.locked = Some(Box::new(node.origin())),
            (Self::Secret, _) => node.secret = true,
        }
        Ok(())
    }
}

/// Whether `text` is what a decoder of base64 takes that passes over blanks: whole groups of four, padded at the end.
fn is_base64(text: &str) -> bool {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let data = digits.iter().rposition(|digit| *digit != b'=').map_or(0, |last| last + 1);
    let is_digit = |digit: &u8| digit.is_ascii_alphanumeric() || matches!(digit, b'+' | b'/');
    digits.len().is_multiple_of(4) && digits.len() - data <= 2 && digits.iter().take(data).all(is_digit)
}

#[cfg(test)]
mod tests {
    use super::is_base64;

    #[test]
    fn base64_is_whole_groups_of_four() {
        for text in ["", "AAAA", "AA==", "AAA=", "AA\n A=\n", "null", "a+/9"] {
            assert!(is_base64(text), "{text:?}");
        }
        for text in ["A", "AAAAA", "A===", "====", "AA=A", "AA-_", "\u{e4}AAA"] {
            assert!(!is_base64(text), "{text:?}");
        }
    }
}
