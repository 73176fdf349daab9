//! A reimage that is a fresh overlay on a golden disk, as the driver makes it, against QEMU's own program for one.

use std::path::{Path, PathBuf};

use cloud_machine_driver::qemu::disk::new_overlay;
use cloud_machine_operation::installed;
use cloud_machine_packing::golden::{self, Checked, Compare};
use cloud_machine_store::{ImageName, Store};

use super::measure::{self, Ratio, Subject};

/// Pairs of calls.
const PAIRS: usize = 61;

/// Makes sure that the golden disk of the image `name` is in the store `state`, and a fresh `overlay` on it. Gives the golden disk.
///
/// # Errors
/// A text, when any of it fails; and when the disk is compared in whole although that was not asked for.
pub fn fresh(state: &Path, name: &str, overlay: &Path) -> Result<PathBuf, String> {
    let text = |error: &dyn std::error::Error| error.to_string();
    let store = Store::open(state.to_owned()).map_err(|error| text(&error))?;
    let name: ImageName = name.parse().map_err(|error| format!("{name}: {error}"))?;
    let image = store.image(&name).map_err(|error| text(&error))?;
    let manifest = installed::manifest(&image).map_err(|error| text(&error))?;
    let golden = store.golden(&manifest.digest(), manifest.size());
    let checked =
        golden::ensure(&store, &golden, manifest.size(), &manifest, &image.packed(), Compare::IfChanged, &|_, _| {});
    if checked.map_err(|error| text(&error))? == Checked::Compared {
        return Err(format!("{} has changed since it was made", golden.disk().display()));
    }
    new_overlay(overlay, &golden.disk(), manifest.size()).map_err(|error| text(&error))?;
    Ok(golden.disk())
}

/// The two in turns. `ours` is a call of a program that does no more than [`fresh`] with the same arguments.
///
/// # Errors
/// As [`fresh`], and as [`measure::compare`].
pub fn compare(ours: &Subject, state: &Path, name: &str, scratch: &Path) -> Result<Ratio, String> {
    let overlay = scratch.join("overlay");
    let golden = fresh(state, name, &overlay)?;
    let ours = ours.clone().arguments([state, Path::new(name), &overlay]);
    let peer = Subject::new("qemu-img", scratch)
        .arguments(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
        .arguments([&golden, &scratch.join("overlay.peer")]);
    measure::compare(&ours, &peer, PAIRS)
}
