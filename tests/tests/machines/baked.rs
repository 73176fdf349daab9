//! A machine that no host of ours started: an image with the agent in its own initramfs, QEMU as anybody starts it, and a volume made
//! by hand. Boot after boot it is what the volume describes, whatever was done to its disks in between.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use cloud_machine_system::sha256;
use cloud_machine_tests::{
    artifacts::{Artifacts, baked_image, next_image},
    baked::{BakedRoot, Generator},
    http::{Answer, Server},
    loop_device::run,
    plain_machine::{PlainMachine, Running, Start},
};

use crate::self_reimage::reimages_itself;

/// The root of `images/debian-12`.
const ROOT: &str = "root=PARTUUID=ccab4f1b-7c75-4c71-9e58-1b7d3d2a6e03 ro";
/// A machine that does not come up resets, which ends QEMU: of initramfs-tools(7) and of dracut.cmdline(7).
const STOP: &str = "panic=-1 rd.shell=0 rd.emergency=reboot";
const NETWORK: [&str; 4] = ["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net"];
/// An optical drive without medium, as many machines have one: it is no disk that anybody has to declare.
const EMPTY_DRIVE: [&str; 4] = ["-device", "virtio-scsi-pci,id=scsi", "-device", "scsi-cd,bus=scsi.0"];
const BOOT: Duration = Duration::from_secs(300);
const DATA: &str = "vdb";
/// A shell in the place of the system's first process.
const SHELL: &str = "init=/bin/sh";
/// Of the shell that is started as the system's first process.
const PROMPT: &str = "\n# ";

/// How a boot begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begin {
    /// QEMU loads kernel and initramfs.
    Direct,
    /// The image boots by itself, through GRUB and the firmware of a PC.
    Bios,
    /// Likewise, through UEFI.
    Uefi,
}

impl Begin {
    /// Whether it began so.
    fn check(self, console: &str) {
        match self {
            Self::Direct => {}
            Self::Bios => assert!(console.contains("GRUB on pc"), "{console}"),
            Self::Uefi => assert!(console.contains("GRUB on efi"), "{console}"),
        }
    }
}

/// A machine with its disks in a folder.
struct Baked {
    folder: tempfile::TempDir,
    image: PathBuf,
    /// What QEMU loads when it loads a kernel itself.
    initramfs: PathBuf,
    /// Form of the disk with the root.
    format: &'static str,
}

impl Baked {
    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn with(initramfs: PathBuf, format: &'static str) -> Self {
        let folder = tempfile::Builder::new().prefix("plain-machine-").tempdir().expect("a temporary folder");
        let baked = Self { folder, image: baked_image().expect("the image"), initramfs, format };
        fs::File::create(baked.file("data")).and_then(|file| file.set_len(48 << 20)).expect("a disk");
        baked
    }

    /// The image's disk with an initramfs of `generator` beside it.
    fn new(root: &BakedRoot, generator: Generator) -> Self {
        let initramfs = root.initramfs(generator).unwrap_or_else(|said| panic!("{generator:?}: {said}"));
        let baked = Self::with(initramfs, "qcow2");
        run(Command::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
            .arg(baked.image.join("disk.raw"))
            .arg(baked.file("root")));
        baked
    }

    /// The image's disk as the one command bakes it.
    fn by_command(artifacts: &Artifacts, policy: &str) -> Self {
        let baked = Self::with(PathBuf::new(), "raw");
        fs::write(baked.file("agent.yaml"), policy).expect("the policy");
        let said = run(Command::new(&artifacts.program)
            .args(["image", "bake", "--accelerator", "tcg", "--agent"])
            .arg(&artifacts.agent)
            .arg(baked.image.join("disk.raw"))
            .arg("--policy")
            .arg(baked.file("agent.yaml"))
            .arg("--to")
            .arg(baked.file("root")));
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(said.contains("generator    initramfs-tools\n") && said.contains("/boot/initrd.img-"), "{said}");
        baked
    }

