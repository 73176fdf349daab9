//! What a request is for, as errors name it. Must not send anything.

use std::fmt;

use cloud_machine_protocol::escape;

/// Longest name of something of the provider that is shown, in characters.
const LONGEST: usize = 100;

/// One thing that was asked of the provider, such as `reset server 4711`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    what: &'static str,
    object: Box<str>,
}

impl Call {
    /// A verb with its kind of object, and which one; without one where it is empty.
    pub(crate) fn new(what: &'static str, object: impl fmt::Display) -> Self {
        Self { what, object: escape::line(object.to_string().as_bytes(), LONGEST).into() }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.what)?;
        if self.object.is_empty() { Ok(()) } else { write!(formatter, " {}", self.object) }
    }
}
