//! Errors of the API: each has a status, a code that programs read, and a message for people.

use serde_json::{Value, json};

use super::wire::Answer;

/// Why a request is not done.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    status: u16,
    code: &'static str,
    message: String,
    details: Option<Value>,
}

impl Refusal {
    fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), details: None }
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(401, "unauthorized", "unable to authenticate")
    }

    pub(super) fn json() -> Self {
        Self::new(400, "json_error", "the body is not valid JSON")
    }

    pub(super) fn not_found(what: &str) -> Self {
        Self::new(404, "not_found", format!("{what} not found"))
    }

    /// A field of the body or a parameter that cannot be so.
    pub(super) fn invalid(field: &str, message: &str) -> Self {
        let details = json!({"fields": [{"name": field, "messages": [message]}]});
        let text = format!("invalid input in field '{field}': {message}");
        Self { details: Some(details), ..Self::new(422, "invalid_input", text) }
    }

    /// Another one has the same.
    pub(super) fn not_unique(field: &str) -> Self {
        let details = json!({"fields": [{"name": field}]});
        Self { details: Some(details), ..Self::new(409, "uniqueness_error", format!("{field} is already used")) }
    }

    pub(super) fn locked(what: &str) -> Self {
        Self::new(423, "locked", format!("cannot perform operation because {what} is locked"))
    }

    pub(super) fn protected(message: &str) -> Self {
        Self::new(403, "protected", message)
    }

    pub(super) fn unavailable(message: &str) -> Self {
        Self::new(412, "resource_unavailable", message)
    }

    pub(super) fn exceeded(message: &str) -> Self {
        Self::new(403, "resource_limit_exceeded", message)
    }

    pub(super) fn too_many() -> Self {
        Self::new(429, "rate_limit_exceeded", "limit of requests per hour reached")
    }

    /// Of the server's own, with a status of 500 or above.
    pub(super) fn server(status: u16) -> Self {
        match status {
            502 => Self::new(status, "bad_gateway", "bad gateway"),
            503 => Self::new(status, "unavailable", "the service is unavailable"),
            504 => Self::new(status, "timeout", "the request could not be answered in time"),
            _ => Self::new(status, "server_error", "an internal error occurred"),
        }
    }

    pub(super) fn answer(&self) -> Answer {
        let error = json!({"code": self.code, "message": self.message, "details": self.details.clone().unwrap_or_else(|| json!({}))});
        Answer::new(self.status, json!({"error": error}))
    }
}