    /// As a person makes one.
    fn iso(&self, name: &str, label: &str, files: &[(&str, &str)]) -> PathBuf {
        let folder = self.file(&format!("{name}.files"));
        fs::create_dir_all(&folder).expect("a folder");
        for (name, content) in files {
            fs::write(folder.join(name), content).expect("a file");
        }
        let iso = self.file(&format!("{name}.iso"));
        run(Command::new("genisoimage").args(["-quiet", "-V", label, "-r", "-o"]).arg(&iso).arg(&folder));
        iso
    }

    /// A machine with the disk of the root, and no other. Where QEMU loads the kernel, that is told `more`.
    fn machine(&self, begin: Begin, more: &str) -> PlainMachine {
        let start = match begin {
            Begin::Direct => Start::Kernel {
                kernel: self.image.join("kernel"),
                initramfs: self.initramfs.clone(),
                append: format!("{ROOT} {STOP} {more}"),
            },
            Begin::Bios => Start::Bios,
            Begin::Uefi => Start::Uefi,
        };
        let arguments = [NETWORK, EMPTY_DRIVE].concat().into_iter().map(Into::into).collect();
        let mut machine = PlainMachine { start, arguments };
        machine.disk(&self.file("root"), self.format);
        machine
    }

    /// A boot with `volumes` behind the root and the data disk.
    fn boot(&self, begin: Begin, volumes: &[&Path], options: &[&str], more: &str) -> Running {
        let mut machine = self.machine(begin, more);
        machine.disk(&self.file("data"), "raw");
        volumes.iter().for_each(|volume| machine.read_only_disk(volume));
        machine.arguments.extend(options.iter().map(Into::into));
        machine.start()
    }

    /// What `commands` print, typed into a shell in the place of the system's first process, when initramfs and agent are done.
    fn shell(&self, begin: Begin, volumes: &[&Path], commands: &str) -> String {
        let mut machine = self.boot(begin, volumes, &[], SHELL);
        let ready = machine.wait_for(PROMPT, 0, BOOT);
        begin.check(&machine.console());
        machine.type_line("stty -echo; printf 'rea''dy\\n'");
        let begin = machine.wait_for("ready", ready, BOOT);
        machine.type_line(&format!("{commands}; sync; printf 'do''ne\\n'; echo o >/proc/sysrq-trigger"));
        machine.wait_for("done", begin, BOOT);
        let console = machine.wait_for_end(BOOT);
        console.get(begin..).and_then(|said| said.split("done").next()).unwrap_or_default().replace('\r', "")
    }
}

fn document(url: &str, digest: &str) -> String {
    format!(
        "#cloud-init
cloud-machine:
  cloud-init-url: {{url: {url}, sha256: {digest}}}
  resources:
    disks:
      data: {{devicepath: /dev/{DATA}, wipe-on-boot: true, filesystem: ext4, mountpoint: /data}}
      tools: {{devicepath: /dev/vdd, readonly: true, filesystem: iso9660, mountpoint: /media/tools}}
bootcmd:
  - [sh, -c, '(echo; for place in /data /media/tools; do findmnt -no SOURCE,FSTYPE $place; done; ls -A /data; cat /media/tools/tool; grep ^hostname /run/cloud-machine/seed/user-data; echo all-said) >/dev/console; systemctl poweroff --no-block']
"
    )
}

/// What is on the data disk, and what will mount it.
const LOOK: &str = "dmesg -n 1; grep ^What= /run/systemd/system/data.mount; mount /dev/vdb /mnt && ls -A /mnt";

