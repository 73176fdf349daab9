//! `config …`: the merged configuration as a document, value by value, and what there is to write into one.

mod audit;
mod check_cloud_init;
mod columns;
mod comments;
mod explain;
mod row;

use cloud_machine_driver::drivers;
use serde::Serialize;

use crate::{
    arguments::{Config, Global},
    configuration::{self, checked, documents},
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
        Config::Reference => ui.raw(&reference()),
    }
}

/// A driver, and what it makes of each key.
type Column<'a> = (&'a str, &'a dyn Fn(&str) -> String);

fn reference() -> String {
    let drivers = drivers();
    let descriptions: Vec<_> = drivers.all().map(|driver| driver.describe()).collect();
    let supports: Vec<_> = descriptions.iter().map(|one| |key: &str| one.support(key).to_string()).collect();
    let columns = descriptions.iter().zip(&supports);
    let columns: Vec<Column<'_>> = columns.map(|(one, support)| (one.driver(), support as &_)).collect();
    cloud_machine_config::describe::reference(&columns)
}
