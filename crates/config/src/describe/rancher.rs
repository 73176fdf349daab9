//! The keys of `rancher`, for editors and for people. Must not hold a key of k3s or rke2 themselves; those are their own tables'.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::program::or_empty;
use crate::rancher::{
    Distribution,
    keys::{BOTH, ROLE, ROLES, SERVER},
};

const SETTINGS: &str =
    "Settings of k3s or rke2, their config.yaml; a key of theirs that is not named here may stand, too.";
const ROLE_SUMMARY: &str = "Which part of the cluster the machine is; it must be stated.";

/// Schema of the key `rancher`.
pub(super) fn schema() -> Value {
    let mut keys: Map<String, Value> =
        BOTH.iter().chain(SERVER).map(|(name, kind)| ((*name).to_owned(), or_empty(kind))).collect();
    keys.insert(ROLE.to_owned(), json!({"description": ROLE_SUMMARY, "enum": ["server", "agent", null]}));
    let program = json!({"description": SETTINGS, "type": ["object", "null"], "properties": keys});
    let programs: Map<String, Value> =
        Distribution::ALL.iter().map(|distribution| (distribution.name().to_owned(), program.clone())).collect();
    json!({
        "description": "Settings of k3s or rke2: one of them.",
        "type": ["object", "null"],
        "properties": programs,
        "additionalProperties": false,
    })
}

/// The part of the reference page.
pub(super) fn reference() -> String {
    let mut page = format!(
        "\n## Keys of `rancher.k3s` and `rancher.rke2`\n\nThese keys stand beside `cloud-machine`, not below it; a machine has one of them. \
         {SETTINGS} [The guide](../guides/rancher.md) has more.\n\n| key | allowed | for |\n|---|---|---|\n| `{ROLE}` | {ROLES} | must be stated |\n"
    );
    for (keys, whose) in [(BOTH, "both"), (SERVER, "a server")] {
        for (name, kind) in keys {
            // Writing into a String cannot fail.
            let _ = writeln!(page, "| `{name}` | {} | {whose} |", kind.allowed());
        }
    }
    page
}

/// The part of the example, in comments: not every image has one of them.
pub(super) const EXAMPLE: &str = "
# Settings of k3s (or rke2), for an image that has it: keys of its config.yaml, and which part of the cluster it is.
#rancher:
#  k3s:
#    role: agent
#    server: https://server.example:6443
#    token: !secret words
#    node-label: [role=ci]
";
