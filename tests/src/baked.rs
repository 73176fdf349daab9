//! Initramfs files as a distribution's own generators make them, with the agent in them: a root of Debian's, what is installed in it,
//! and each generator run there. Must change nothing outside its own folder.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use crate::loop_device::run;

/// Where the policy of the agent lies, in a system and in its initramfs.
pub const POLICY: &str = "etc/cloud-machine/agent.yaml";

/// Where the agent lies, likewise.
pub const AGENT: &str = "usr/lib/cloud-machine/cloud-machine-agent";

/// The modules without which no machine of the tests finds its root.
const MODULES: [&str; 4] = ["virtio_pci", "virtio_blk", "ext4", "crc32c_generic"];

/// What makes an initramfs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generator {
    /// `mkinitramfs` of initramfs-tools(7).
    InitramfsTools,
    /// dracut(8).
    Dracut,
}

impl Generator {
    /// Both.
    pub const ALL: [Self; 2] = [Self::InitramfsTools, Self::Dracut];

    /// As `initramfs/baked/install` calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::InitramfsTools => "initramfs-tools",
            Self::Dracut => "dracut",
        }
    }

    /// The command that makes `/initramfs` for the kernel `release`. Only the modules that the machines of the tests need, and no time is
    /// spent on compressing well.
    fn command(self, release: &str) -> Vec<String> {
        let command = match self {
            Self::InitramfsTools => format!("mkinitramfs -d /etc/initramfs-tools -o /initramfs {release}"),
            Self::Dracut => format!("dracut --force --no-hostonly --no-compress --kver {release} --drivers"),
        };
        let mut words: Vec<String> = command.split(' ').map(str::to_owned).collect();
        if self == Self::Dracut {
            words.extend([MODULES.join(" "), "/initramfs".to_owned()]);
        }
        words
    }
}

/// A root folder with both generators. Deleted when dropped.
#[derive(Debug)]
pub struct BakedRoot {
    folder: tempfile::TempDir,
    release: String,
}

impl BakedRoot {
    /// Unpacks the root of the image in the folder `image` (`images/debian-12-baked`), without an agent. Needs root, as all here does.
    ///
    /// # Panics
    /// When it cannot be unpacked.
    #[must_use]
    pub fn unpack(image: &Path) -> Self {
        let folder = tempfile::Builder::new().prefix("baked-").tempdir().expect("a temporary folder");
        let mut tar = Command::new("tar");
        run(tar
            .args(["--extract", "--numeric-owner", "--file"])
            .arg(image.join("root.tar.zst"))
            .arg("--directory")
            .arg(folder.path()));
        let release = fs::read_to_string(image.join("kernel-release")).expect("the kernel's release").trim().to_owned();
        let root = Self { folder, release };
        let settings = root.path().join("etc/initramfs-tools");
        fs::write(settings.join("conf.d/tests"), "MODULES=list\nCOMPRESSLEVEL=1\n")
            .expect("settings of initramfs-tools");
        fs::write(settings.join("modules"), MODULES.join("\n") + "\n").expect("its modules");
        root
    }

    /// The root folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Has the kernel module `name` in each initramfs, too.
    ///
    /// # Panics
    /// When the settings of the generators cannot be written.
    pub fn add_module(&self, name: &str) {
        let settings = self.path().join("etc");
        let modules = format!("{}\n{name}\n", MODULES.join("\n"));
        fs::write(settings.join("initramfs-tools/modules"), modules).expect("settings of initramfs-tools");
        let drivers = format!("add_drivers+=\" {name} \"\n");
        fs::create_dir_all(settings.join("dracut.conf.d")).expect("settings of dracut");
        fs::write(settings.join("dracut.conf.d/tests.conf"), drivers).expect("settings of dracut");
    }

    /// Adds OpenZFS, its module and its tools, of the image in the folder `zfs` (`images/debian-12-zfs`), which has the same kernel.
    ///
    /// # Panics
    /// When it has another kernel, or something cannot be copied.
    pub fn add_zfs(&self, zfs: &Path) {
        let release = fs::read_to_string(zfs.join("kernel-release")).expect("the kernel's release");
        assert_eq!(release.trim(), self.release, "build both images anew: their kernels differ");
        let modules = self.path().join("usr/lib/modules").join(&self.release);
        run(Command::new("cp").arg("-a").arg(zfs.join("modules/extra")).arg(&modules));
        // Laid out as a root folder, with the same links in it.
        let tar =
            "tar --create --directory \"$0/programs\" . | tar --extract --keep-directory-symlink --directory \"$1\"";
        run(Command::new("bash").args(["-o", "pipefail", "-c", tar]).arg(zfs).arg(self.path()));
        let depmod = self.run(&["depmod", &self.release]);
        assert!(depmod.status.success(), "{}", String::from_utf8_lossy(&depmod.stderr));
    }

