//! JSON Schema, draft 2020-12, for editors: completion, hints and early errors. Must not be taken for the check
//! itself, which is `validate`.

use serde_json::{Map, Value, json};

use crate::{
    grammar::{Key, MACHINE, Named, Shape},
    partition_type::TYPES,
};

use super::{
    docker, note,
    notes::{Form, Note},
    rancher,
};

/// The schema of a document, with a final line break. Keys that are not ours are allowed: they are cloud-init's.
#[must_use]
pub fn schema() -> String {
    let root = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of cloud-machine",
        "description": "A document of cloud-machine; every key that is not named here belongs to cloud-init.",
        "type": ["object", "null"],
        "properties": {
            "cloud-machine": map("", MACHINE, "Everything of ours."),
            "exclude": {
                "description": "Paths of keys whose values of earlier layers are forgotten, as with the tag !reset.",
                "type": ["array", "null"],
                "items": {"type": "string", "minLength": 1},
            },
            "ssh_authorized_keys": {
                "description": "Public keys that may log in as root, one line each.",
                "type": ["array", "null"],
                "items": {"type": "string", "pattern": ONE_LINE},
            },
            "network": {
                "description": "A network in the form of netplan (version 2) or of cloud-init (version 1), for the machine's cloud-init.",
                "type": ["object", "null"],
                "properties": {"version": {"enum": [1, 2]}},
                "required": ["version"],
            },
            "docker": docker::schema(),
            "rancher": rancher::schema(),
        },
    });
    // Values of these types are always JSON.
    format!("{root:#}\n")
}

/// A text without control characters that is not empty.
const ONE_LINE: &str = r"^[^\u0000-\u001f\u007f-\u009f]+$";
const IMAGE_NAME: &str = "^[a-z0-9][a-z0-9._-]{0,62}$";
const DISK_NAME: &str = "^[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?$";
/// Without the names that systems give by themselves.
const NIC_NAME: &str =
    "^(?!(lo|all|default|(eth|eno|ens|enp|enx|vlan|docker)?[0-9].*)$)[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?$";
const SIZE: &str = "^0*[1-9][0-9]* *([kKmMgGtT][iI]?)?[bB]$";
/// Printable ASCII without blanks and commas; a name also without slashes, and no dot in front.
const DEVICE: &str = r"^(/dev/(disk/by-id/)?[!-+\--\-0-~][!-+\-.0-~]*|(serial|wwn|label):[!-+\--~]+)$";
/// Schemes in small letters, no blanks, no user and no fragment.
const URL: &str = r"^(https?://[^\s@#]+|file:///[^\s#?]*)$";
const PROPERTY: &str = "^[a-z][a-z0-9:_.-]*=[ -~]+$";
const DATASET: &str = "^[A-Za-z0-9][A-Za-z0-9_:.-]*(/[A-Za-z0-9][A-Za-z0-9_:.-]*)*$";
/// A size above nothing, a share from 1% to 100%, or the word.
const PARTITION_SIZE: &str = "^(0*[1-9][0-9]* *([kKmMgGtT][iI]?)?[bB]|([1-9][0-9]?|100)%|rest)$";
const GUID: &str = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}";
const SHA256: &str = "^[0-9a-fA-F]{64}$";
/// 42 bytes in base64, of which the first two are `Ed`.
const IMAGE_KEY: &str = "^RW[QRST][A-Za-z0-9+/]{53}$";
const INTERFACE: &str = "^[a-zA-Z0-9][a-zA-Z0-9._-]{0,14}$";
const MAC: &str = "^(auto|[0-9a-fA-F][02468aceACE](:[0-9a-fA-F]{2}){5})$";

fn map(prefix: &str, keys: &[Key], summary: &str) -> Value {
    let properties: Map<String, Value> = keys
        .iter()
        .map(|key| {
            let path = if prefix.is_empty() { key.name.to_owned() } else { format!("{prefix}.{}", key.name) };
            (key.name.to_owned(), value(&path, &key.shape))
        })
        .collect();
    json!({
        "description": summary,
        "type": ["object", "null"],
        "properties": properties,
        "additionalProperties": false,
    })
}

