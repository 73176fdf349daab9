//! Kinds of another program's settings, for editors. Must not hold a key.

use serde_json::{Map, Value, json};

use crate::settings::Kind;

/// An empty value states nothing, but in a list.
pub(super) fn or_empty(kind: &Kind) -> Value {
    let mut schema = value(kind);
    match schema.get_mut("type") {
        Some(Value::Array(types)) => types.push(json!("null")),
        Some(found) => *found = json!([found, "null"]),
        None => {}
    }
    schema
}

fn value(kind: &Kind) -> Value {
    match kind {
        Kind::Text => json!({"type": "string"}),
        Kind::Flag => json!({"type": "boolean"}),
        Kind::Whole => json!({"type": "integer"}),
        Kind::Texts => json!({"type": ["string", "array"], "items": {"type": "string"}}),
        Kind::Map => json!({"type": "object"}),
        Kind::List(below) => json!({"type": "array", "items": value(below)}),
        Kind::MapOf(below) => json!({"type": "object", "additionalProperties": or_empty(below)}),
        Kind::Fields(fields) => {
            let fields: Map<String, Value> =
                fields.iter().map(|(name, kind)| ((*name).to_owned(), or_empty(kind))).collect();
            json!({"type": "object", "properties": fields})
        }
    }
}
