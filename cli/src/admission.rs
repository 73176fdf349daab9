//! Which images may go on a machine's disk: the host's rules on generation and signature, and what an operator set
//! aside of them. Must not touch a disk.

use std::path::Path;

use cloud_machine_driver::store::{ImageName, ImageRecord, MachineRecord, SignatureRecord, Store};
use cloud_machine_image::Manifest;
use cloud_machine_protocol::Exception;

use crate::{
    arguments::Exceptions,
    failure::{Failure, Kind},
    launch, signature,
    ui::Ui,
};

/// An image that may be used, and what of it is recorded.
pub(crate) struct Admitted {
    pub(crate) record: ImageRecord,
    pub(crate) manifest: Manifest,
}

/// Holds the image that is installed as `name` against the host's rules. A rule that an operator set aside is recorded
/// only when it would have refused the image.
pub(crate) fn admit(
    ui: &Ui,
    store: &Store,
    name: &ImageName,
    keys: &[String],
    allowed: Exceptions,
) -> Result<Admitted, Failure> {
    let folder = store.image(name)?;
    let (packed, manifest) = (folder.packed(), launch::installed(&folder)?);
    if manifest.name() != name.as_str() {
        let text = format!("image {name} calls itself {} in its manifest", manifest.name());
        return Err(Failure::new(Kind::Refused, text).hint("pack it again under the name that it shall have"));
    }
    let mut exceptions = Vec::new();
    let highest = highest(store, name, &manifest)?;
    if manifest.generation() < highest {
        if !allowed.allow_downgrade {
            return Err(too_low(name, &manifest, highest)
                .hint("--allow-downgrade takes it; better pack what should come back with a higher --generation"));
        }
        exceptions.push(Exception::Downgrade);
    }
    let signature = signature(ui, &packed, &manifest, keys, allowed.allow_unsigned)?;
    if matches!(signature, SignatureRecord::Allowed { .. }) {
        exceptions.push(Exception::Unsigned);
    }
    let record = ImageRecord {
        url: None,
        name: name.clone(),
        digest: manifest.digest(),
        size: manifest.size(),
        generation: manifest.generation(),
        exceptions,
        signature,
    };
    Ok(Admitted { record, manifest })
}

/// What is found of the image's signature; an error when `keys` ask for another one.
fn signature(
    ui: &Ui,
    packed: &Path,
    manifest: &Manifest,
    keys: &[String],
    allowed: bool,
) -> Result<SignatureRecord, Failure> {
    let keys = signature::keys(keys)?;
    if keys.is_empty() {
        return signature::unchecked(packed);
    }
    match signature::check(ui, packed, manifest.name(), manifest, &keys) {
        Err(failure) if matches!(failure.kind, Kind::Refused | Kind::Verification) => {
            if !allowed {
                return Err(failure.hint("--allow-unsigned takes the image as it is, which is recorded and reported"));
            }
            let reason = failure.causes().join(": ");
            ui.note(&format!("warning: {reason}; an operator allows it"));
            Ok(SignatureRecord::Allowed { reason })
        }
        checked => checked,
    }
}

/// The lowest generation that a request for this machine allows. It is below the highest that the host ever had only
/// when an operator allowed that for this machine.
pub(crate) fn minimum_generation(store: &Store, record: &MachineRecord, manifest: &Manifest) -> Result<u64, Failure> {
    let (name, machine) = (&record.image.name, &record.name);
    let highest = highest(store, name, manifest)?;
    if manifest.generation() >= highest {
        return Ok(highest);
    }
    if record.image.exceptions.contains(&Exception::Downgrade) {
        return Ok(manifest.generation());
    }
    Err(too_low(name, manifest, highest).hint(format!(
        "pack the image with a higher --generation, then `cloud-machine reimage {machine} --image {name}`; or \
         `cloud-machine reimage {machine} --allow-downgrade`"
    )))
}

fn highest(store: &Store, name: &ImageName, manifest: &Manifest) -> Result<u64, Failure> {
    Ok(store.highest_generation(name)?.map_or(manifest.generation(), |highest| highest.generation))
}

fn too_low(name: &ImageName, manifest: &Manifest, highest: u64) -> Failure {
    let generation = manifest.generation();
    let text = format!("image {name} is of generation {generation}, this host has had generation {highest} of it");
    Failure::new(Kind::Refused, text)
}
