//! A machine as anybody starts one with a baked disk, a data disk, volumes and the serial console. Must not know what a volume asks for.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use cloud_machine_tests::{
    artifacts::Artifacts,
    baked::{BakedRoot, Generator},
    libvirtd::Libvirtd,
    loop_device::run,
    plain_machine::{PlainMachine, Running, Start},
};

use super::libvirt;

/// The root of `images/debian-12`.
const ROOT: &str = "root=PARTUUID=ccab4f1b-7c75-4c71-9e58-1b7d3d2a6e03 ro";
/// A machine that does not come up resets, which ends QEMU: of initramfs-tools(7) and of dracut.cmdline(7).
pub(super) const STOP: &str = "panic=-1 rd.shell=0 rd.emergency=reboot";
const NETWORK: [&str; 4] = ["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net"];
/// An optical drive without medium, as many machines have one: it is no disk that anybody has to declare.
const EMPTY_DRIVE: [&str; 4] = ["-device", "virtio-scsi-pci,id=scsi", "-device", "scsi-cd,bus=scsi.0"];
pub(super) const BOOT: Duration = Duration::from_secs(300);
/// A shell in the place of the system's first process.
pub(super) const SHELL: &str = "init=/bin/sh";
/// Of the shell that is started as the system's first process.
pub(super) const PROMPT: &str = "\n# ";
/// Likewise, where systemd 257 has put the terminal in order before.
const PROMPT_AFTER_SYSTEMD: &str = "\u{1b}[?7h# ";
/// Where the filesystem of `/boot` begins on the disk of `images/debian-12-baked`, in bytes.
const BOOT_OFFSET: u64 = 1 << 20;

/// How a boot begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// QEMU loads kernel and initramfs.
    Direct,
    /// The image boots by itself, through GRUB and the firmware of a PC.
    Bios,
    /// Likewise, through UEFI.
    Uefi,
}

impl Begin {
    /// Whether it began so.
    pub(super) fn check(self, console: &str) {
        match self {
            Self::Direct => {}
            Self::Bios => assert!(console.contains("GRUB on pc"), "{console}"),
            Self::Uefi => assert!(console.contains("GRUB on efi"), "{console}"),
        }
    }
}

/// A machine with its disks in a folder.
pub(super) struct Baked {
    folder: tempfile::TempDir,
    image: PathBuf,
    /// What QEMU loads when it loads a kernel itself.
    initramfs: PathBuf,
    /// Form of the disk with the root.
    format: &'static str,
    /// Words for the kernel command line by which the root is found, where those of GRUB's settings are not enough.
    pub(super) root: &'static str,
    /// How QEMU attaches what is a volume.
    pub(super) volumes: &'static str,
    /// Further options of QEMU.
    pub(super) options: Vec<String>,
    /// Who starts the machine, if not the test, and the bus at which the volume is an optical disc then.
    pub(super) libvirt: Option<(Libvirtd, &'static str)>,
}

impl Baked {
    /// The path of the file `name` in the folder of the machine.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn with(image: &Path, initramfs: PathBuf, format: &'static str) -> Self {
        let folder = tempfile::Builder::new().prefix("plain-machine-").tempdir().expect("a temporary folder");
        let baked = Self {
            folder,
            image: image.to_owned(),
            initramfs,
            format,
            root: "",
            volumes: "format=raw,readonly=on",
            options: Vec::new(),
            libvirt: None,
        };
        // A pool is not made on less than 64 MiB.
        fs::File::create(baked.file("data")).and_then(|file| file.set_len(96 << 20)).expect("a disk");
        baked
    }

    /// The disk of `image` with an initramfs of `generator` beside it, made in `root`, which is that of the image.
    pub(super) fn new(image: &Path, root: &BakedRoot, generator: Generator) -> Self {
        let initramfs = root.initramfs(generator).unwrap_or_else(|said| panic!("{generator:?}: {said}"));
        let baked = Self::with(image, initramfs, "qcow2");
        run(Command::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
            .arg(baked.image.join("disk.raw"))
            .arg(baked.file("root")));
        baked
    }

    /// The disk of `image`, of which `root` makes what boots by itself.
    pub(super) fn own(image: &Path, root: impl FnOnce(&Path) -> &'static str) -> Self {
        let mut baked = Self::with(image, PathBuf::new(), "raw");
        run(Command::new("cp").args(["--sparse=always"]).arg(image.join("disk.raw")).arg(baked.file("root")));
        baked.root = root(&baked.file("root"));
        baked
    }

    /// The disk of `image` as the one command bakes it. Without `generator` it finds that itself.
    pub(super) fn by_command(image: &Path, artifacts: &Artifacts, policy: &str, generator: Option<Generator>) -> Self {
        let baked = Self::with(image, PathBuf::new(), "raw");
        let choice = generator.map(|generator| ["--generator", generator.name()]);
        fs::write(baked.file("agent.yaml"), policy).expect("the policy");
        let said = run(Command::new(&artifacts.program)
            .args(["image", "bake", "--accelerator", "tcg", "--agent"])
            .arg(&artifacts.agent)
            .arg(baked.image.join("disk.raw"))
            .arg("--policy")
            .arg(baked.file("agent.yaml"))
            .args(choice.into_iter().flatten())
            .arg("--to")
            .arg(baked.file("root")));
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let made = format!("generator    {}\n", generator.unwrap_or(Generator::InitramfsTools).name());
        assert!(said.contains(&made) && said.contains("/boot/initrd.img-"), "{said}");
        baked
    }

