//! `image pack|inspect|verify|list`: golden images and what machines are started with.

use std::{
    fs,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use cloud_machine_driver::{
    store::{self, Content, ImageName, ImageSource, Store},
    volume::pin,
};
use cloud_machine_image::{Manifest, PackOptions, pack, verify_packed};
use cloud_machine_initramfs as initramfs;
use comfy_table::{Table, presets::NOTHING};
use serde::Serialize;

use crate::{
    arguments::{Global, Image, Pack},
    failure::{Failure, Kind},
    launch,
    ui::{Show, Ui},
};

#[derive(Serialize)]
struct Inspected {
    name: String,
    digest: String,
    size: u64,
    data_bytes: u64,
    packed_bytes: u64,
    generation: u64,
    kernel_release: String,
    partitions: Vec<cloud_machine_image::Partition>,
    verified: bool,
}

impl Inspected {
    fn new(manifest: &Manifest, verified: bool) -> Self {
        Self {
            name: manifest.name().to_owned(),
            digest: manifest.digest().to_string(),
            size: manifest.size(),
            data_bytes: manifest.data_bytes(),
            packed_bytes: manifest.packed_bytes(),
            generation: manifest.generation(),
            kernel_release: manifest.kernel_release().to_owned(),
            partitions: manifest.partitions().to_vec(),
            verified,
        }
    }
}

impl Show for Inspected {
    const KIND: &'static str = "image";

    fn table(&self) -> String {
        let mut text = format!(
            "name         {}\ndigest       {}\nsize         {} bytes, {} of data\npacked       {} bytes\ngeneration   {}\nkernel       {}\n",
            self.name, self.digest, self.size, self.data_bytes, self.packed_bytes, self.generation, self.kernel_release
        );
        for partition in &self.partitions {
            text.push_str(&format!(
                "partition    {} {:8} {} bytes at {}\n",
                partition.number, partition.name, partition.length, partition.offset
            ));
        }
        if self.verified {
            text.push_str("verified     every block has its digest\n");
        }
        text
    }
}

#[derive(Serialize)]
struct Images {
    images: Vec<ImageRow>,
}

#[derive(Serialize)]
struct ImageRow {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kernel_release: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Show for Images {
    const KIND: &'static str = "image-list";

    fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(NOTHING).set_header(["NAME", "SIZE", "KERNEL", "DIGEST"]);
        for image in &self.images {
            match &image.error {
                Some(error) => table.add_row([image.name.clone(), format!("error: {error}")]),
                None => table.add_row([
                    image.name.clone(),
                    image.size.map(|size| size.to_string()).unwrap_or_default(),
                    image.kernel_release.clone().unwrap_or_default(),
                    image.digest.clone().unwrap_or_default(),
                ]),
            };
        }
        table.to_string()
    }
}

pub(crate) fn run(ui: &Ui, global: &Global, image: &Image) -> Result<(), Failure> {
    match image {
        Image::Pack(arguments) => {
            let manifest = pack_image(ui, &crate::open_store(global)?, arguments)?;
            ui.result(&Inspected::new(&manifest, false))
        }
        Image::Inspect { image } => {
            let manifest = launch::manifest(&packed_file(global, image)?)?;
            ui.result(&Inspected::new(&manifest, false))
        }
        Image::Verify { image } => {
            let path = packed_file(global, image)?;
            let manifest = launch::manifest(&path)?;
            let progress = ui.progress("verify");
            verify_packed(&manifest, &launch::open_blocks(&path)?, &|done, total| progress.set(done, total))
                .map_err(Failure::during(Kind::Verification, format!("verify {}", path.display())))?;
            drop(progress);
            ui.result(&Inspected::new(&manifest, true))
        }
        Image::List => list(ui, &crate::open_store(global)?),
    }
}

/// A name of the store, or a path when it has a slash or names a file.
fn packed_file(global: &Global, image: &str) -> Result<PathBuf, Failure> {
    let path = Path::new(image);
    if image.contains('/') || path.is_file() {
        return Ok(path.to_owned());
    }
    let name: ImageName = image.parse().map_err(Failure::failed)?;
    Ok(crate::open_store(global)?.image(&name)?.packed())
}

fn list(ui: &Ui, store: &Store) -> Result<(), Failure> {
    let row = |name: String, error: Failure| ImageRow {
        name,
        digest: None,
        size: None,
        kernel_release: None,
        error: Some(error.causes().join(": ")),
    };
    let mut images = Vec::new();
    for store::ImageRow { name, image, .. } in store.list_images()? {
        let manifest = image.map_err(Failure::from).and_then(|folder| launch::manifest(&folder.packed()));
        images.push(match manifest {
            Ok(manifest) => ImageRow {
                name,
                digest: Some(manifest.digest().to_string()),
                size: Some(manifest.size()),
                kernel_release: Some(manifest.kernel_release().to_owned()),
                error: None,
            },
            Err(failure) => row(name, failure),
        });
    }
    ui.result(&Images { images })
}

fn pack_image(ui: &Ui, store: &Store, arguments: &Pack) -> Result<Manifest, Failure> {
    let name: ImageName = arguments.name.parse().map_err(Failure::failed)?;
    let agent = read(&agent_path(arguments)?)?;
    let (release, initramfs) = build_initramfs(&arguments.modules, &agent)?;
    let raw = launch::open_blocks(&arguments.raw)?;
    let options = PackOptions {
        name: name.to_string(),
        generation: arguments.generation,
        kernel_release: release.clone(),
        root_partition: None,
    };
    let packed = tempfile::NamedTempFile::new_in(store.root()).map_err(Failure::during(Kind::Failed, "make a file"))?;
    let progress = ui.progress(&format!("pack {name}"));
    let mut sink = BufWriter::new(packed.as_file());
    let manifest = pack(&raw, &mut sink, &options, &|done, total| progress.set(done, total))
        .map_err(Failure::during(Kind::Failed, format!("pack {}", arguments.raw.display())))?;
    sink.flush().map_err(Failure::during(Kind::Failed, "write the packed image"))?;
    drop(sink);
    drop(progress);
    store.install_image(
        &name,
        &ImageSource {
            packed: Content::File(packed.path()),
            kernel: Content::File(&arguments.kernel),
            initramfs: Content::Bytes(&initramfs),
            kernel_release: &release,
            agent: pin(&agent),
        },
    )?;
    Ok(manifest)
}

/// The agent: `--agent`, or beside this program.
fn agent_path(arguments: &Pack) -> Result<PathBuf, Failure> {
    if let Some(path) = &arguments.agent {
        return Ok(path.clone());
    }
    let own = std::env::current_exe().map_err(Failure::during(Kind::Failed, "find this program"))?;
    let beside = own.with_file_name("cloud-machine-agent");
    if beside.is_file() {
        Ok(beside)
    } else {
        Err(Failure::new(Kind::NotFound, format!("there is no agent {}", beside.display()))
            .hint("`make build` builds it; give it with --agent"))
    }
}

/// The modules that the agent needs, in load order, and the initramfs with them.
fn build_initramfs(folder: &Path, agent: &[u8]) -> Result<(String, Vec<u8>), Failure> {
    let text = |name: &str| read(&folder.join(name)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let (dependencies, builtin) = (text("modules.dep")?, text("modules.builtin")?);
    let (mut wanted, mut modules) = (Vec::new(), Vec::new());
    for stage in initramfs::Stage::ALL {
        // The order of all stages so far begins with that of the stages before.
        wanted.extend(initramfs::wanted_modules(stage));
        let order = initramfs::load_order(&dependencies, &builtin, &wanted)
            .map_err(Failure::during(Kind::Failed, format!("choose modules of {}", folder.display())))?;
        for path in order.into_iter().skip(modules.len()) {
            let bytes = read(&folder.join(&path))?;
            let name = path.rsplit('/').next().unwrap_or(&path).to_owned();
            modules.push(initramfs::Module { stage, name, bytes });
        }
    }
    let release = kernel_release(&modules)
        .ok_or_else(|| Failure::failed(format!("the modules of {} are not of one kernel", folder.display())))?;
    let bytes = initramfs::build(agent, &modules).map_err(Failure::during(Kind::Failed, "build the initramfs"))?;
    Ok((release, bytes))
}

/// The release for which all modules were built, from their `vermagic` (linux/vermagic.h).
fn kernel_release(modules: &[initramfs::Module]) -> Option<String> {
    const KEY: &[u8] = b"\0vermagic=";
    let release = |module: &initramfs::Module| {
        let at = module.bytes.windows(KEY.len()).position(|window| window == KEY)? + KEY.len();
        let value = module.bytes.get(at..)?;
        let end = value.iter().position(|byte| matches!(byte, b' ' | 0))?;
        String::from_utf8(value.get(..end)?.to_vec()).ok()
    };
    let first = release(modules.first()?)?;
    modules.iter().all(|module| release(module).as_ref() == Some(&first)).then_some(first)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| {
        let kind = if error.kind() == std::io::ErrorKind::NotFound { Kind::NotFound } else { Kind::Failed };
        Failure::during(kind, format!("read {}", path.display()))(error)
    })
}