#[test]
fn a_volume_made_by_hand_describes_every_boot_whatever_was_done_in_between() {
    let artifacts = Artifacts::from_environment_without_image().expect("the programs");
    let root = BakedRoot::unpack(&baked_image().expect("the image"));
    let more = "#cloud-init\nhostname: from-address\n";
    let server = Server::start(Answer::Document(more.into()));
    let policy = format!("address: {{allowed: ['{}']}}\nrecovery: 64MiB\n", server.root());
    root.install(&artifacts.agent, Some(&policy));
    let document = document(&server.url(), &sha256(more.as_bytes()).hex());
    std::thread::scope(|scope| {
        // An image that boots by itself and is baked by the one command, which finds initramfs-tools in it.
        scope.spawn(|| {
            let machine = Baked::by_command(&artifacts, &policy);
            // Room for the recovery partition, as a disk has that is larger than its image.
            let disk = fs::OpenOptions::new().write(true).open(machine.file("root")).expect("the disk");
            let size = disk.metadata().expect("its size").len();
            disk.set_len(size + (80 << 20)).expect("a larger disk");
            drop(disk);
            three_boots(&machine, [Begin::Uefi, Begin::Uefi, Begin::Bios], &document);
            reimages_itself(&machine.file("root"), Start::Bios);
        });
        scope.spawn(|| three_boots(&Baked::new(&root, Generator::Dracut), [Begin::Direct; 3], &document));
    });
    assert_eq!(server.requests(), 6, "one for each boot");
}

fn three_boots(machine: &Baked, begin: [Begin; 3], document: &str) {
    let volume = machine.iso("volume", "CLOUD-INIT", &[("user-data", document), ("meta-data", "instance-id: one\n")]);
    let tools = machine.iso("tools", "TOOLS", &[("tool", "a tool\n")]);
    // What GRUB of the image adds to the kernel command line.
    let words = format!("set words={SHELL}\n");
    let with_words = machine.iso("words", "TOOLS", &[("tool", "a tool\n"), ("grub-words.cfg", &words)]);
    let volumes = [volume.as_path(), with_words.as_path()];
    let clean = "What=/dev/vdb\nlost+found\n";
    let said = machine.shell(begin[0], &volumes, &format!("{LOOK} && echo evil >/mnt/dirt && umount /mnt"));
    assert!(said.ends_with(clean), "{said}");
    // Dirt that pretends to be the volume: what a job can write does not count, and is wiped like all else.
    let dirt = "umount /mnt; mkfs.vfat -n CLOUD-INIT /dev/vdb >/dev/null";
    let said = machine.shell(begin[1], &volumes, &format!("{LOOK}; {dirt}"));
    assert!(said.ends_with(clean), "{said}");
    let volumes = [volume.as_path(), tools.as_path()];
    let console = machine.boot(begin[2], &volumes, &[], "").wait_for_end(2 * BOOT).replace('\r', "");
    let said = "\n/dev/vdb ext4\n/dev/vdd iso9660\nlost+found\na tool\nhostname: from-address\nall-said\n";
    assert!(console.contains(said), "{console}");
    begin[2].check(&console);
}

/// Somebody who signs volumes, as the guide says.
struct Signer(tempfile::TempDir);

impl Signer {
    fn new() -> Self {
        let signer = Self(tempfile::tempdir().expect("a temporary folder"));
        signer.run("ssh-keygen -q -t ed25519 -N '' -f volume-key", Path::new(""));
        signer
    }

    fn run(&self, script: &str, volume: &Path) {
        run(Command::new("sh").args(["-ec", script]).arg(volume).current_dir(self.0.path()));
    }

    fn policy(&self) -> String {
        let key = fs::read_to_string(self.0.path().join("volume-key.pub")).expect("the public key");
        let accept = "accept: [pinned, signed, read-only]";
        format!("volume: {{required: true, wait: 1, {accept}, keys: ['{}']}}\n", key.trim_end())
    }

    /// `volume` with a signature behind it.
    fn signed(&self, volume: &Path) -> PathBuf {
        let script = "cp \"$0\" volume.iso; ssh-keygen -q -Y sign -f volume-key -n cloud-machine-volume volume.iso
                      truncate -s 4096 volume.iso.sig; cat volume.iso.sig >>volume.iso";
        self.run(script, volume);
        self.0.path().join("volume.iso")
    }
}

