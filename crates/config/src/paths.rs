//! Key paths as a document could hold them: the keys of one that somebody wrote, and the tree that has a value there.
//! Must not know what lies at a path.

use std::sync::Arc;

use crate::{
    error::{ConfigError, ConfigErrors},
    grammar::{self, ROOT},
    key_path,
    limits::{MAX_DEPTH, MAX_KEY},
    source::{Mark, Source},
    tree::{Entry, Node, Value},
};

/// The keys of `path`, which stands at `mark`. One that begins with a key of ours begins below [`ROOT`].
pub(crate) fn keys(source: &Arc<Source>, mark: Mark, path: &str) -> Result<Vec<String>, ConfigErrors> {
    let Some(mut keys) = key_path::parse(path) else {
        return Err(not_a_path(source, mark));
    };
    let ours = keys.first().is_some_and(|first| grammar::MACHINE.iter().any(|key| key.name == first));
    if ours {
        keys.insert(0, ROOT.to_owned());
    }
    check_keys(source, mark, &keys)?;
    Ok(keys)
}

/// Whether a document could hold these keys.
pub(crate) fn check_keys(source: &Arc<Source>, mark: Mark, keys: &[String]) -> Result<(), ConfigErrors> {
    if keys.iter().any(|key| key.len() > MAX_KEY || key.contains(char::is_control) || key == "<<") {
        return Err(not_a_path(source, mark));
    }
    if keys.len() >= MAX_DEPTH {
        let error = ConfigError::new(source, mark, "", "the path has too many keys");
        return Err(error.allowed(format!("fewer than {MAX_DEPTH} keys")).into());
    }
    Ok(())
}

fn not_a_path(source: &Arc<Source>, mark: Mark) -> ConfigErrors {
    let message = "a key of the path is empty, too long or not printable";
    let allowed = format!("keys of 1 to {MAX_KEY} bytes with a `.` between them, such as a.b or a.\"b.c\"");
    ConfigError::new(source, mark, "", message).allowed(allowed).into()
}

/// The place of all of `text`, which has one line.
pub(crate) fn whole(text: &str) -> Mark {
    Mark { width: text.chars().count().max(1), ..Mark::START }
}

/// `value` below one map for each of `keys`.
pub(crate) fn wrap(source: &Arc<Source>, keys: &[String], value: Node) -> Node {
    keys.iter()
        .rev()
        .fold(value, |below, key| Node::new(source, Mark::START, Value::Map(vec![Entry::new(key, Mark::START, below)])))
}
