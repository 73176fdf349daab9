//! The keys of `docker`, for editors and for people. Must not hold a key of the engine itself; those are its own table's.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::program::or_empty;
use crate::docker::keys::{ENVIRONMENT, KEYS, VARIABLES};

const ENGINE: &str =
    "Settings of docker's engine, its daemon.json; a key of dockerd that is not named here may stand, too.";
const VARIABLE: &str = "Variables of docker's environment, such as those of a proxy.";
/// A text without control characters.
const VALUE: &str = r"^[^\u0000-\u001f\u007f-\u009f]*$";

/// Schema of the key `docker`.
pub(super) fn schema() -> Value {
    let mut engine: Map<String, Value> = KEYS.iter().map(|(name, kind)| ((*name).to_owned(), or_empty(kind))).collect();
    let environment = json!({
        "description": VARIABLE,
        "type": ["object", "null"],
        "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
        "additionalProperties": {"type": ["string", "null"], "pattern": VALUE},
    });
    engine.insert(ENVIRONMENT.to_owned(), environment);
    json!({
        "description": "Settings of docker's engine and swarm.",
        "type": ["object", "null"],
        "properties": {
            "engine": {"description": ENGINE, "type": ["object", "null"], "properties": engine},
            "swarm": {"description": "Not supported yet.", "type": ["object", "null"]},
        },
        "additionalProperties": false,
    })
}

/// The part of the reference page.
pub(super) fn reference() -> String {
    let mut page = format!(
        "\n## Keys of `docker.engine`\n\nThis key stands beside `cloud-machine`, not below it. {ENGINE} [The guide](../guides/docker.md) has \
         more.\n\n| key | allowed |\n|---|---|\n| `{ENVIRONMENT}` | {VARIABLES} |\n"
    );
    for (name, kind) in KEYS {
        // Writing into a String cannot fail.
        let _ = writeln!(page, "| `{name}` | {} |", kind.allowed());
    }
    page
}

/// The part of the example, in comments: not every image has docker.
pub(super) const EXAMPLE: &str = "
# Settings of docker's engine, for an image that has it: keys of its daemon.json, and in `env` its environment.
#docker:
#  engine:
#    labels: [role=ci]
#    registry-mirrors: [\"https://mirror.example\"]
#    log-opts: {max-size: 10m, max-file: \"3\"}
#    env: {HTTPS_PROXY: \"http://proxy.example:3128\"}
";