/// How QEMU states the pin `digest`: each generator's machine in another place.
fn stated(generator: Generator, digest: &str) -> (&'static str, String) {
    match generator {
        Generator::InitramfsTools => {
            ("-fw_cfg", format!("name=opt/io.systemd.credentials/cloudmachine.pin,string={digest}"))
        }
        Generator::Dracut => ("-smbios", format!("type=11,value=io.systemd.credential:cloudmachine.pin={digest}")),
    }
}

/// Machines that must not come up, each with its reason.
fn that_stop(baked: &Baked) -> [(PlainMachine, &'static str); 2] {
    let disks =
        "cloud-machine: {resources: {disks: {data: {devicepath: /dev/vdb, wipe-on-boot: true, filesystem: ext4}}}}";
    let volume = baked.iso("disks", "CLOUD-INIT", &[("user-data", disks), ("meta-data", "")]);
    let mut read_only = baked.machine(Begin::Direct, SHELL);
    read_only.read_only_disk(&baked.file("data"));
    read_only.read_only_disk(&volume);
    // A kernel for which the initramfs has no drivers.
    let mut other_kernel = baked.machine(Begin::Direct, SHELL);
    if let Start::Kernel { kernel, .. } = &mut other_kernel.start {
        *kernel = next_image().expect("the image with another kernel").join("kernel");
    }
    [(read_only, "the disk `data` on vdb is read-only"), (other_kernel, "the initramfs has modules of the kernel 6.1.")]
}

#[test]
fn a_boot_stops_where_no_volume_counts_or_two_do_and_a_pin_decides() {
    let agent = Artifacts::from_environment_without_image().expect("the agent").agent;
    let root = BakedRoot::unpack(&baked_image().expect("the image"));
    let signer = Signer::new();
    root.install(&agent, Some(&signer.policy()));
    for (generator, count, why) in [
        (
            Generator::InitramfsTools,
            0,
            "no volume labelled CLOUD-INIT counts, and the policy of the image requires one",
        ),
        (Generator::Dracut, 2, "two volumes labelled CLOUD-INIT count: vdc and vdd"),
    ] {
        let machine = Baked::new(&root, generator);
        let files = [("user-data", "cloud-machine: {disks-undeclared: ignore}\n"), ("meta-data", "")];
        let both = [machine.iso("one", "CLOUD-INIT", &files), machine.iso("two", "cloud-init", &files)];
        let volumes: Vec<&Path> = both.iter().take(count).map(PathBuf::as_path).collect();
        let console = machine.boot(Begin::Direct, &volumes, &[], SHELL).wait_for_end(BOOT);
        assert!(console.contains(why), "{generator:?}: {console}");
        assert!(!console.contains(PROMPT), "{generator:?} went on: {console}");
        // What the hypervisor states decides between the two.
        let named = fs::read(&both[1]).expect("the volume");
        let volumes: Vec<&Path> = both.iter().map(PathBuf::as_path).collect();
        let (option, value) = stated(generator, &sha256(&named).to_string());
        let running = machine.boot(Begin::Direct, &volumes, &[option, &value], SHELL);
        running.wait_for(PROMPT, 0, BOOT);
        drop(running);
        if generator == Generator::Dracut {
            // Who has signed a volume is no matter of what it lies on: this disk can be written.
            let disk = format!("file={},format=raw,if=virtio", signer.signed(&both[0]).display());
            let running = machine.boot(Begin::Direct, &[], &["-drive", &disk], SHELL);
            running.wait_for(PROMPT, 0, BOOT);
            assert!(running.console().contains("the volume vdc counts: a key of the policy has signed it"));
            continue;
        }
        for (machine, why) in that_stop(&machine) {
            let console = machine.start().wait_for_end(BOOT);
            assert!(console.contains(why) && !console.contains(PROMPT), "not {why:?}: {console}");
        }
        // A pin of what is not attached lets none count.
        let (option, value) = stated(generator, &sha256(b"").to_string());
        let console = machine.boot(Begin::Direct, &volumes, &[option, &value], SHELL).wait_for_end(BOOT);
        assert!(console.contains("vdd: its digest is sha256:"), "{generator:?}: {console}");
    }
}
