//! Servers that are QEMU machines: each boots its own disk through firmware and GRUB, or, when it is told to, a rescue system in
//! memory. Must not be what the drivers of the product use.

mod disk;
mod process;
mod rescue;
mod traffic;

use std::{
    collections::BTreeMap,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, PoisonError},
};

use super::machines::{Contents, Failure, Machines, Rescue, Seen, Source, Spec, SystemImage};
use process::Machine;
pub use traffic::Traffic;

/// What the machines are made of.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Folders of golden images that boot by themselves, by the name that the provider gives them, as `images/build` makes them.
    pub images: BTreeMap<String, PathBuf>,
    /// The folder of the image whose kernel, modules and programs the rescue system has.
    pub rescue: PathBuf,
    /// Size of every server's disk in bytes, whatever its type says; that of the image if it is larger.
    pub disk_size: u64,
    /// Memory of every server in MiB, whatever its type says.
    pub memory: u64,
    /// The port of SSH at a server's address; 22 is the provider's.
    pub ssh_port: u16,
}

/// Machines of QEMU in a folder of their own; they end with it.
pub struct Qemu {
    parts: Parts,
    rescue: PathBuf,
    folder: tempfile::TempDir,
    counts_traffic: bool,
    machines: Mutex<BTreeMap<u64, Arc<Machine>>>,
}

impl Qemu {
    /// Makes the rescue system; there are no machines yet.
    ///
    /// # Errors
    /// When a part is absent or the rescue system cannot be made.
    pub fn new(parts: Parts) -> Result<Self, Failure> {
        let folder = tempfile::Builder::new().prefix("cloud-machine-cloud-").tempdir();
        let folder = folder.map_err(|error| format!("cannot make a folder: {error}"))?;
        let rescue = folder.path().join("rescue.cpio");
        rescue::build(&parts.rescue, &rescue)?;
        Ok(Self { parts, rescue, folder, counts_traffic: false, machines: Mutex::default() })
    }

    /// The same, for servers whose traffic is counted, which costs a write to a file for each frame.
    #[must_use]
    pub fn counting_traffic(mut self) -> Self {
        self.counts_traffic = true;
        self
    }

    /// What went over a server's network interface since it was made, the connections of whoever looks at it included.
    ///
    /// # Errors
    /// When there is no such server, or its frames cannot be read.
    pub fn traffic(&self, id: u64) -> Result<Traffic, Failure> {
        self.machine(id)?.traffic()
    }

    /// What a server's machine has written on its console since it was booted last.
    ///
    /// # Panics
    /// When there is no such machine.
    #[must_use]
    pub fn console(&self, id: u64) -> String {
        let machine = self.machine(id).unwrap_or_else(|error| panic!("{error}"));
        String::from_utf8_lossy(&fs::read(machine.console()).unwrap_or_default()).into_owned()
    }

    /// The file that is a server's disk.
    #[must_use]
    pub fn disk(&self, id: u64) -> PathBuf {
        self.folder_of(id).join("disk.raw")
    }

