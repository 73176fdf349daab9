//! The kernel that a disk image has itself, with its modules: found and read in the image's ext4 filesystems. Owns where is
//! looked and which of several kernels is taken; must not judge what a module does.

use std::sync::Arc;

use cloud_machine_image::{Partition, ReadBlocks};
use cloud_machine_protocol::{Extent, escape};
use ext4_view::Ext4Error;

use crate::{
    filesystem::{Filesystem, Unreadable},
    release::{by_version, is_release, stated_release},
};

/// Most bytes of a kernel.
const MAX_KERNEL: u64 = 256 << 20;
/// Bytes of a kernel in which its header and nearly always its release lie.
const HEAD: u64 = 64 << 10;
/// Most kernels that are looked at in one folder.
const MAX_KERNELS: usize = 64;
/// Type of a partition that is mounted at /boot (Discoverable Partitions Specification, XBOOTLDR).
const BOOT_TYPE: &str = "bc13c2ff-59e6-4262-a352-b275fd6f7172";
const MODULES: [&str; 2] = ["/usr/lib/modules", "/lib/modules"];
const PREFIX: &str = "vmlinuz-";

/// Why an image gives no kernel.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// Nowhere is one.
    #[error("cannot find a kernel in the image: there is none at {looked}")]
    Absent {
        /// All places, as a list.
        looked: String,
    },
    /// There are others than the one that was asked for.
    #[error("cannot find kernel {wanted} in the image: it has {found}")]
    OtherRelease {
        /// Its release.
        wanted: String,
        /// Those that are there, as a list.
        found: String,
    },
    /// No kernel has a folder of modules, or not the one that is meant.
    #[error("cannot take {kernel}: the image has no modules for it, no folder /usr/lib/modules/{release}")]
    NoModules {
        /// The kernel.
        kernel: String,
        /// Its release.
        release: String,
    },
    /// What is called one is none that QEMU starts.
    #[error("cannot take {kernel}: it is no kernel, since it has no header of a bzImage")]
    NoKernel {
        /// The file.
        kernel: String,
    },
    /// A file is not there, such as a module that the list of modules names.
    #[error("cannot read {path}: there is no such file")]
    NoFile {
        /// The file.
        path: String,
    },
    /// A file is larger than it may be.
    #[error("cannot take {path}: it has more than {most} bytes")]
    TooLarge {
        /// The file.
        path: String,
        /// The limit.
        most: u64,
    },
    /// A filesystem, or a file in it, cannot be read.
    #[error("cannot read {path} of partition {partition}")]
    Read {
        /// Which file; `/` for the filesystem itself.
        path: String,
        /// Number of the partition.
        partition: u32,
        /// What is wrong.
        #[source]
        source: Ext4Error,
    },
}

/// A kernel with what it loads.
pub struct OwnKernel {
    /// Its release, as `uname -r` prints it.
    pub release: String,
    /// The file with its partition, for people.
    pub place: String,
    /// Releases of the others that could have been taken.
    pub others: Vec<String>,
    /// The kernel.
    pub bytes: Vec<u8>,
    root: Volume,
    folder: String,
}

impl OwnKernel {
    /// The folder of its modules, or the file at `path` below it, with the partition, for people.
    #[must_use]
    pub fn modules(&self, path: &str) -> String {
        self.root.place(format!("{}/{path}", self.folder).trim_end_matches('/'))
    }

    /// A file below the folder of its modules, `most` bytes at most.
    ///
    /// # Errors
    /// [`KernelError::NoFile`], [`KernelError::TooLarge`], [`KernelError::Read`].
    pub fn module_file(&self, path: &str, most: u64) -> Result<Vec<u8>, KernelError> {
        self.root.read(&format!("{}/{path}", self.folder), most)
    }
}

/// Finds the kernel of release `wanted`, or else the one that the image would boot, as far as links and releases tell.
///
/// Kernels are looked for on boot partitions, in /boot of the root, beside their modules, and on all other partitions with
/// ext4, and taken from the first of these places that has some with modules. Of several it is the one to which `vmlinuz`
/// leads, or else the newest. `root` is the number of the root's partition.
///
/// # Errors
/// A [`KernelError`]: what cannot be read is not the same as what is not there.
pub fn find<R: ReadBlocks + Send + Sync + 'static>(
    raw: &Arc<R>,
    partitions: &[Partition],
    root: u32,
    wanted: Option<&str>,
) -> Result<OwnKernel, KernelError> {
    let is_boot =
        |partition: &&Partition| partition.type_guid == BOOT_TYPE || partition.name.eq_ignore_ascii_case("boot");
    let (own, rest): (Vec<_>, Vec<_>) = partitions.iter().partition(|partition| partition.number == root);
    let own = own.first().ok_or_else(|| KernelError::Absent { looked: format!("partition {root}") })?;
    let (boot, other): (Vec<_>, Vec<_>) = rest.into_iter().partition(is_boot);
    let mut search = Search { root: Volume::open(raw, own)?, wanted, looked: Vec::new(), without: Vec::new() };
    let mut taken = search.on_partitions(raw, &boot)?;
    if taken.is_none() {
        taken = search.in_root()?;
    }
    if taken.is_none() {
        taken = search.on_partitions(raw, &other)?;
    }
    match taken {
        Some(taken) => taken.read(search.root),
        None => Err(search.failure()),
    }
}

