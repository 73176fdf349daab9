//! The keys of `docker`, for editors and for people. Must not hold a key of the engine itself; those are its own table's.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::program::or_empty;
use crate::docker::keys::{AVAILABILITY, ENVIRONMENT, KEYS, ROLE, SWARM, VARIABLES};

const ENGINE: &str =
    "Settings of docker's engine, its daemon.json; a key of dockerd that is not named here may stand, too.";
const VARIABLE: &str = "Variables of docker's environment, such as those of a proxy.";
const SWARM_SUMMARY: &str = "The swarm that docker of the machine is a part of.";
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
            "swarm": {
                "description": SWARM_SUMMARY,
                "type": ["object", "null"],
                "properties": swarm(),
                "additionalProperties": false,
            },
        },
        "additionalProperties": false,
    })
}

fn swarm() -> Map<String, Value> {
    let one = |(name, allowed, summary): &(&str, &str, &str)| {
        let mut schema = json!({"description": format!("{summary} Allowed: {allowed}."), "type": ["string", "null"]});
        if [ROLE, AVAILABILITY].contains(name) {
            let words = allowed.replace(" or ", ", ");
            schema["enum"] = words.split(", ").map(|word| json!(word)).chain([Value::Null]).collect();
        }
        ((*name).to_owned(), schema)
    };
    SWARM.iter().map(one).collect()
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
    let _ = write!(
        page,
        "\n## Keys of `docker.swarm`\n\nThis key stands beside `cloud-machine`, not below it. {SWARM_SUMMARY} \
         [The guide](../guides/docker.md#a-swarm) has more.\n\n| key | allowed | what it states |\n|---|---|---|\n"
    );
    for (name, allowed, summary) in SWARM {
        let _ = writeln!(page, "| `{name}` | {allowed} | {summary} |");
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
#  # A swarm that it joins; `role: manager` alone begins one.
#  swarm:
#    role: worker
#    join: 192.0.2.7:2377
#    token: SWMTKN-1-3pu6hszjas19xyp7ghgosyx9k8atbfcr8p2is99znpy26u2lkl-1awxwuwd3z9j1z3puu7rcgdbx
#    advertise: 192.0.2.8
";
