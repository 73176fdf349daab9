//! What clients send: bodies and their fields, checked as the API's description has them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::refusal::Refusal;

/// User data of a server has at most 32 KiB.
const LARGEST_USER_DATA: usize = 32 << 10;

/// The fields of a body.
#[derive(Debug)]
pub(super) struct Body(Map<String, Value>);

impl Body {
    /// An absent body has no fields.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        if bytes.is_empty() {
            return Ok(Self(Map::new()));
        }
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(Value::Null) => Ok(Self(Map::new())),
            _ => Err(Refusal::json()),
        }
    }

    fn get(&self, field: &str) -> Option<&Value> {
        self.0.get(field).filter(|value| !value.is_null())
    }

    /// Whether a field asks for nothing.
    pub(super) fn is_empty(&self, field: &str) -> bool {
        self.get(field).is_none_or(|value| value.as_array().is_some_and(Vec::is_empty))
    }

    pub(super) fn text(&self, field: &str) -> Result<Option<String>, Refusal> {
        self.get(field).map_or(Ok(None), |value| {
            value.as_str().map(|text| Some(text.to_owned())).ok_or_else(|| Refusal::invalid(field, "must be a text"))
        })
    }

    pub(super) fn must_have(&self, field: &str) -> Result<String, Refusal> {
        let text = self.text(field)?.filter(|text| !text.is_empty());
        text.ok_or_else(|| Refusal::invalid(field, "Missing data for required field."))
    }

    /// The name or the number of something, which the provider's own library sends as a number.
    pub(super) fn reference(&self, field: &str) -> Result<String, Refusal> {
        match self.get(field) {
            Some(Value::Number(number)) => Ok(number.to_string()),
            _ => self.must_have(field),
        }
    }

    pub(super) fn switch(&self, field: &str, otherwise: bool) -> Result<bool, Refusal> {
        self.get(field).map_or(Ok(otherwise), |value| {
            value.as_bool().ok_or_else(|| Refusal::invalid(field, "must be true or false"))
        })
    }

    /// Names or numbers.
    pub(super) fn references(&self, field: &str) -> Result<Vec<String>, Refusal> {
        let Some(value) = self.get(field) else { return Ok(Vec::new()) };
        let refused = || Refusal::invalid(field, "must be a list of names or numbers");
        let entries = value.as_array().ok_or_else(refused)?;
        let entry = |value: &Value| match value {
            Value::String(text) => Ok(text.clone()),
            Value::Number(number) => Ok(number.to_string()),
            _ => Err(refused()),
        };
        entries.iter().map(entry).collect()
    }

    pub(super) fn object(&self, field: &str) -> Result<Self, Refusal> {
        match self.get(field) {
            None => Ok(Self(Map::new())),
            Some(Value::Object(fields)) => Ok(Self(fields.clone())),
            Some(_) => Err(Refusal::invalid(field, "must be an object")),
        }
    }

    pub(super) fn labels(&self) -> Result<Option<BTreeMap<String, String>>, Refusal> {
        let refused = |message: &str| Refusal::invalid("labels", message);
        let Some(value) = self.get("labels") else { return Ok(None) };
        let fields = value.as_object().ok_or_else(|| refused("must be an object"))?;
        let mut labels = BTreeMap::new();
        for (key, value) in fields {
            let value = value.as_str().ok_or_else(|| refused("values must be texts"))?;
            if !is_label_key(key) {
                return Err(refused("label key is invalid"));
            }
            if !value.is_empty() && !is_label_name(value) {
                return Err(refused("label value is invalid"));
            }
            labels.insert(key.clone(), value.to_owned());
        }
        Ok(Some(labels))
    }

    pub(super) fn user_data(&self) -> Result<Option<String>, Refusal> {
        let data = self.text("user_data")?;
        match data {
            Some(data) if data.len() > LARGEST_USER_DATA => {
                Err(Refusal::invalid("user_data", "must not be longer than 32 KiB"))
            }
            data => Ok(data),
        }
    }

    /// A name that can be a host's, when there is one.
    pub(super) fn host_name(&self) -> Result<Option<String>, Refusal> {
        match self.text("name")? {
            Some(name) if !is_host_name(&name) => Err(Refusal::invalid("name", "must be a valid hostname")),
            name => Ok(name),
        }
    }
}

/// As RFC 1123 has it.
fn is_host_name(name: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && part.len() <= 63
            && part.chars().all(|char| char.is_ascii_alphanumeric() || char == '-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(part)
}

/// `name` or `example.com/name`.
fn is_label_key(key: &str) -> bool {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    prefix.is_none_or(is_host_name) && is_label_name(name)
}

fn is_label_name(name: &str) -> bool {
    let end = |char: Option<char>| char.is_some_and(|char| char.is_ascii_alphanumeric());
    name.len() <= 63
        && end(name.chars().next())
        && end(name.chars().next_back())
        && name.chars().all(|char| char.is_ascii_alphanumeric() || "._-".contains(char))
}
