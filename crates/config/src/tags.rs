//! Our tags and where each may stand. Must not merge.

use crate::tree::{Erases, Node, Value};

/// A tag of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    Reset,
    Override,
    Append,
    Prepend,
    Final,
    Secret,
}

/// All tags, for people.
pub(crate) const ALLOWED: &str = "!reset, !override, !append, !prepend, !final or !secret";

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
        }
    }

    /// Marks `node`; an error is a message and a suggestion.
    pub(crate) fn mark(self, node: &mut Node, inside: Inside) -> Result<(), (String, Option<String>)> {
        let name = self.name();
        let nowhere = match inside {
            Inside::Document => Some("on the whole document"),
            Inside::Key => Some("on a key"),
            Inside::List if self != Self::Secret => Some("inside a list"),
            Inside::List | Inside::Map => None,
        };
        if let Some(place) = nowhere {
            return Err((format!("the tag `{name}` means nothing {place}"), None));
        }
        let refuse = |message: &str, suggestion: &str| {
            Err((format!("the tag `{name}` {message}"), Some(suggestion.to_owned()).filter(|text| !text.is_empty())))
        };
        match (self, &node.value) {
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
