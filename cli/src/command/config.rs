//! `config …`: the merged configuration as a document, value by value, and what there is to write into one.

mod audit;
mod columns;
mod comments;
mod explain;
mod row;

use cloud_machine_operation::audit::description;
use serde::Serialize;

use crate::{
    arguments::{Config, Global},
    configuration::{self, checked, documents},
    failure::Failure,
    ui::{Show, Ui},
};

/// Drivers that the reference page speaks of.
const DRIVERS: [&str; 1] = ["qemu"];

#[derive(Serialize)]
struct Document {
    yaml: String,
}

impl Show for Document {
    const KIND: &'static str = "config";

    fn table(&self) -> String {
        self.yaml.clone()
    }

    fn yaml(&self) -> Result<Option<String>, Failure> {
        Ok(Some(self.yaml.clone()))
    }
}

pub(crate) fn run(ui: &Ui, global: &Global, config: &Config) -> Result<(), Failure> {
    match config {
        Config::Show { configuration: given, last } => {
            let named = documents(given, &[], Some(last))?;
            configuration::unread(ui, &named);
            let synthesized = checked(named)?;
            ui.result(&Document { yaml: synthesized.merged.to_yaml() })
        }
        Config::Audit(audit) => match &audit.explain {
            Some(key) => explain::run(ui, global, audit, key),
            None => audit::run(ui, global, audit),
        },
        Config::Schema => ui.raw(&cloud_machine_config::describe::schema()),
        Config::Example => ui.raw(&cloud_machine_config::describe::example()),
        Config::Reference => ui.raw(&reference()?),
    }
}

fn reference() -> Result<String, Failure> {
    let [qemu] = DRIVERS;
    let qemu_description = description(qemu)?;
    let support = |key: &str| qemu_description.support(key).to_string();
    Ok(cloud_machine_config::describe::reference(&[(qemu, &support)]))
}
