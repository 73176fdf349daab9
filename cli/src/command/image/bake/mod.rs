//! `image bake`: puts the agent into a disk image that somebody has. Owns the copy that a machine works on and the step that puts it in
//! place; must not mount anything on this host.

mod files;
mod machine;
mod words;

use std::{
    cell::RefCell,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use cloud_machine_config::Policy;
use cloud_machine_disk::lock;
use cloud_machine_image::{ImageError, find_partitions};
use cloud_machine_packing::input::{Input, Phase, RawImage};
use cloud_machine_protocol::escape;
use serde::Serialize;

use crate::{
    arguments::Bake,
    command::image::{
        boot::{self, MAX_PART, ModuleFolder},
        input,
        kernel::{self, GIVE},
    },
    failure::{Failure, Kind},
    ui::{Progress, Show, Ui},
};
use files::Own;
use words::Words;

/// What was done to an image.
#[derive(Debug, Serialize)]
pub(super) struct Baked {
    /// The file.
    image: PathBuf,
    /// The partition with its root.
    root: String,
    generator: String,
    /// `given`, `image` for the one that it had, or `default`.
    policy: String,
    /// Whether it had an agent before.
    replaced: bool,
    initramfs: Vec<Made>,
}

/// An initramfs.
#[derive(Debug, Serialize)]
struct Made {
    path: String,
    bytes: u64,
}

/// Bakes, and gives what was done.
pub(super) fn run(ui: &Ui, arguments: &Bake) -> Result<Baked, Failure> {
    let disk = fs::canonicalize(&arguments.disk).map_err(|error| unopened(&arguments.disk, error))?;
    let target = target(arguments, &disk)?;
    let folder = target.parent().unwrap_or(Path::new("/"));
    let own = own(arguments)?;
    if let Some(kernel) = &arguments.kernel {
        boot::check_kernel(kernel)?;
    }
    let programs = files::folder(arguments, &own)?;
    let initramfs = |modules: &dyn ModuleFolder| boot::initramfs_for_filesystems(modules, &own.agent, &programs);
    // What is given is looked at before the copy, which may take minutes.
    let given = match (&arguments.kernel, &arguments.modules) {
        (Some(kernel), Some(modules)) => Some((boot::read(kernel, MAX_PART)?, initramfs(modules)?.1)),
        _ => None,
    };
    let image = open(&disk, arguments.to.is_some())?;
    let shown: RefCell<Option<(Phase, Progress)>> = RefCell::new(None);
    let progress = |phase, done, total| {
        let mut shown = shown.borrow_mut();
        if shown.as_ref().is_none_or(|(current, _)| *current != phase) {
            // One bar at a time.
            *shown = None;
            *shown = Some((phase, ui.progress(&format!("{} {}", input::verb(phase), arguments.disk.display()))));
        }
        if let Some((_, progress)) = &*shown {
            progress.set(done, total);
        }
    };
    let copies =
        Input { folder, format: None, max_size: u64::MAX, qemu_img: Path::new("qemu-img"), progress: &progress };
    let (copy, format) = copies.copy(&disk).map_err(|error| full(input::failure(error), folder))?;
    shown.replace(None);
    let copy = Arc::new(copy);
    let (kernel, initramfs) = match given {
        Some(given) => given,
        None => own_kernel(ui, arguments, &copy, initramfs)?,
    };
    let files = machine::Files::new(folder, &kernel, &initramfs)?;
    let words = machine::run(ui, arguments, &files, &copy, folder)?;
    image.unchanged().map_err(input::failure)?;
    let like = fs::metadata(&disk).map_err(|error| unopened(&disk, error))?;
    let baked = copy.again().map_err(input::failure)?;
    copies.put(baked, format, &target, &like).map_err(|error| full(input::failure(error), folder))?;
    Ok(Baked::new(target, words, own.policy.is_some()))
}

/// What the image gets.
fn own(arguments: &Bake) -> Result<Own, Failure> {
    let policy = arguments.policy.as_deref().map(policy).transpose()?;
    let agent = boot::agent(arguments.agent.as_deref())?;
    let program = |path: &Option<PathBuf>, name, mark, option| {
        path.as_deref().map(|path| boot::of_the_system(path, name, mark, option)).transpose()
    };
    let usage = "usage: cloud-machine-recovery";
    let stager = program(&arguments.stager, "the program cloud-machine-recovery", usage, "--stager")?;
    let bus_name = "org.cloud_machine.Agent1";
    let service = program(&arguments.service, "the service cloud-machine-agentd", bus_name, "--service")?;
    Ok(Own { agent, stager, service, policy })
}

/// The file that is written in the end.
fn target(arguments: &Bake, disk: &Path) -> Result<PathBuf, Failure> {
    let Some(output) = &arguments.to else { return Ok(disk.to_owned()) };
    if fs::symlink_metadata(output).is_ok() {
        return Err(Failure::new(Kind::Refused, format!("{} is there already", output.display()))
            .hint("give --to a new name, or leave it out to change the image in place"));
    }
    std::path::absolute(output).map_err(|error| unopened(output, error))
}

/// The image as it is now, which nobody else uses, or nobody writes where it is `only_read`: machines may stand on a golden image.
fn open(disk: &Path, only_read: bool) -> Result<RawImage, Failure> {
    let file = File::open(disk).map_err(|error| unopened(disk, error))?;
    let is_file = file.metadata().map_err(|error| unopened(disk, error))?.is_file();
    let in_use = if only_read { lock::is_written } else { lock::is_locked };
    if is_file && in_use(&file).map_err(|error| unopened(disk, error))? {
        return Err(Failure::new(Kind::Locked, format!("{} is in use", disk.display()))
            .hint("a machine that runs may have it: stop it, then try again"));
    }
    RawImage::of(file, disk.display().to_string()).map_err(input::failure)
}

/// A policy that the agent will take.
fn policy(path: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = boot::read(path, MAX_PART)?;
    Policy::parse(&path.display().to_string(), &bytes).map_err(|errors| {
        // They begin with the word that a failure begins with.
        let text = errors.to_string();
        let text = text.strip_prefix("error: ").unwrap_or(&text).to_owned();
        Failure::new(Kind::Refused, text)
            .hint("see cloud-machine-agent.yaml(5), docs/reference/agent-policy.md, for its keys")
    })?;
    Ok(bytes)
}

/// The kernel of the image, for the machine that bakes, and an initramfs with its modules.
fn own_kernel(
    ui: &Ui,
    arguments: &Bake,
    copy: &Arc<RawImage>,
    initramfs: impl Fn(&dyn ModuleFolder) -> Result<(String, Vec<u8>), Failure>,
) -> Result<(Vec<u8>, Vec<u8>), Failure> {
    let (partitions, root) = find_partitions(&**copy, arguments.root_partition).map_err(|error| {
        let disk = arguments.disk.display();
        let (what, hint) = match &error {
            ImageError::TableAbsent => (
                format!("tell what {disk} holds"),
                format!("a disk image with a GPT is wanted; of a disk with a root and without a GPT, {GIVE}"),
            ),
            _ => (format!("find the kernel of {disk}"), format!("a kernel is looked for by GPT and on ext4; {GIVE}")),
        };
        Failure::during(Kind::Failed, what)(error).hint(hint)
    })?;
    let release = arguments.kernel_release.as_deref();
    let own = kernel::of_partitions(ui, copy, (&partitions, root), release, "the machine that bakes starts")?;
    let (release, initramfs) = initramfs(&own)?;
    kernel::check_release(&own, &release)?;
    Ok((own.bytes, initramfs))
}

fn unopened(path: &Path, error: io::Error) -> Failure {
    let kind = if error.kind() == io::ErrorKind::NotFound { Kind::NotFound } else { Kind::Failed };
    Failure::during(kind, format!("open {}", path.display()))(error)
}

/// The way out of a full disk, which here is that of the image.
fn full(mut failure: Failure, folder: &Path) -> Failure {
    for hint in &mut failure.hints {
        if hint == input::FULL {
            *hint = format!("nothing is left of it; make space in {}, for a copy of the image", folder.display());
        }
    }
    failure
}

impl Baked {
    fn new(image: PathBuf, words: Words, given: bool) -> Self {
        Self {
            image,
            root: words.root,
            generator: words.generator,
            policy: if given { "given".to_owned() } else { words.policy },
            replaced: words.replaced,
            initramfs: words.made.into_iter().map(|(bytes, path)| Made { path, bytes }).collect(),
        }
    }
}

impl Show for Baked {
    const KIND: &'static str = "image-baked";

    fn table(&self) -> String {
        let agent = if self.replaced { "replaced" } else { "new" };
        let policy = match self.policy.as_str() {
            "given" => "as given",
            "image" => "as the image had it",
            _ => "none: without a volume a boot changes nothing",
        };
        let mut lines = vec![
            ("image", self.image.display().to_string()),
            ("root", self.root.clone()),
            ("generator", self.generator.clone()),
            ("agent", agent.to_owned()),
            ("policy", policy.to_owned()),
        ];
        lines.extend(self.initramfs.iter().map(|made| ("initramfs", format!("{} ({} bytes)", made.path, made.bytes))));
        lines.iter().map(|(name, value)| format!("{name:12} {}\n", escape::line(value.as_bytes(), 400))).collect()
    }
}