    /// An initramfs that nobody but its host key tells from the rescue system, with `keys` to let in: what a job would answer with.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn fake_rescue(&self, keys: &str) -> Result<Vec<u8>, Failure> {
        let access = self.folder.path().join("fake.cpio");
        let keys = keys.lines().map(str::to_owned).collect();
        let own = Rescue { keys, password: "of a job".to_owned(), ignored: false, uses_disk: false };
        rescue::access(&own, &access)?;
        // What a machine without much memory and a slow disk is to load.
        let packed =
            disk::run(Command::new("sh").args(["-c", "cat \"$0\" \"$1\" | gzip -1"]).arg(&self.rescue).arg(access))?;
        Ok(packed.stdout)
    }

    fn folder_of(&self, id: u64) -> PathBuf {
        self.folder.path().join(id.to_string())
    }

    fn snapshot(&self, id: u64) -> PathBuf {
        self.folder.path().join(format!("snapshot-{id}.raw"))
    }

    fn machine(&self, id: u64) -> Result<Arc<Machine>, Failure> {
        let machines = self.machines.lock().unwrap_or_else(PoisonError::into_inner);
        machines.get(&id).cloned().ok_or_else(|| format!("there is no machine {id}"))
    }

    fn write_disk(&self, id: u64, name: &str, contents: &Contents) -> Result<(), Failure> {
        let source = match &contents.image {
            Source::System(name) => self.parts.images.get(name).map(|folder| folder.join("disk.raw")),
            Source::Snapshot(id) => Some(self.snapshot(*id)),
        };
        let source = source.ok_or_else(|| format!("there is no image {:?}", contents.image))?;
        let (disk, new) = (self.disk(id), self.folder_of(id).join("disk.new"));
        disk::copy(&source, &new)?;
        disk::grow(&new, self.parts.disk_size)?;
        disk::personalize(&new, name, contents)?;
        fs::rename(&new, &disk).map_err(|error| format!("cannot replace the disk: {error}"))
    }
}

impl Machines for Qemu {
    fn images(&self) -> Vec<SystemImage> {
        let image = |name: &String| SystemImage { name: name.clone(), disk_size: 5 };
        self.parts.images.keys().map(image).collect()
    }

    fn create(&self, spec: &Spec) -> Result<(), Failure> {
        let folder = self.folder_of(spec.id);
        fs::create_dir(&folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
        if let Err(failure) = self.write_disk(spec.id, &spec.name, &spec.contents) {
            remove_folder(&folder)?;
            return Err(failure);
        }
        let machine = Machine::new(spec, folder, &self.parts, &self.rescue, self.counts_traffic);
        self.machines.lock().unwrap_or_else(PoisonError::into_inner).insert(spec.id, machine);
        Ok(())
    }

    fn write(&self, id: u64, contents: &Contents) -> Result<(), Failure> {
        let machine = self.machine(id)?;
        self.write_disk(id, machine.name(), contents)
    }

    fn power_on(&self, id: u64) -> Result<(), Failure> {
        self.machine(id)?.power_on()
    }

    fn power_off(&self, id: u64) -> Result<(), Failure> {
        self.machine(id)?.power_off()
    }

    fn press_power_button(&self, id: u64) -> Result<(), Failure> {
        self.machine(id)?.press_power_button(false)
    }

    fn reboot(&self, id: u64) -> Result<(), Failure> {
        self.machine(id)?.press_power_button(true)
    }

    fn set_rescue(&self, id: u64, rescue: Option<Rescue>) -> Result<(), Failure> {
        self.machine(id)?.set_rescue(rescue);
        Ok(())
    }

    fn look(&self, id: u64) -> Option<Seen> {
        self.machine(id).ok().map(|machine| machine.look())
    }

    fn capture(&self, id: u64, snapshot: u64) -> Result<u64, Failure> {
        let snapshot = self.snapshot(snapshot);
        disk::copy(&self.disk(id), &snapshot)?;
        disk::used(&snapshot)
    }

    fn forget(&self, snapshot: u64) -> Result<(), Failure> {
        fs::remove_file(self.snapshot(snapshot)).map_err(|error| format!("cannot remove the snapshot: {error}"))
    }

    fn remove(&self, id: u64) -> Result<(), Failure> {
        let Some(machine) = self.machines.lock().unwrap_or_else(PoisonError::into_inner).remove(&id) else {
            return Ok(());
        };
        machine.power_off()?;
        remove_folder(&self.folder_of(id))
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        for machine in self.machines.lock().unwrap_or_else(PoisonError::into_inner).values() {
            let ended = machine.power_off();
            assert!(ended.is_ok() || std::thread::panicking(), "a machine was not ended: {ended:?}");
        }
    }
}

fn remove_folder(folder: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(format!("cannot remove {}: {error}", folder.display()))
        }
        _ => Ok(()),
    }
}
