//! `config audit`: every value with its origin, what it hid, and what the driver makes of it. Must not show a secret.

use std::borrow::Cow;

use cloud_machine_config::{Hidden, Leaf, Merged, Origin, foreign_key};
use cloud_machine_driver::drivers;
use cloud_machine_operation::audit::{self, UnmetRequirement, Verdict, Verdicts};
use serde::Serialize;

use crate::{
    arguments::{self, Global},
    configuration::{self, KeyOption, checked, documents},
    failure::Failure,
    state::state_folder,
    ui::{Show, Ui},
};

use super::{
    check_cloud_init,
    columns::Columns,
    comments,
    row::{HiddenRow, OriginRow, hides, redacted, serialize_json, shown_json},
};

#[derive(Serialize)]
struct Audit<'a> {
    driver: &'static str,
    values: Vec<Value<'a>>,
    missed: Vec<UnmetRequirement>,
    /// What lies beside the documents and nobody reads.
    unread: Vec<String>,
    #[serde(skip)]
    all: bool,
    /// Without secrets. Its YAML is only made when it is asked for: that takes as long as all the rest.
    #[serde(skip)]
    shown: &'a Merged,
}

#[derive(Serialize)]
struct Value<'a> {
    key: &'a str,
    #[serde(serialize_with = "serialize_json")]
    value: &'a serde_yaml::Value,
    #[serde(serialize_with = "OriginRow::serialize_origin")]
    origin: &'a Origin,
    #[serde(flatten)]
    verdict: Verdict,
    #[serde(serialize_with = "HiddenRow::serialize_all")]
    hidden: &'a [Hidden],
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "OriginRow::serialize_lock")]
    locked: Option<&'a Origin>,
    secret: bool,
}

impl Show for Audit<'_> {
    const KIND: &'static str = "config-audit";

    fn table(&self) -> String {
        let mut columns = Columns::new();
        columns.add([&"KEY", &"VALUE", &"ORIGIN", &format_args!("DRIVER {}", self.driver)]);
        for value in &self.values {
            let text = shown_json(value.value);
            match value.locked {
                None => columns.add([&value.key, &text, value.origin, &value.verdict]),
                Some(lock) => {
                    let origin = format_args!("{}, locked by {lock}", value.origin);
                    columns.add([&value.key, &text, &origin, &value.verdict]);
                }
            }
            for hidden in value.hidden.iter().filter(|_| self.all) {
                columns.add([&"", &"", &format_args!("hides {}", hides(hidden, value.key)), &""]);
            }
        }
        columns.text()
    }

    fn yaml(&self) -> Result<Option<String>, Failure> {
        let remarks = self.values.iter().map(|value| (value.key.to_owned(), value.comment(self.all))).collect();
        comments::annotated(&self.shown.to_yaml(), &remarks).map(Some)
    }
}

impl Value<'_> {
    /// What stands behind the value in the YAML form.
    fn comment(&self, all: bool) -> String {
        let mut comment = format!("{}; {}", self.origin, self.verdict);
        if let Some(origin) = self.locked {
            comment += &format!("; locked by {}", origin);
        }
        for hidden in self.hidden.iter().filter(|_| all) {
            comment += &format!("; hides {}", hides(hidden, self.key));
        }
        comment
    }
}

pub(super) fn run(ui: &Ui, global: &Global, arguments: &arguments::Audit) -> Result<(), Failure> {
    let more: Vec<KeyOption<'_>> = KeyOption::driver(arguments.driver.as_ref()).into_iter().collect();
    let named = documents(&arguments.configuration, &more, Some(&arguments.last))?;
    let unread = configuration::unread(ui, &named);
    let synthesized = checked(named)?;
    let verdicts = Verdicts::with_sizes(&drivers(), &synthesized, &state_folder(global)?)?;
    let leaves = synthesized.merged.leaves();
    let shown = redacted(global, &synthesized.merged, &leaves)?;
    let shown_leaves: Cow<'_, [Leaf]> = match &shown {
        Cow::Borrowed(_) => Cow::Borrowed(&leaves),
        Cow::Owned(redacted) => Cow::Owned(redacted.leaves()),
    };
    // Both have the same leaves in the same order; the driver judges the real value.
    let values: Vec<Value<'_>> = leaves
        .iter()
        .zip(shown_leaves.iter())
        .map(|(real, leaf)| Value {
            value: &leaf.value,
            origin: &leaf.origin,
            verdict: verdicts.on(real),
            hidden: &leaf.hidden,
            locked: leaf.locked.as_ref(),
            secret: real.secret,
            key: &leaf.path,
        })
        .collect();
    let missed = verdicts.missed(&leaves);
    let audit = Audit { driver: verdicts.driver(), values, missed, unread, all: arguments.all, shown: &shown };
    ui.result(&audit)?;
    let secrets =
        leaves.iter().filter(|leaf| leaf.secret).filter_map(|leaf| foreign_key(&leaf.path)).map(str::to_owned);
    let judged = arguments
        .check_cloud_init
        .as_ref()
        .map(|program| check_cloud_init::check(ui, program, &shown, &secrets.collect()));
    let ended = audit::refuse(audit.driver, &audit.missed);
    // The process ends here: giving thousands of values back one by one would only take time.
    std::mem::forget(audit);
    std::mem::forget(shown_leaves);
    std::mem::forget(shown);
    std::mem::forget(verdicts);
    std::mem::forget(leaves);
    std::mem::forget(synthesized);
    ended?;
    judged.unwrap_or(Ok(()))
}