fn value(path: &str, shape: &Shape) -> Value {
    let note = note(path);
    let mut schema = match shape {
        Shape::Map(keys) => map(path, keys, note.summary),
        Shape::Named(what, keys) => {
            let (pattern, one) = match what {
                Named::Disk => (DISK_NAME, "A disk."),
                Named::Partition => (DISK_NAME, "A partition."),
                Named::Interface => (NIC_NAME, "A further network interface."),
            };
            json!({
                "type": ["object", "null"],
                "propertyNames": {"pattern": pattern},
                "additionalProperties": map(&format!("{path}.*"), keys, one),
            })
        }
        Shape::Scalar(_) | Shape::List(_) | Shape::Words(_) => form(note),
        Shape::Either(_, keys) => json!({"anyOf": [form(note), map(path, keys, note.summary)]}),
        Shape::Program => json!({"type": ["object", "null"]}),
    };
    if let Some(fields) = schema.as_object_mut() {
        fields.insert("description".to_owned(), description(note).into());
    }
    schema
}

fn description(note: &Note) -> String {
    let mut text = note.summary.to_owned();
    for (title, more) in [("", note.unit), ("Default: ", note.default)] {
        if !more.is_empty() {
            text = format!("{text} {title}{more}");
        }
    }
    text.trim_end_matches('.').to_owned() + "."
}

/// The form of a value. An empty one states nothing, so it is always allowed.
fn form(note: &Note) -> Value {
    match note.form {
        Form::Map => json!({"type": ["object", "null"]}),
        Form::Text => json!({"type": ["string", "null"], "pattern": ONE_LINE}),
        Form::ImageName => json!({"type": ["string", "null"], "pattern": IMAGE_NAME}),
        Form::Url => json!({"type": ["string", "null"], "format": "uri", "pattern": URL}),
        Form::Sha256 => json!({"type": ["string", "null"], "pattern": SHA256}),
        Form::Pem => json!({"type": ["string", "null"], "pattern": "-----BEGIN CERTIFICATE-----"}),
        Form::Lower => json!({"type": ["string", "null"], "pattern": "^[a-z0-9-]+$"}),
        Form::Device => json!({"type": ["string", "null"], "pattern": DEVICE}),
        Form::Interface => json!({"type": ["string", "null"], "pattern": INTERFACE}),
        Form::Mac => json!({"type": ["string", "null"], "pattern": MAC}),
        Form::Size => json!({"type": ["string", "null"], "pattern": SIZE}),
        Form::Count(least, most) => json!({"type": ["integer", "null"], "minimum": least, "maximum": most}),
        Form::Memory => json!({
            "type": ["number", "string", "null"],
            "exclusiveMinimum": 0,
            "maximum": 65_536,
            "pattern": SIZE,
        }),
        Form::Paths => json!({"type": ["array", "null"], "items": {"type": "string", "minLength": 1}}),
        Form::PartitionSize => json!({"type": ["string", "null"], "pattern": PARTITION_SIZE}),
        Form::PartitionType => {
            let names = TYPES.map(|(name, _)| name).join("|");
            json!({"type": ["string", "null"], "pattern": format!("^({names}|{GUID})$")})
        }
        Form::FilesystemUuid => {
            json!({"type": ["string", "null"], "pattern": format!("^({GUID}|[0-9a-fA-F]{{4}}-[0-9a-fA-F]{{4}})$")})
        }
        Form::Options => json!({"type": ["array", "null"], "items": {"type": "string", "minLength": 1}}),
        Form::Keys => json!({"type": ["array", "null"], "items": {"type": "string", "pattern": IMAGE_KEY}}),
        Form::Path => json!({"type": ["string", "null"], "pattern": "^/.*[^/]$"}),
        Form::Properties => json!({"type": ["array", "null"], "items": {"type": "string", "pattern": PROPERTY}}),
        Form::Datasets => json!({"type": ["array", "null"], "items": {"type": "string", "pattern": DATASET}}),
        Form::Matching(pattern) => json!({"type": ["array", "null"], "items": {"type": "string", "pattern": pattern}}),
        Form::Items(words) => json!({"type": ["array", "null"], "items": {"enum": words}, "minItems": 1}),
        Form::Words(words) => {
            let values: Vec<Value> = words.iter().map(|word| (*word).into()).chain([Value::Null]).collect();
            json!({ "enum": values })
        }
        Form::Flag(words) => {
            let mut values = vec![Value::Bool(false), Value::Bool(true)];
            values.extend(words.iter().map(|word| Value::from(*word)));
            values.push(Value::Null);
            json!({ "enum": values })
        }
    }
}