/// A filesystem and the partition it is in.
struct Volume {
    filesystem: Filesystem,
    partition: u32,
    name: String,
}

impl Volume {
    fn open<R: ReadBlocks + Send + Sync + 'static>(raw: &Arc<R>, part: &Partition) -> Result<Self, KernelError> {
        let extent = Extent { offset: part.offset, length: part.length };
        let partition = part.number;
        let filesystem = Filesystem::open(Arc::clone(raw), extent).map_err(|error| unreadable(error, partition))?;
        Ok(Self { filesystem, partition, name: escape::line(part.name.as_bytes(), 40) })
    }

    /// A path with the partition, for people.
    fn place(&self, path: &str) -> String {
        let name = if self.name.is_empty() { String::new() } else { format!(" ({})", self.name) };
        format!("{} of partition {}{name}", escape::line(path.as_bytes(), 200), self.partition)
    }

    fn ask<T>(&self, ask: impl FnOnce(&Filesystem) -> Result<T, Unreadable>) -> Result<T, KernelError> {
        ask(&self.filesystem).map_err(|error| unreadable(error, self.partition))
    }

    fn read(&self, path: &str, most: u64) -> Result<Vec<u8>, KernelError> {
        let bytes = self.ask(|files| files.read(path, most))?;
        let bytes = bytes.ok_or_else(|| KernelError::NoFile { path: self.place(path) })?;
        if bytes.len() as u64 > most {
            return Err(KernelError::TooLarge { path: self.place(path), most });
        }
        Ok(bytes)
    }

    fn names(&self, folder: &str) -> Result<Vec<String>, KernelError> {
        self.ask(|files| files.names(folder))
    }

    /// The folder of the modules of a release.
    fn modules(&self, release: &str) -> Result<Option<String>, KernelError> {
        for folder in MODULES {
            let folder = format!("{folder}/{release}");
            if self.ask(|files| files.is_file(&format!("{folder}/modules.dep")))? {
                return Ok(Some(folder));
            }
        }
        Ok(None)
    }

    /// Kernels in a folder, by the names that distributions give them.
    fn kernels(&self, folder: &str) -> Result<Vec<Found>, KernelError> {
        let mut names = self.names(folder)?;
        names.retain(|name| name.strip_prefix(PREFIX).is_some_and(is_release));
        names.sort_unstable();
        names.truncate(MAX_KERNELS);
        let mut kernels = Vec::new();
        for name in names {
            let path = format!("{}/{name}", folder.trim_end_matches('/'));
            let named = name.strip_prefix(PREFIX).unwrap_or_default();
            kernels.extend(self.kernel(path, named)?);
        }
        Ok(kernels)
    }

    /// The kernel at `path`, where there is a file.
    fn kernel(&self, path: String, named: &str) -> Result<Option<Found>, KernelError> {
        if !self.ask(|files| files.is_file(&path))? {
            return Ok(None);
        }
        let head = self.ask(|files| files.read(&path, HEAD))?.unwrap_or_default();
        let release = stated_release(&head).unwrap_or_else(|| named.to_owned());
        Ok(Some(Found { place: self.place(&path), path, release }))
    }
}

/// A kernel that was found.
struct Found {
    path: String,
    place: String,
    release: String,
}

/// The one that is taken.
struct Taken {
    kernel: Found,
    /// Where it is; `None` for the root.
    volume: Option<Volume>,
    folder: String,
    others: Vec<String>,
}

impl Taken {
    fn read(self, root: Volume) -> Result<OwnKernel, KernelError> {
        let Self { kernel: Found { path, place, release }, volume, folder, others } = self;
        let bytes = volume.as_ref().unwrap_or(&root).read(&path, MAX_KERNEL)?;
        if bytes.get(0x202..0x206) != Some(b"HdrS".as_slice()) {
            return Err(KernelError::NoKernel { kernel: place });
        }
        Ok(OwnKernel { release, place, others, bytes, root, folder })
    }
}

/// A search, with all that it looked at.
struct Search<'a> {
    root: Volume,
    wanted: Option<&'a str>,
    looked: Vec<String>,
    /// Kernels that were not taken: without modules, or of another release.
    without: Vec<Found>,
}

