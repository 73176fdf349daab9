//! Which images may go on a machine's disk: the host's rules on generation and signature, and what an operator set
//! aside of them. Must not touch a disk.

use std::path::Path;

use cloud_machine_config::{Presence, Programs, can_be_done, can_be_made};
use cloud_machine_image::Manifest;
use cloud_machine_protocol::Exception;
use cloud_machine_store::{ImageFacts, ImageFolder, ImageName, ImageRecord, MachineRecord, SignatureRecord, Store};

use crate::{
    described::{Described, refused},
    error::{ErrorKind, OperationError},
    event::Notice,
    hint::Hint,
    installed, signature,
    teller::Teller,
};

/// What an operator sets aside of the rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exceptions {
    /// An image of a lower generation than this host has had.
    pub allow_downgrade: bool,
    /// An image that none of the required keys signed.
    pub allow_unsigned: bool,
}

/// An image that may be used, and what of it is recorded.
pub(crate) struct Admitted {
    pub(crate) record: ImageRecord,
    pub(crate) manifest: Manifest,
}

/// Holds the image that is installed as `name` against what was described and the host's rules. A rule that an operator set aside is recorded
/// only when it would have refused the image.
pub(crate) fn admit(
    teller: Teller<'_>,
    store: &Store,
    name: &ImageName,
    described: &Described,
    allowed: Exceptions,
) -> Result<Admitted, OperationError> {
    let folder = store.image(name)?;
    can_honour(&folder, described)?;
    let (packed, manifest) = (folder.packed(), installed::manifest(&folder)?);
    if manifest.name() != name.as_str() {
        let text = format!("image {name} calls itself {} in its manifest", manifest.name());
        return Err(OperationError::new(ErrorKind::Refused, text).hint(Hint::PackUnderItsName));
    }
    let mut exceptions = Vec::new();
    let highest = highest(store, name, &manifest)?;
    if manifest.generation() < highest {
        if !allowed.allow_downgrade {
            return Err(too_low(name, &manifest, highest).hint(Hint::AllowDowngrade));
        }
        exceptions.push(Exception::Downgrade);
    }
    let signature = signature(teller, &packed, &manifest, &described.config.image_keys, allowed.allow_unsigned)?;
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

/// Refuses an image of which it is known that its system cannot be what was described. Of another one the machine finds out.
pub(crate) fn can_honour(folder: &ImageFolder, described: &Described) -> Result<(), OperationError> {
    let (merged, disks) = (&described.merged, &described.config.resources.disks);
    if let Some(makes) = &folder.boot.makes {
        can_be_made(merged, disks, makes).map_err(refused)?;
    }
    let Some(ImageFacts::Known(facts)) = &folder.boot.facts else { return Ok(()) };
    let rancher = |name: &str| {
        facts.rancher.as_ref().map_or(Presence::Unknown, |found| found.iter().any(|one| one == name).into())
    };
    let programs = Programs {
        cloud_init: facts.cloud_init.is_some().into(),
        docker: facts.docker.is_some().into(),
        k3s: rancher("k3s"),
        rke2: rancher("rke2"),
    };
    can_be_done(merged, disks, programs).map_err(refused)
}

/// What is found of the image's signature; an error when `keys` ask for another one.
fn signature(
    teller: Teller<'_>,
    packed: &Path,
    manifest: &Manifest,
    keys: &[String],
    allowed: bool,
) -> Result<SignatureRecord, OperationError> {
    let keys = signature::keys(keys)?;
    if keys.is_empty() {
        return signature::unchecked(packed);
    }
    match signature::check(teller, packed, manifest.name(), manifest, &keys) {
        Err(failure) if matches!(failure.kind, ErrorKind::Refused | ErrorKind::Verification) => {
            if !allowed {
                return Err(failure.hint(Hint::AllowUnsigned));
            }
            let reason = failure.line();
            teller.notice(Notice::AllowedImage(reason.clone()));
            Ok(SignatureRecord::Allowed { reason })
        }
        checked => checked,
    }
}

/// The lowest generation that a request for this machine allows. It is below the highest that the host ever had only
/// when an operator allowed that for this machine.
pub(crate) fn minimum_generation(
    store: &Store,
    record: &MachineRecord,
    manifest: &Manifest,
) -> Result<u64, OperationError> {
    let (name, machine) = (&record.image.name, &record.name);
    let highest = highest(store, name, manifest)?;
    if manifest.generation() >= highest {
        return Ok(highest);
    }
    if record.image.exceptions.contains(&Exception::Downgrade) {
        return Ok(manifest.generation());
    }
    Err(too_low(name, manifest, highest).hint(Hint::AllowDowngradeOf { machine: machine.clone(), image: name.clone() }))
}

fn highest(store: &Store, name: &ImageName, manifest: &Manifest) -> Result<u64, OperationError> {
    Ok(store.highest_generation(name)?.map_or(manifest.generation(), |highest| highest.generation))
}

fn too_low(name: &ImageName, manifest: &Manifest, highest: u64) -> OperationError {
    let generation = manifest.generation();
    let text = format!("image {name} is of generation {generation}, this host has had generation {highest} of it");
    OperationError::new(ErrorKind::Refused, text)
}
