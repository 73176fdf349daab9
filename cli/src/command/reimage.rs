//! `reimage`: the machine becomes what it was described to be, and the host holds the evidence.

use std::{process::ExitCode, time::Duration};

use cloud_machine_driver::drivers;
use cloud_machine_operation::{Operations, Reimage as Asked, Reimaged};
use cloud_machine_protocol::Assurance;
use cloud_machine_store::{Store, Strategy};

use crate::{
    arguments::Reimage,
    batch::{self, Line},
    failure::{Failure, Kind},
    interrupted,
    screen::Screen,
    source,
    ui::Ui,
};

impl Line for Reimaged {
    fn cells(&self) -> Vec<String> {
        let assurance = match (self.assurance, &self.does_not_cover) {
            (Some(level), Some(gap)) => format!("{level} (does not cover: {gap})"),
            _ => String::new(),
        };
        let way = match (self.strategy, self.tier) {
            (Some(strategy), Some(tier)) => format!("strategy {strategy}, tier {tier}"),
            (Some(strategy), None) => format!("strategy {strategy}"),
            (None, _) => String::new(),
        };
        vec![self.state.to_string(), way, assurance, format!("signature: {}", self.image.signature)]
    }
}

pub(crate) fn run(ui: &Ui, store: &Store, reimage: &Reimage) -> Result<ExitCode, Failure> {
    let options = reimage.short_cut.options()?;
    if options.strategy == Some(Strategy::Clone) && reimage.require_assurance > Assurance::Unproven {
        let text = format!("a clone is unproven, and {} is required", reimage.require_assurance);
        return Err(Failure::new(Kind::Usage, text).hint("write --require-assurance unproven, or --strategy rewrite"));
    }
    let asked = Asked {
        image: reimage.image.clone(),
        image_url: source::address(&reimage.address)?,
        exceptions: reimage.exceptions.into(),
        options,
        required: reimage.require_assurance,
        release: reimage.release,
        timeout: Duration::from_secs(reimage.time.timeout),
    };
    let (screen, drivers) = (Screen::new(ui), drivers());
    let operations = Operations { store, drivers: &drivers, observer: &screen };
    batch::each(ui, &reimage.machines.names, |name| {
        let _told = interrupted::tell(ui, store, name, "reimage")?;
        Ok(operations.reimage(name, &asked)?)
    })
}
