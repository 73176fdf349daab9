//! `config show|audit`: the merged configuration, as a document and value by value.

use comfy_table::{Table, presets::NOTHING};
use serde::Serialize;

use crate::{
    arguments::Config,
    configuration::{merged, synthesize},
    failure::Failure,
    ui::{Show, Ui},
};

#[derive(Serialize)]
struct Document {
    yaml: String,
}

impl Show for Document {
    const KIND: &'static str = "config";

    fn table(&self) -> String {
        self.yaml.clone()
    }
}

#[derive(Serialize)]
struct Audit {
    values: Vec<Value>,
    #[serde(skip)]
    all: bool,
}

#[derive(Serialize)]
struct Value {
    key: String,
    value: String,
    origin: String,
    hidden: Vec<String>,
}

impl Show for Audit {
    const KIND: &'static str = "config-audit";

    fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(NOTHING).set_header(["KEY", "VALUE", "ORIGIN"]);
        for value in &self.values {
            table.add_row([&value.key, &value.value, &value.origin]);
            for hidden in value.hidden.iter().filter(|_| self.all) {
                table.add_row(["", "", &format!("hides {hidden}")]);
            }
        }
        table.to_string()
    }
}

pub(crate) fn run(ui: &Ui, config: &Config) -> Result<(), Failure> {
    match config {
        Config::Show { configuration } => {
            let synthesized = synthesize(configuration, &[])?;
            ui.result(&Document { yaml: synthesized.merged.to_yaml() })
        }
        Config::Audit { configuration, all } => {
            let leaves = merged(configuration, &[])?.leaves();
            let values = leaves.into_iter().map(|leaf| Value {
                key: leaf.path,
                value: one_line(&leaf.value),
                origin: leaf.origin.to_string(),
                hidden: leaf.hidden,
            });
            ui.result(&Audit { values: values.collect(), all: *all })
        }
    }
}

fn one_line(value: &serde_yaml::Value) -> String {
    // A leaf is a scalar or a list; JSON shows both on one line and escapes what a terminal would obey.
    serde_json::to_string(value).unwrap_or_else(|error| format!("({error})"))
}