    /// As a person makes one.
    pub(super) fn iso(&self, name: &str, label: &str, files: &[(&str, &str)]) -> PathBuf {
        let folder = self.file(&format!("{name}.files"));
        fs::create_dir_all(&folder).expect("a folder");
        for (name, content) in files {
            fs::write(folder.join(name), content).expect("a file");
        }
        let iso = self.file(&format!("{name}.iso"));
        run(Command::new("genisoimage").args(["-quiet", "-V", label, "-r", "-o"]).arg(&iso).arg(&folder));
        iso
    }

    /// A machine with the disk of the root, and no other. `more` is for the kernel command line.
    pub(super) fn machine(&self, begin: Begin, more: &str) -> PlainMachine {
        let start = match begin {
            Begin::Direct => Start::Kernel {
                kernel: self.image.join("kernel"),
                initramfs: self.initramfs.clone(),
                append: format!("{ROOT} {STOP} {more}"),
            },
            Begin::Bios => Start::Bios,
            Begin::Uefi => Start::Uefi,
        };
        if begin != Begin::Direct {
            self.tell_grub(more);
        }
        let arguments = [NETWORK, EMPTY_DRIVE].concat().into_iter().map(Into::into).collect();
        let mut machine = PlainMachine { start, arguments };
        machine.arguments.extend(self.options.iter().map(Into::into));
        machine.disk_with_serial(&self.file("root"), &format!("format={}", self.format), "system");
        machine
    }

    /// Puts `more` where GRUB of the image looks for words for the kernel command line, which a person would type.
    fn tell_grub(&self, more: &str) {
        let file = self.file("grub-words.cfg");
        fs::write(&file, format!("set words=\"{} {STOP} {more}\"\n", self.root)).expect("a file");
        put_into_boot(&self.file("root"), &file, "grub-words.cfg");
    }

    /// A boot with `volumes` behind the root and the data disk, the first of which is an optical disc where libvirt starts it.
    pub(super) fn boot(&self, begin: Begin, volumes: &[&Path], options: &[&str], more: &str) -> Running {
        if let (Some((libvirtd, bus)), Some((volume, others))) = (&self.libvirt, volumes.split_first()) {
            self.tell_grub(more);
            let mut disks = vec![(self.file("root"), ""), (self.file("data"), "")];
            disks.extend(others.iter().map(|other| (other.to_path_buf(), "<readonly/>")));
            return libvirt::start(libvirtd, begin, self.folder.path(), &disks, (volume, bus));
        }
        let mut machine = self.machine(begin, more);
        machine.disk_with_serial(&self.file("data"), "format=raw", "data");
        for volume in volumes {
            let name = volume.file_stem().unwrap_or_default().to_string_lossy();
            machine.disk_with_serial(volume, self.volumes, &name);
        }
        machine.arguments.extend(options.iter().map(Into::into));
        machine.start()
    }

    /// What `commands` print, typed into a shell in the place of the system's first process, when initramfs and agent are done; and the whole
    /// console.
    pub(super) fn shell(&self, begin: Begin, volumes: &[&Path], commands: &str) -> (String, String) {
        let (said, console) = typed(self.boot(begin, volumes, &[], SHELL), commands);
        begin.check(&console);
        (said, console)
    }
}

/// What `commands` print, typed into the shell with which `machine` comes up, and the whole console. The machine ends then.
pub(super) fn typed(mut machine: Running, commands: &str) -> (String, String) {
    let ready = machine.wait_for_one(&[PROMPT, PROMPT_AFTER_SYSTEMD], 0, BOOT);
    machine.type_line("stty -echo; printf 'rea''dy\\n'");
    let begin = machine.wait_for("ready", ready, BOOT);
    machine.type_line(&format!("{commands}; sync; printf 'do''ne\\n'; echo o >/proc/sysrq-trigger"));
    machine.wait_for("done", begin, BOOT);
    let console = machine.wait_for_end(BOOT);
    let said = console.get(begin..).and_then(|said| said.split("done").next()).unwrap_or_default().replace('\r', "");
    (said, console)
}

/// Puts `file` into the filesystem of `/boot` on `disk`, as `name`, in the place of what has that name.
pub(super) fn put_into_boot(disk: &Path, file: &Path, name: &str) {
    let device = format!("{}?offset={BOOT_OFFSET}", disk.display());
    let commands = file.with_extension("debugfs");
    fs::write(&commands, format!("rm {name}\nwrite {} {name}\n", file.display())).expect("a file");
    run(Command::new("debugfs").arg("-w").arg("-f").arg(&commands).arg(&device));
    // It ends well whatever became of its commands.
    let read = run(Command::new("debugfs").args(["-R", &format!("cat {name}")]).arg(&device)).stdout;
    assert!(read == fs::read(file).expect("the file"), "{name} is not in /boot of {}: is it full?", disk.display());
}
