//! `config audit`: every value with its origin, what it hid, and what the driver makes of it. Must not show a secret.

use comfy_table::{Table, presets::NOTHING};
use serde::Serialize;

use crate::{
    arguments::{self, Global},
    configuration::{checked, documents},
    failure::Failure,
    ui::{Show, Ui},
    verdict::{self, Missed, Verdict, Verdicts},
};

use super::{
    comments,
    row::{HiddenRow, OriginRow, json, redacted, shown},
};

#[derive(Serialize)]
struct Audit {
    driver: &'static str,
    values: Vec<Value>,
    missed: Vec<Missed>,
    #[serde(skip)]
    all: bool,
    #[serde(skip)]
    yaml: String,
}

#[derive(Serialize)]
struct Value {
    key: String,
    value: serde_json::Value,
    origin: OriginRow,
    #[serde(flatten)]
    verdict: Verdict,
    hidden: Vec<HiddenRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    locked: Option<OriginRow>,
    secret: bool,
}

impl Show for Audit {
    const KIND: &'static str = "config-audit";

    fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(NOTHING).set_header(["KEY", "VALUE", "ORIGIN", &format!("DRIVER {}", self.driver)]);
        for value in &self.values {
            let lock = value.locked.as_ref().map(|origin| format!(", locked by {}", origin.text));
            let origin = format!("{}{}", value.origin.text, lock.unwrap_or_default());
            table.add_row([&value.key, &shown(&value.value), &origin, &value.verdict.to_string()]);
            for hidden in value.hidden.iter().filter(|_| self.all) {
                table.add_row(["", "", &format!("hides {}", hidden.text(&value.key))]);
            }
        }
        table.to_string()
    }

    fn yaml(&self) -> Option<String> {
        Some(self.yaml.clone())
    }
}

impl Value {
    /// What stands behind the value in the YAML form.
    fn comment(&self, all: bool) -> String {
        let mut comment = format!("{}; {}", self.origin.text, self.verdict);
        if let Some(origin) = &self.locked {
            comment += &format!("; locked by {}", origin.text);
        }
        for hidden in self.hidden.iter().filter(|_| all) {
            comment += &format!("; hides {}", hidden.text(&self.key));
        }
        comment
    }
}

pub(super) fn run(ui: &Ui, global: &Global, arguments: &arguments::Audit) -> Result<(), Failure> {
    let more: Vec<String> = arguments.driver.iter().map(|driver| format!("driver={driver}")).collect();
    let synthesized = checked(&documents(&arguments.configuration, &more, Some(&arguments.last))?)?;
    let verdicts = Verdicts::of(&synthesized)?;
    let leaves = synthesized.merged.leaves();
    let shown = redacted(global, &synthesized.merged)?;
    // Both have the same leaves in the same order; the driver judges the real value.
    let values: Vec<Value> = leaves
        .iter()
        .zip(shown.leaves())
        .map(|(real, leaf)| Value {
            value: json(&leaf.value),
            origin: OriginRow::from(&leaf.origin),
            verdict: verdicts.on(real),
            hidden: HiddenRow::of(&leaf),
            locked: leaf.locked.as_ref().map(OriginRow::from),
            secret: real.secret,
            key: leaf.path,
        })
        .collect();
    let remarks = values.iter().map(|value| (value.key.clone(), value.comment(arguments.all))).collect();
    let missed = verdicts.missed(&leaves);
    let audit = Audit {
        driver: verdicts.driver(),
        yaml: comments::annotated(&shown.to_yaml(), &remarks)?,
        values,
        missed,
        all: arguments.all,
    };
    ui.result(&audit)?;
    verdict::refuse(audit.driver, &audit.missed)
}
