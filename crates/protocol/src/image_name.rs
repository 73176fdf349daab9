//! The name of an image in the store. Owns its grammar; must not look an image up.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::ParseError;

/// Name of an image: 1 to 63 of a-z, 0-9, `.`, `_` and `-`, the first a letter or digit. It is a folder's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageName(String);

impl ImageName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ImageName {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let first = text.bytes().next().is_some_and(plain);
        let rest = text.bytes().all(|byte| plain(byte) || matches!(byte, b'.' | b'_' | b'-'));
        if first && rest && text.len() <= 63 {
            return Ok(Self(text.to_owned()));
        }
        Err(ParseError::new("image name", text, "1 to 63 of a-z, 0-9, ., _ and -, the first a letter or digit"))
    }
}

impl TryFrom<String> for ImageName {
    type Error = ParseError;

    fn try_from(text: String) -> Result<Self, ParseError> {
        text.parse()
    }
}

impl From<ImageName> for String {
    fn from(name: ImageName) -> Self {
        name.0
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_the_folder_or_hide_in_it_are_refused() {
        for text in ["", ".", "..", ".hidden", "-x", "a/b", "A", "a b", "a\n", &"a".repeat(64)] {
            assert!(text.parse::<ImageName>().is_err(), "{text:?}");
        }
        assert_eq!("debian-12.5_lean".parse::<ImageName>().unwrap().as_str(), "debian-12.5_lean");
    }
}
