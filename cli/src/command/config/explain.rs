//! `config audit --explain KEY`: what each document did to one key, in the order of the layers. Must not show a secret.

use std::{borrow::Cow, collections::BTreeSet};

use cloud_machine_config::{
    Document, Leaf, Merged, Origin,
    describe::{About, about},
    merge,
};
use cloud_machine_driver::drivers;
use cloud_machine_operation::{
    audit::{self, UnmetRequirement, Verdict, Verdicts},
    described::refused,
};
use cloud_machine_protocol::escape;
use serde::Serialize;

use crate::{
    arguments::{self, Global},
    configuration::{self, KeyOption, Named, checked, documents},
    failure::{Failure, Kind},
    state::state_folder,
    ui::{Show, Ui},
};

use super::row::{OriginRow, json, redacted, shown};

/// Prefix of our keys, which may be left out on the command line.
const OURS: &str = "cloud-machine.";

#[derive(Serialize)]
struct Explained {
    driver: &'static str,
    keys: Vec<Story>,
    missed: Vec<UnmetRequirement>,
}

/// What happened to one key.
#[derive(Serialize)]
struct Story {
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    default: Option<&'static str>,
    /// What holds in the end; absent when nothing states it.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<OriginRow>,
    #[serde(flatten)]
    verdict: Option<Verdict>,
    #[serde(skip_serializing_if = "Option::is_none")]
    locked: Option<OriginRow>,
    secret: bool,
    events: Vec<Event>,
}

/// What one document did.
#[derive(Serialize)]
struct Event {
    document: String,
    #[serde(flatten)]
    change: Change,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case", tag = "change")]
enum Change {
    /// It states a value, which then holds.
    Set { value: serde_json::Value, origin: OriginRow },
    /// It makes the program forget what was stated, and what then holds, if anything.
    Removed {
        #[serde(skip_serializing_if = "Option::is_none")]
        value: Option<serde_json::Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        origin: Option<OriginRow>,
    },
    /// It locks the value against later documents.
    Locked { origin: OriginRow },
}

impl Show for Explained {
    const KIND: &'static str = "config-explain";