    /// Installs `agent` and what makes it part of each initramfs, and `policy` when there is one.
    ///
    /// # Panics
    /// When that fails.
    pub fn install(&self, agent: &Path, policy: Option<&str>) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../initramfs/baked/install");
        let generators = Generator::ALL.map(Generator::name);
        run(Command::new(script).arg("--agent").arg(agent).arg(self.path()).args(generators));
        let file = self.path().join(POLICY);
        match policy {
            Some(policy) => {
                fs::create_dir_all(file.parent().expect("a folder")).expect("the folder of the policy");
                fs::write(file, policy).expect("the policy");
            }
            None if file.exists() => fs::remove_file(file).expect("the policy"),
            None => {}
        }
    }

    /// The kernel's release, as `uname -r` prints it.
    #[must_use]
    pub fn release(&self) -> &str {
        &self.release
    }

    /// Runs `command` with this folder as its root, in mount and process namespaces of its own, and waits for its end.
    ///
    /// # Panics
    /// When nothing can be run there.
    #[must_use]
    pub fn run(&self, command: &[&str]) -> Output {
        // A mount namespace of its own: /proc is gone with the last process in it. The shell stays the first process: an agent
        // that is it takes itself for that of a machine.
        let script = "mount -t proc proc \"$0/proc\" || exit; chroot \"$0\" \"$@\"; exit \"$?\"";
        Command::new("unshare")
            .args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script])
            .arg(self.path())
            .args(command)
            .env_clear()
            .envs([("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), ("LC_ALL", "C"), ("DEBIAN_FRONTEND", "noninteractive")])
            .stdin(Stdio::null())
            .output()
            .expect("unshare, from the package util-linux")
    }

    /// Makes an initramfs and gives its path, or what the generator said when it refused.
    ///
    /// # Errors
    /// What the generator printed.
    ///
    /// # Panics
    /// When it cannot be run.
    pub fn initramfs(&self, generator: Generator) -> Result<PathBuf, String> {
        let command = generator.command(&self.release);
        let output = self.run(&command.iter().map(String::as_str).collect::<Vec<_>>());
        let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
        let (made, kept) = (self.path().join("initramfs"), self.path().join(format!("initramfs-{}", generator.name())));
        if output.status.success() {
            fs::rename(made, &kept).map_err(|error| format!("it made no initramfs: {error}\n{said}"))?;
            Ok(kept)
        } else if made.exists() {
            Err(format!("it failed, and left an initramfs: {said}"))
        } else {
            Err(said)
        }
    }
}

/// An unpacked initramfs.
#[derive(Debug)]
pub struct Unpacked(tempfile::TempDir);

impl Unpacked {
    /// Unpacks an archive that begins with no processor microcode, compressed by zstd or not at all.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn new(initramfs: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let script = "if zstd -tq \"$0\" 2>/dev/null; then zstd -dcq \"$0\"; else cat \"$0\"; fi | cpio --extract --quiet --make-directories";
        run(Command::new("bash").args(["-o", "pipefail", "-c", script]).arg(initramfs).current_dir(folder.path()));
        Self(folder)
    }

    /// What is at `path` in it.
    pub fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(path)
    }

    /// Whether somebody may run the file at `path`.
    ///
    /// # Panics
    /// When there is none.
    pub fn is_executable(&self, path: impl AsRef<Path>) -> bool {
        let path = self.at(path);
        fs::metadata(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).permissions().mode() & 0o111
            == 0o111
    }

    /// Bytes of an archive of all that is in it but kernel modules, compressed.
    ///
    /// # Panics
    /// When it cannot be packed.
    #[must_use]
    pub fn packed_size(&self) -> u64 {
        let script = "find . -path ./usr/lib/modules -prune -o -print | LC_ALL=C sort | cpio --create --quiet --format=newc | zstd -q -c | wc -c";
        let output = run(Command::new("bash")
            .args([OsStr::new("-o"), "pipefail".as_ref(), "-c".as_ref(), script.as_ref()])
            .current_dir(self.0.path()));
        String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number")
    }
}
