//! What a step cost, for its record. Must not measure it.

/// Bytes that a step moved.
#[derive(Default)]
pub(crate) struct Cost {
    pub(crate) changed: bool,
    pub(crate) compared: u64,
    pub(crate) written: u64,
    pub(crate) zeroed: u64,
    pub(crate) read_back: u64,
}