    fn table(&self) -> String {
        self.keys.iter().map(|story| story.text(self.driver)).collect::<Vec<_>>().join("\n")
    }
}

impl Story {
    fn text(&self, driver: &str) -> String {
        let mut lines = vec![self.key.clone()];
        let mut line = |title: &str, text: &str| lines.push(format!("  {title:9}{text}"));
        if let Some(summary) = self.summary {
            line("states", summary);
        }
        if let Some(allowed) = &self.allowed {
            line("allowed", allowed);
        }
        if let Some(default) = self.default {
            line("default", default);
        }
        match (&self.value, &self.origin) {
            (Some(value), Some(origin)) => {
                line("value", &shown(value));
                line("origin", &origin.text);
            }
            _ => line("value", "not stated anywhere"),
        }
        if let Some(verdict) = &self.verdict {
            line("driver", &format!("{driver}: {verdict}"));
        }
        if let Some(origin) = &self.locked {
            line("locked", &format!("by {}", origin.text));
        }
        for (index, event) in self.events.iter().enumerate() {
            line(if index == 0 { "story" } else { "" }, &format!("{}. {}", index + 1, event.text()));
        }
        lines.join("\n") + "\n"
    }
}

impl Event {
    fn text(&self) -> String {
        let document = escape::line(self.document.as_bytes(), 200);
        match &self.change {
            Change::Set { value, origin } => format!("{} sets it to {}", origin.text, shown(value)),
            Change::Removed { value: Some(value), origin: Some(origin) } => {
                format!("{document} takes that away: {} ({}) holds again", shown(value), origin.text)
            }
            Change::Removed { .. } => format!("{document} takes that away"),
            Change::Locked { origin } => format!("{} locks it", origin.text),
        }
    }
}

pub(super) fn run(ui: &Ui, global: &Global, arguments: &arguments::Audit, key: &str) -> Result<(), Failure> {
    let more: Vec<KeyOption<'_>> = KeyOption::driver(arguments.driver.as_ref()).into_iter().collect();
    let named = documents(&arguments.configuration, &more, Some(&arguments.last))?;
    configuration::unread(ui, &named);
    // Each document is looked at once more, one after the other.
    let synthesized = checked(named.clone())?;
    let verdicts = Verdicts::with_sizes(&drivers(), &synthesized, &state_folder(global)?)?;
    let steps = steps(global, &named)?;
    let real = synthesized.merged.leaves();
    let keys: Vec<Story> = paths(key, &steps)?.into_iter().map(|path| story(path, &steps, &real, &verdicts)).collect();
    let explained = Explained { driver: verdicts.driver(), keys, missed: verdicts.missed(&real) };
    ui.result(&explained)?;
    Ok(audit::refuse(explained.driver, &explained.missed)?)
}

/// The configuration, without secrets, after each document.
fn steps(global: &Global, named: &[Named]) -> Result<Vec<(String, Vec<Leaf>)>, Failure> {
    let documents: Vec<Document> = named.iter().map(|named| named.document.clone()).collect();
    let mut steps = Vec::new();
    for (index, named) in named.iter().enumerate() {
        let merged: Merged = merge(documents.get(..=index).unwrap_or_default()).map_err(refused)?;
        let leaves = merged.leaves();
        let leaves = match redacted(global, &merged, &leaves)? {
            Cow::Borrowed(_) => leaves,
            Cow::Owned(redacted) => redacted.leaves(),
        };
        steps.push((named.name.clone(), leaves));
    }
    Ok(steps)
}

/// Paths of all values that ever stood at `key` or below it; a known key that nobody states stands for itself.
fn paths(key: &str, steps: &[(String, Vec<Leaf>)]) -> Result<Vec<String>, Failure> {
    let ours = format!("{OURS}{key}");
    for path in [key, &ours] {
        let below = format!("{path}.");
        let mut seen = BTreeSet::new();
        let found = steps.iter().flat_map(|(_, leaves)| leaves).map(|leaf| &leaf.path);
        let found: Vec<String> = found
            .filter(|found| *found == path || found.starts_with(&below))
            .filter(|path| seen.insert((*path).clone()))
            .cloned()
            .collect();
        if !found.is_empty() {
            return Ok(found);
        }
    }
    let known = key.strip_prefix(OURS).unwrap_or(key);
    match about(known) {
        Some(_) => Ok(vec![format!("{OURS}{known}")]),
        None => Err(Failure::new(Kind::NotFound, format!("no document states {key:?}, and it is no key of ours"))
            .hint("`cloud-machine config audit` lists what is stated, `cloud-machine config reference` every key")),
    }
}

fn story(path: String, steps: &[(String, Vec<Leaf>)], real: &[Leaf], verdicts: &Verdicts<'_>) -> Story {
    let known: Option<About> = path.strip_prefix(OURS).and_then(about);
    let mut events = Vec::new();
    let (mut before, mut seen): (Option<&Leaf>, Vec<&Origin>) = (None, Vec::new());
    for (document, leaves) in steps {
        // An empty value states nothing.
        let now = leaves.iter().find(|leaf| leaf.path == path && !leaf.value.is_null());
        let mut add = |change| events.push(Event { document: document.clone(), change });
        let (value, origin) = (now.map(|now| json(&now.value)), now.map(|now| OriginRow::from(&now.origin)));
        // A document's own places are new; one that was there before comes back because a later one was forgotten.
        let returns = now.is_none_or(|now| seen.contains(&&now.origin));
        match (value, origin) {
            _ if before.map(|was| &was.origin) == now.map(|now| &now.origin) => {}
            (Some(value), Some(origin)) if !returns => add(Change::Set { value, origin }),
            (value, origin) => add(Change::Removed { value, origin }),
        }
        seen.extend(now.map(|now| &now.origin));
        if let Some(lock) =
            now.and_then(|now| now.locked.as_ref()).filter(|_| before.is_none_or(|was| was.locked.is_none()))
        {
            add(Change::Locked { origin: OriginRow::from(lock) });
        }
        before = now;
    }
    let last = real.iter().find(|leaf| leaf.path == path);
    Story {
        summary: known.as_ref().map(|known| known.summary),
        default: known.as_ref().map(|known| known.default).filter(|text| !text.is_empty()),
        allowed: known.map(|known| known.allowed),
        value: before.map(|leaf| json(&leaf.value)),
        origin: before.map(|leaf| OriginRow::from(&leaf.origin)),
        verdict: last.map(|leaf| verdicts.on(leaf)),
        locked: before.and_then(|leaf| leaf.locked.as_ref()).map(OriginRow::from),
        secret: last.is_some_and(|leaf| leaf.secret),
        key: path,
        events,
    }
}
