//! Documents that an older program wrote, as this one writes them: what was kept then is read without loss, and is stored in
//! today's form with the next change. Must not write.

use cloud_machine_protocol::FORMAT_VERSION;
use serde::de::Error as _;
use serde_json::{Map, Value};

/// Values whose keys are names, or which are documents of their own: no key in them is ours.
const NOT_OURS: [&str; 3] = ["layers", "origins", "histories"];

/// Keys that have another name today.
const NEW_NAMES: [(&str, &str); 5] = [
    ("form", "backing"),
    ("left", "not_covered"),
    ("process", "driver_state"),
    ("treatment", "disposition"),
    ("unhonoured", "unsupported"),
];

/// A document with keys in kebab-case, as everything was before version 2 of the records: the same values under today's keys.
/// A request or a report in it had version 2 of that format, and differs from today's in its keys only.
///
/// # Errors
/// When a key stands there twice, under its old and its new name: which of the two counts, nobody can say.
pub fn renamed(document: Value) -> Result<Value, serde_json::Error> {
    Ok(match document {
        Value::Object(members) => {
            let mut renamed = Map::new();
            for (key, value) in members {
                let (key, value) = member(key, value)?;
                if renamed.contains_key(&key) {
                    return Err(serde_json::Error::custom(format_args!("duplicate field `{key}`")));
                }
                renamed.insert(key, value);
            }
            Value::Object(renamed)
        }
        Value::Array(values) => Value::Array(values.into_iter().map(renamed).collect::<Result<_, _>>()?),
        other => other,
    })
}

fn member(key: String, value: Value) -> Result<(String, Value), serde_json::Error> {
    let new_name = NEW_NAMES.iter().find(|(old, _)| *old == key).map(|(_, new)| (*new).to_owned());
    let key = new_name.unwrap_or_else(|| key.replace('-', "_"));
    let value = match key.as_str() {
        name if NOT_OURS.contains(&name) => value,
        // The version of the document itself is the reader's business.
        _ => in_format(renamed(value)?),
    };
    Ok((key, value))
}

/// A request or report below a document, with today's version of that format.
fn in_format(mut value: Value) -> Value {
    if let Some(version) = value.get_mut("version").filter(|version| version.as_u64() == Some(2)) {
        *version = FORMAT_VERSION.into();
    }
    value
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_are_renamed_and_names_and_documents_are_left_alone() {
        let old = json!({
            "version": 2, "host-key": "a-b", "layers": {"image-keys": []}, "list": [{"read-only": true}],
            "expected": {"request": {"version": 2, "unhonoured": [], "request-id": "x", "histories": {"my-disk": "as-it-is"}}},
            "report": {"version": 2, "origins": {"a.my-disk": "host-file"}, "agent": {"version": "2"}},
        });
        let new = json!({
            "version": 2, "host_key": "a-b", "layers": {"image-keys": []}, "list": [{"read_only": true}],
            "expected": {"request": {"version": FORMAT_VERSION, "unsupported": [], "request_id": "x", "histories": {"my-disk": "as-it-is"}}},
            "report": {"version": FORMAT_VERSION, "origins": {"a.my-disk": "host-file"}, "agent": {"version": "2"}},
        });
        assert_eq!(renamed(old).unwrap(), new);
    }

    #[test]
    fn a_key_under_both_of_its_names_is_refused() {
        for twice in [json!({"ssh-port": 1, "ssh_port": 2}), json!({"a": [{"left": [], "not_covered": []}]})] {
            assert!(renamed(twice).unwrap_err().to_string().contains("duplicate field"));
        }
    }
}
