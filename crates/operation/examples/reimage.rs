//! Creates a machine from an installed image, reimages it, and verifies it:
//! `cargo run -p cloud-machine-operation --example reimage -- STATE-FOLDER IMAGE`.

use std::{env, error::Error, time::Duration};

use cloud_machine_config::{LayerKind, defaults, merge, parse, validate};
use cloud_machine_driver::drivers;
use cloud_machine_operation::{
    Creation, Described, Event, Exceptions, Happening, Observer, Operations, Reimage, ReimageOptions, Verify,
};
use cloud_machine_protocol::{Assurance, MachineName};
use cloud_machine_store::Store;

const TIMEOUT: Duration = Duration::from_secs(600);

/// Shows what a person would want to know.
struct Show;

impl Observer for Show {
    #[allow(clippy::print_stdout)]
    fn event(&self, event: &Event<'_>) {
        match event.happening {
            Happening::Phase { phase, milliseconds } => println!("{phase}: {milliseconds} ms"),
            Happening::Notice(notice) => println!("{notice}"),
            Happening::Begin(_) | Happening::Progress { .. } | Happening::End(_) => {}
        }
    }
}

#[allow(clippy::print_stdout)]
fn main() -> Result<(), Box<dyn Error>> {
    let mut words = env::args().skip(1);
    let (Some(state), Some(image)) = (words.next(), words.next()) else { return Err("STATE-FOLDER IMAGE".into()) };
    let (store, drivers, name) = (Store::open(state)?, drivers(), "example".parse::<MachineName>()?);
    let operations = Operations { store: &store, drivers: &drivers, observer: &Show };
    let text = format!("cloud-machine: {{image: {image}, resources: {{ram: 512MiB}}}}");
    let merged = merge(&[defaults(), parse(LayerKind::Project, "example", text.as_bytes())?])?;
    let config = validate(&merged)?;
    let (exceptions, options) = (Exceptions::default(), ReimageOptions::default());
    let described = Described { merged, config };
    let creation = Creation { described, drives: Vec::new(), exceptions, image_url: None, options, timeout: TIMEOUT };
    operations.check_creation(&creation)?;
    operations.create(&name, &creation)?;
    let required = Assurance::HostRooted;
    let (image, image_url, release, timeout) = (None, None, false, TIMEOUT);
    operations.reimage(&name, &Reimage { image, image_url, exceptions, options, required, release, timeout })?;
    let verified = operations.verify(&name, Verify { required, stored_only: false })?;
    println!("{} (does not cover: {})", verified.assurance, verified.does_not_cover);
    Ok(operations.delete(&name)?)
}
