//! How large a document may be, in each way in which it can be large. Must not measure one.

/// Largest document, in bytes.
pub const MAX_DOCUMENT: usize = 1 << 20;
/// Deepest nesting of maps and lists.
pub const MAX_DEPTH: usize = 16;
/// Most keys, scalars, maps and lists of one document.
pub const MAX_NODES: usize = 10_000;
/// Longest scalar, in bytes.
pub const MAX_SCALAR: usize = 256 << 10;
/// Longest key, in bytes: escaped, it must stay below YAML's limit of 1024 characters for a key on one line.
pub const MAX_KEY: usize = 240;
/// Longest path of a key, in bytes: thousands of values each have one.
pub const MAX_PATH: usize = 1024;
/// Bytes that count for the end of a key in a path.
pub(crate) const DOT: usize = 1;
/// Bytes that count for an item of a list in a path, whatever its index.
pub(crate) const ITEM: usize = 2;
