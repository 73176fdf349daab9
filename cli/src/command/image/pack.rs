//! `image pack`: from a disk image to an installed image of the store. Must not decide what machines do with it.

use std::{
    fs::File,
    io::{BufWriter, Seek},
    path::Path,
    sync::Arc,
};

use cloud_machine_image::{Manifest, PackOptions, pack};
use cloud_machine_operation::{causes, signature};
use cloud_machine_packing::{facts, input::RawImage, signature::SecretKey};
use cloud_machine_protocol::{Extent, MAKERS};
use cloud_machine_store::{
    Captured, Content, ImageFacts, ImageName, ImageSource, InstalledImage, Replacement, SignatureRecord, Store,
};

use crate::{
    arguments::{Pack, Packing},
    command::image::{
        boot::{self, ModuleFolder},
        input,
        kernel::{self, Kernel},
        programs,
    },
    failure::{Failure, Kind},
    signing,
    ui::Ui,
};

/// An image that is now in the store.
pub(super) struct PackedImage {
    pub(super) manifest: Manifest,
    pub(super) signature: SignatureRecord,
    pub(super) facts: ImageFacts,
    pub(super) captured: Option<Captured>,
}

pub(super) fn pack_image(ui: &Ui, store: &Store, arguments: &Pack) -> Result<PackedImage, Failure> {
    let Pack { name, packing, input, .. } = arguments;
    pack_opened(ui, store, name, packing, input, |_| Ok((input::open(ui, store, arguments)?, None)))
}

/// Packs the disk that `open` gives, which is called `shown`, once all else is known to be there. `open` is told the agent.
pub(super) fn pack_opened(
    ui: &Ui,
    store: &Store,
    name: &ImageName,
    arguments: &Packing,
    shown: &Path,
    open: impl FnOnce(&[u8]) -> Result<(RawImage, Option<Captured>), Failure>,
) -> Result<PackedImage, Failure> {
    let allowed = Replacement { downgrade: arguments.allow_downgrade, replace: arguments.replace };
    // Before minutes of work; once more with the digest when it is known.
    store.check_generation(name, arguments.generation, None, allowed)?;
    let key = arguments.sign_key.as_deref().map(signing::secret_key).transpose()?;
    let agent = boot::agent(arguments.agent.as_deref())?;
    let programs = arguments.programs.as_deref().map(programs::read).transpose()?.unwrap_or_default();
    let initramfs = |modules: &dyn ModuleFolder| boot::initramfs(modules, &agent, &programs, &arguments.kernel_module);
    // What is on the host is checked before a disk is converted, what is in the image can only be checked then.
    let given = match (&arguments.kernel, &arguments.modules) {
        (Some(kernel), Some(modules)) => {
            boot::check_kernel(kernel)?;
            Some((Kernel::Given(kernel), initramfs(modules)?))
        }
        _ => None,
    };
    let (raw, captured) = open(&agent)?;
    let raw = Arc::new(raw);
    let (kernel, (release, initramfs)) = match given {
        Some(given) => given,
        None => {
            let own = kernel::own(ui, &raw, arguments, shown)?;
            let made = initramfs(&own)?;
            kernel::check_release(&own, &made.0)?;
            (Kernel::Own(own), made)
        }
    };
    let has = MAKERS.iter().filter(|(_, program)| programs.has(program));
    let makes: Vec<&str> = has.map(|(kind, _)| *kind).collect();
    let options = PackOptions {
        name: name.to_string(),
        generation: arguments.generation,
        kernel_release: release.clone(),
        root_partition: arguments.root_partition,
    };
    let (manifest, packed) = pack_file(ui, store, &raw, &options, shown)?;
    let facts = facts(ui, &raw, &manifest);
    let signature = key.as_ref().map(|key| sign(ui, &packed, key, &manifest, shown)).transpose()?;
    store.install_image(
        name,
        &ImageSource {
            packed: Content::Open(&packed),
            kernel: kernel.content(),
            initramfs: Content::Bytes(&initramfs),
            kernel_release: &release,
            agent: Content::Bytes(&agent),
            image: InstalledImage {
                generation: manifest.generation(),
                digest: manifest.digest(),
                manifest: Some(manifest.fingerprint()),
            },
            facts: Some(&facts),
            makes: &makes,
            captured: captured.as_ref(),
            signature: signature.as_ref().map(|text| Content::Bytes(text.as_bytes())),
        },
        allowed,
    )?;
    let record = key.map(|key| SignatureRecord::Verified { key: key.id().to_string() });
    Ok(PackedImage { manifest, signature: record.unwrap_or_default(), facts, captured })
}

/// What the image's system has. An image is none the worse for a root that this program cannot read: then the machine
/// finds out what it cannot do.
fn facts(ui: &Ui, raw: &Arc<RawImage>, manifest: &Manifest) -> ImageFacts {
    let root = manifest.root();
    let part = Extent { offset: root.offset, length: root.length };
    match facts::of_root(Arc::clone(raw), part, manifest.root_filesystem()) {
        Ok(facts) => ImageFacts::Known(facts),
        Err(error) => {
            let why = causes(&error);
            ui.note(&format!("what the system of {} has is not known: {why}", manifest.name()));
            ImageFacts::Unknown(why)
        }
    }
}

/// The signature of a packed file that has just been written.
fn sign(ui: &Ui, packed: &File, key: &SecretKey, manifest: &Manifest, shown: &Path) -> Result<String, Failure> {
    let mut packed = packed;
    packed.rewind().map_err(Failure::during(Kind::Failed, "read the packed image"))?;
    let progress = ui.progress(&format!("sign {}", manifest.name()));
    key.sign(packed, shown, manifest, &|done, total| progress.set(done, total))
        .map_err(|error| signature::failure(error).into())
}

/// Packs to a file without a name, of which nothing stays when the program ends.
fn pack_file(
    ui: &Ui,
    store: &Store,
    raw: &RawImage,
    options: &PackOptions,
    shown: &Path,
) -> Result<(Manifest, File), Failure> {
    let packed = tempfile::tempfile_in(store.root())
        .map_err(Failure::during(Kind::Failed, format!("make a file in {}", store.root().display())))?;
    let progress = ui.progress(&format!("pack {}", options.name));
    let mut sink = BufWriter::new(&packed);
    let manifest = pack(raw, &mut sink, options, &|done, total| progress.set(done, total));
    // A file that shrinks gives a read error, one that is written a wrong image; both are told as what they are.
    raw.unchanged().map_err(input::failure)?;
    let manifest = manifest.map_err(|error| input::unpackable(error, shown))?;
    drop(sink);
    Ok((manifest, packed))
}
