//! A configuration that is refused: its errors as text for people, and place by place for programs. Must not judge one.

use std::{error::Error, fmt};

use cloud_machine_config::{ConfigError, ConfigErrors};
use serde::Serialize;

/// Most places that are told to programs; the text has as many.
const MAX_PLACES: usize = 20;

/// Why a configuration is refused, with all errors of one document or of several.
#[derive(Debug)]
pub struct Refusal(Vec<ConfigErrors>);

/// Where a configuration is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RefusedPlace {
    /// The file, or the argument.
    pub document: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Path of the key; absent for the document itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What is allowed there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed: Option<String>,
    /// What was probably meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
}

impl Refusal {
    /// Of documents that are wrong, at least one.
    #[must_use]
    pub const fn new(documents: Vec<ConfigErrors>) -> Self {
        Self(documents)
    }

    /// Where it is wrong, the first places of them.
    #[must_use]
    pub fn places(&self) -> Vec<RefusedPlace> {
        let errors = self.0.iter().flat_map(ConfigErrors::errors).take(MAX_PLACES);
        let place = |error: &ConfigError| RefusedPlace {
            document: error.document.clone(),
            line: error.line,
            column: error.column,
            key: Some(error.path.clone()).filter(|path| !path.is_empty()),
            message: error.message.clone(),
            allowed: error.allowed.clone().filter(|allowed| !allowed.is_empty()),
            suggestion: error.suggestion.clone(),
        };
        errors.map(place).collect()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let documents: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        write!(formatter, "the configuration is refused\n{}", documents.join("\n\n"))
    }
}

impl Error for Refusal {}
