//! `image pack|capture|bake|inspect|verify|write|sign|uki|measure|list|delete`: golden images and what machines are started with. Owns which command does
//! what; must not do it.

mod bake;
mod boot;
mod capture;
mod compare;
mod delete;
mod facts;
mod input;
mod inspect;
mod kernel;
mod list;
mod pack;
mod programs;
mod sign;
mod touched;
mod uki;
mod write;

use cloud_machine_image::verify_packed;
use cloud_machine_operation::{Operation, Teller, installed::unreadable, signature};
use cloud_machine_store::SignatureRecord;
use inspect::Inspected;

use crate::{
    arguments::{Global, Image},
    failure::{Failure, Kind},
    screen::Screen,
    source::{self, Packed},
    ui::Ui,
};

pub(crate) fn run(ui: &Ui, global: &Global, image: &Image) -> Result<(), Failure> {
    match image {
        Image::Pack(arguments) => {
            ui.result(&Inspected::packed(pack::pack_image(ui, &crate::state::open_store(global)?, arguments)?))
        }
        Image::Capture(arguments) => {
            ui.result(&Inspected::packed(capture::run(ui, &crate::state::open_store(global)?, arguments)?))
        }
        Image::Bake(arguments) => ui.result(&bake::run(ui, arguments)?),
        Image::Inspect(source) => {
            let packed = source::open(ui, global, source)?;
            let signature = signed(ui, &packed, &[])?;
            ui.result(&Inspected::new(&packed.manifest, &signature, false).with(packed.facts, packed.captured))
        }
        Image::Sign { image, key } => {
            let (manifest, signature) = sign::sign(ui, global, image, &key.sign_key)?;
            ui.result(&Inspected::new(&manifest, &signature, false))
        }
        Image::Verify { source, disk: Some(disk), threads, key } => {
            let packed = source::open(ui, global, source)?;
            signed(ui, &packed, key)?;
            compare::run(ui, &packed.manifest, &*packed.blocks, disk, threads.get())
        }
        Image::Write(arguments) => {
            let packed = source::open_to_write(ui, global, &arguments.source)?;
            signed(ui, &packed, &arguments.key)?;
            write::run(ui, &packed.manifest, &*packed.blocks, arguments)
        }
        Image::Verify { source, disk: None, key, .. } => {
            let packed = source::open(ui, global, source)?;
            let signature = signed(ui, &packed, key)?;
            let Packed { shown, blocks, manifest, facts, captured, .. } = packed;
            let progress = ui.progress("verify");
            verify_packed(&manifest, &*blocks, &|done, total| progress.set(done, total))
                .map_err(|error| unreadable(error, format!("verify {shown}")))?;
            drop(progress);
            ui.result(&Inspected::new(&manifest, &signature, true).with(facts, captured))
        }
        Image::Uki(arguments) => uki::build(ui, global, arguments),
        Image::Measure { file } => uki::measure(ui, file),
        Image::List => list::list(ui, &crate::state::open_to_list(ui, global)?),
        Image::Delete { name, yes } => delete::delete(ui, &crate::state::open_existing(global)?, name, *yes),
    }
}

/// What is known of the signature; checked when there are keys to hold it against.
fn signed(ui: &Ui, packed: &Packed, keys: &[String]) -> Result<SignatureRecord, Failure> {
    let keys = signature::keys(keys)?;
    match (&packed.path, keys.is_empty()) {
        (Some(path), true) => Ok(signature::unchecked(path)?),
        (Some(path), false) => {
            let screen = Screen::new(ui);
            let teller = Teller::of_none(&screen, Operation::Image);
            Ok(signature::check(teller, path, &packed.shown, &packed.manifest, &keys)?)
        }
        // Nobody looked whether there is one.
        (None, true) => Ok(SignatureRecord::None),
        (None, false) => {
            let text = "a signature is about the whole file, and from an address only parts of it are fetched";
            Err(Failure::new(Kind::Usage, text)
                .hint("download the image and its .minisig, or give the digest of an image that you have verified"))
        }
    }
}