impl Search<'_> {
    /// On partitions with ext4, in their topmost folder.
    fn on_partitions<R: ReadBlocks + Send + Sync + 'static>(
        &mut self,
        raw: &Arc<R>,
        partitions: &[&Partition],
    ) -> Result<Option<Taken>, KernelError> {
        for partition in partitions {
            if !is_ext4(&**raw, partition) {
                continue;
            }
            let volume = Volume::open(raw, partition)?;
            self.looked.push(volume.place("/vmlinuz-*"));
            let kernels = volume.kernels("/")?;
            let mut links = Vec::new();
            links.extend(volume.ask(|files| files.link("/vmlinuz"))?);
            links.extend(self.root.ask(|files| files.link("/vmlinuz"))?);
            if let Some(taken) = self.choose(kernels, &links)? {
                return Ok(Some(Taken { volume: Some(volume), ..taken }));
            }
        }
        Ok(None)
    }

    /// In /boot of the root, then beside the modules.
    fn in_root(&mut self) -> Result<Option<Taken>, KernelError> {
        self.looked.push(self.root.place("/boot/vmlinuz-*"));
        let kernels = self.root.kernels("/boot")?;
        let mut links = Vec::new();
        for path in ["/boot/vmlinuz", "/vmlinuz"] {
            links.extend(self.root.ask(|files| files.link(path))?);
        }
        if let Some(taken) = self.choose(kernels, &links)? {
            return Ok(Some(taken));
        }
        self.looked.push(self.root.place("/usr/lib/modules/*/vmlinuz"));
        let mut kernels = Vec::new();
        let mut releases = self.root.names(MODULES[0])?;
        releases.retain(|release| is_release(release));
        releases.sort_unstable();
        releases.truncate(MAX_KERNELS);
        for release in releases {
            kernels.extend(self.root.kernel(format!("{}/{release}/vmlinuz", MODULES[0]), &release)?);
        }
        self.choose(kernels, &[])
    }

    /// Of kernels with modules the one that is wanted, or to which a link leads, or else the newest.
    fn choose(&mut self, kernels: Vec<Found>, links: &[String]) -> Result<Option<Taken>, KernelError> {
        let mut usable = Vec::new();
        for kernel in kernels {
            let meant = self.wanted.is_none_or(|wanted| wanted == kernel.release);
            match self.root.modules(&kernel.release)? {
                Some(folder) if meant => usable.push((kernel, folder)),
                _ => self.without.push(kernel),
            }
        }
        let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        let linked = links
            .iter()
            .map(|link| name(link))
            .find_map(|link| usable.iter().position(|(kernel, _)| name(&kernel.path) == link));
        let newest =
            (0..usable.len()).max_by(|one, other| by_version(&usable[*one].0.release, &usable[*other].0.release));
        let Some(index) = linked.or(newest) else { return Ok(None) };
        let (kernel, folder) = usable.swap_remove(index);
        let mut others: Vec<String> = usable.into_iter().map(|(other, _)| other.release).collect();
        others.retain(|other| *other != kernel.release);
        others.sort_unstable();
        others.dedup();
        Ok(Some(Taken { kernel, volume: None, folder, others }))
    }

    /// Why nothing was taken.
    fn failure(mut self) -> KernelError {
        self.without.sort_by(|one, other| by_version(&one.release, &other.release));
        let meant = |kernel: &&Found| self.wanted.is_none_or(|wanted| wanted == kernel.release);
        if let Some(kernel) = self.without.iter().rev().find(meant) {
            return KernelError::NoModules { kernel: kernel.place.clone(), release: kernel.release.clone() };
        }
        match self.wanted {
            Some(wanted) if !self.without.is_empty() => {
                let mut found: Vec<&str> = self.without.iter().map(|kernel| kernel.release.as_str()).collect();
                found.dedup();
                KernelError::OtherRelease { wanted: wanted.to_owned(), found: found.join(", ") }
            }
            _ => KernelError::Absent { looked: self.looked.join(", ") },
        }
    }
}

fn unreadable(Unreadable { path, source }: Unreadable, partition: u32) -> KernelError {
    KernelError::Read { path: escape::line(path.as_bytes(), 200), partition, source }
}

/// Whether a partition has ext4's magic number, 0xEF53, 56 bytes into the superblock at byte 1024.
fn is_ext4(raw: &dyn ReadBlocks, partition: &Partition) -> bool {
    let mut found = [0; 2];
    partition.length > 4096 && raw.read_at(&mut found, partition.offset + 1080).is_ok() && found == [0x53, 0xef]
}

#[cfg(test)]
#[path = "kernel_tests.rs"]
mod tests;
