//! Whether a merged configuration is as small as a document must be, so that it can be loaded again. Must not change it.

use crate::{
    error::{ConfigError, ConfigErrors},
    limits::{DOT, ITEM, MAX_DOCUMENT, MAX_NODES, MAX_PATH},
    merged::Merged,
    scalar::{Scalar, Written},
    tree::{Node, Value},
};

/// Whether the result is a document within the budgets, so that it can be loaded again.
pub(crate) fn fits(merged: &Merged) -> Result<(), ConfigErrors> {
    let root = merged.root();
    let refuse = |message: String, allowed: String| {
        Err(ConfigError::new(&root.source, root.mark, "", message).allowed(allowed).into())
    };
    let mut size = Size::default();
    size.add(root, 0, 0);
    let values = size.values;
    if values > MAX_NODES {
        let message = format!("all documents together have {values} values");
        return refuse(message, format!("at most {MAX_NODES} keys, values, maps and lists"));
    }
    if size.path > MAX_PATH {
        let message = format!("all documents together have a key with a path of {} bytes", size.path);
        return refuse(message, format!("at most {MAX_PATH} bytes"));
    }
    // Nearly every document is far below the limit, and need not be written out to see that.
    let bytes = if size.bytes > MAX_DOCUMENT { merged.to_yaml().len() } else { size.bytes };
    if bytes > MAX_DOCUMENT {
        return refuse(format!("all documents together have {bytes} bytes"), format!("at most {MAX_DOCUMENT} bytes"));
    }
    Ok(())
}

/// How large a tree is.
#[derive(Default)]
struct Size {
    /// Keys, scalars, maps and lists.
    values: usize,
    /// Bytes that it has as YAML, or more.
    bytes: usize,
    /// Bytes of the longest path of a key, as a document counts them.
    path: usize,
}

impl Size {
    fn add(&mut self, node: &Node, path: usize, depth: usize) {
        match &node.value {
            Value::Scalar(scalar) => self.add_scalar(scalar, &node.written, depth),
            Value::List(items) => {
                self.add_one(0, depth);
                items.iter().for_each(|item| self.add(item, path + ITEM, depth + 1));
            }
            Value::Map(entries) => {
                self.add_one(0, depth);
                for entry in entries {
                    self.add_scalar(&entry.key, &entry.written, depth);
                    let path = path + entry.key.as_text().len() + DOT;
                    self.path = self.path.max(path);
                    self.add(&entry.value, path, depth + 1);
                }
            }
        }
    }

    fn add_scalar(&mut self, scalar: &Scalar, written: &Written, depth: usize) {
        // An escape has at most four characters for a byte: `\x1B`.
        self.add_one(4 * scalar.as_text().len().max(written.raw(scalar).map_or(0, str::len)), depth);
    }

    /// One value of `bytes`, with its indentation, quotes, brackets, dash, colon and line break.
    fn add_one(&mut self, bytes: usize, depth: usize) {
        self.values += 1;
        self.bytes += bytes + 2 * depth + 8;
    }
}
