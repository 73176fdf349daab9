//! A small image for boots of the agent: a disk of 24 MiB, packed with the real kernel. Made with the tools that also
//! make real images, in a folder of its own.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
    sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, Weak},
    thread,
};

use cloud_machine_store::{ImageFolder, Store};

use crate::{
    artifacts::{self, Artifacts},
    program::Program,
};

/// Name of the image in the store.
pub const IMAGE: &str = "small";
/// Name of the one with a rescue system.
const RESCUE: &str = "small-rescue";
const MIB: u64 = 1 << 20;

/// A small image in a store, made once for all tests of a program.
pub struct Fixture {
    program: Program,
    folder: tempfile::TempDir,
    rescue: OnceLock<ImageFolder>,
}

/// Machines that boot now, and whom to tell when one of them is done.
static BOOTING: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());
/// Shared by the tests that are there at the same time; its files go with the last of them.
static SHARED: Mutex<Weak<Fixture>> = Mutex::new(Weak::new());

/// The right to boot a machine, of which there are as many as processors: a boot keeps little more than one busy.
pub struct Turn(());

impl Turn {
    fn wait() -> Self {
        let most = thread::available_parallelism().map_or(1, usize::from);
        let (booting, one_less) = &BOOTING;
        let booting = booting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut booting =
            one_less.wait_while(booting, |booting| *booting >= most).unwrap_or_else(PoisonError::into_inner);
        *booting += 1;
        Self(())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let (booting, one_less) = &BOOTING;
        *booting.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        one_less.notify_one();
    }
}

/// The fixture, and the turn to boot.
///
/// # Panics
/// When an artifact is missing or the small image cannot be made.
pub fn fixture() -> (Arc<Fixture>, Turn) {
    (without_turn(), Turn::wait())
}

/// The fixture for a test that counts its machines itself.
///
/// # Panics
/// When an artifact is missing or the small image cannot be made.
pub fn without_turn() -> Arc<Fixture> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let made = Arc::new(Fixture::new().expect("the small image"));
        *shared = Arc::downgrade(&made);
        made
    })
}

impl Fixture {
    fn new() -> Result<Self, String> {
        let mut artifacts = Artifacts::from_environment()?;
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        small_image(folder.path())?;
        for name in ["kernel", "modules"] {
            std::os::unix::fs::symlink(artifacts.image.join(name), folder.path().join(name))
                .map_err(|error| error.to_string())?;
        }
        artifacts.image = folder.path().to_owned();
        let program = Program::new(&artifacts);
        program.pack(&artifacts, IMAGE)?;
        Ok(Self { program, folder, rescue: OnceLock::new() })
    }

    /// The image as it was packed.
    ///
    /// # Panics
    /// When it is gone.
    #[must_use]
    pub fn raw(&self) -> Vec<u8> {
        fs::read(self.folder.path().join("disk.raw")).expect("the small image")
    }

    /// The program, whose store has the image.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The image in the store.
    ///
    /// # Panics
    /// When it is gone.
    #[must_use]
    pub fn image(&self) -> ImageFolder {
        self.stored(IMAGE)
    }

    /// The same image, with a rescue system for its kernel: the agent is no first process there.
    ///
    /// # Panics
    /// When it cannot be packed.
    pub fn rescue_image(&self) -> ImageFolder {
        let pack = || {
            let (folder, own) = (self.folder.path().join("rescue"), self.folder.path());
            let programs = folder.join("programs");
            fs::create_dir_all(programs.join("bin")).expect("a folder");
            for name in ["disk.raw", "kernel", "modules"] {
                std::os::unix::fs::symlink(own.join(name), folder.join(name)).expect("a link");
            }
            fs::copy(artifacts::busybox().expect("busybox"), programs.join("bin/busybox")).expect("busybox");
            fs::write(programs.join("rescue"), include_str!("vm/rescue.sh")).expect("its first program");
            fs::set_permissions(programs.join("rescue"), fs::Permissions::from_mode(0o755)).expect("a program");
            self.program.pack_folder(&folder, RESCUE, &[]).expect("it is packed");
            self.stored(RESCUE)
        };
        self.rescue.get_or_init(pack).clone()
    }

    fn stored(&self, name: &str) -> ImageFolder {
        let store = Store::open(self.program.state()).expect("the store");
        store.image(&name.parse().expect("a name")).expect("the small image in the store")
    }
}

/// A disk of 24 MiB: a GPT with one ext4 root of 20 MiB, half of it filled, and gaps at both ends.
fn small_image(folder: &Path) -> Result<(), String> {
    let (root, partition, disk) = (folder.join("root"), folder.join("root.ext4"), folder.join("disk.raw"));
    let io = |error: std::io::Error| error.to_string();
    for name in ["dev", "proc", "sys", "run", "etc/ssh", "sbin"] {
        fs::create_dir_all(root.join(name)).map_err(io)?;
    }
    // Bytes that do not compress and do not repeat, the same at every run.
    let mut state = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
    .take(10 << 20)
    .collect();
    fs::write(root.join("noise"), noise).map_err(io)?;
    run(Command::new("mke2fs").args(["-q", "-F", "-t", "ext4", "-d"]).arg(&root).arg(&partition).arg("20M"))?;
    let file = fs::File::create(&disk).map_err(io)?;
    file.set_len(24 * MIB).map_err(io)?;
    let table = "label: gpt\nstart=2048, size=40960, type=4f68bce3-e8cd-4db1-96e7-fbcaf984b709\n";
    let script = folder.join("table");
    fs::write(&script, table).map_err(io)?;
    run(Command::new("sfdisk").arg("-q").arg(&disk).stdin(fs::File::open(&script).map_err(io)?))?;
    std::os::unix::fs::FileExt::write_all_at(&file_for_writing(&disk)?, &fs::read(&partition).map_err(io)?, MIB)
        .map_err(io)
}

fn file_for_writing(path: &Path) -> Result<fs::File, String> {
    fs::OpenOptions::new().write(true).open(path).map_err(|error| error.to_string())
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)))
    }
}

/// The image as a job left it: a bootkit in the boot head, changed blocks, bytes in every gap.
#[must_use]
pub fn dirty(raw: &[u8]) -> Vec<u8> {
    let mut bytes = raw.to_vec();
    for (offset, text) in
        [(0, "CM-EVIL-MBR"), (100 * 512, "CM-EVIL-GAP"), (3 << 20, "CM-EVIL-DATA"), (23 << 20, "CM-EVIL-TAIL")]
    {
        bytes[offset..offset + text.len()].copy_from_slice(text.as_bytes());
    }
    for index in (2 << 20..20 << 20).step_by(200_000) {
        bytes[index] ^= 0xff;
    }
    bytes
}
