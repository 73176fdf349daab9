//! A small system that boots by itself as a distribution does, from its own disk by the firmware of a PC or UEFI, through GRUB and an
//! initramfs with the agent: sshd, a shell, the program that stages a reimage. In the place of systemd is a script. Must change nothing
//! outside its own folder.

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::{FileExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use cloud_machine_driver::ssh::generate_key;

use crate::{
    artifacts::{Artifacts, baked_image, cloud_image},
    baked::{BakedRoot, Generator},
    loop_device::run,
};

const MIB: u64 = 1 << 20;
/// Where the root begins: before it is GRUB's core.
const ROOT_AT: u64 = MIB;
const ROOT_SIZE: u64 = 90 * MIB;
/// Behind the root.
const ESP_SIZE: u64 = 4 * MIB;
/// Where the partition with GRUB's core begins, in sectors (`images/debian-12-baked/recipe`).
const CORE_AT: u64 = 34;
/// UUID of the filesystem that GRUB's core looks for (`images/debian-12/recipe`).
const BOOT_UUID: &str = "ccab4f1b-7c75-4c71-9e58-1b7d3d2a6e04";
const INIT: &str = include_str!("vm/small-init.sh");
const SSHD: &str = "HostKey /etc/ssh/ssh_host_ed25519_key\nAuthorizedKeysFile /root/.ssh/authorized_keys\nPermitRootLogin yes\n\
                    UsePAM no\nUseDNS no\nPidFile /run/sshd.pid\nSubsystem sftp /usr/lib/openssh/sftp-server\n";
/// The one command that a host gives it: of systemctl(1).
const SYSTEMCTL: &str = "#!/bin/sh\n[ \"$*\" = 'reboot --no-block' ] || exit 2\n\
                         (sync; sleep 1; echo b >/proc/sysrq-trigger) </dev/null >/dev/null 2>&1 &\n";
/// What its kernel needs besides what every machine of the tests has.
const MODULES: &str = "virtio_net\nvirtio_rng\nefivarfs\n";

/// The system as an image, and who may log in to a disk with it.
#[derive(Debug)]
pub struct SmallSystem {
    folder: tempfile::TempDir,
}

impl SmallSystem {
    /// Makes the image; `root` has the agent and its policy.
    ///
    /// # Panics
    /// When something for it is missing.
    #[must_use]
    pub fn new(artifacts: &Artifacts, root: &BakedRoot) -> Self {
        let system = Self { folder: tempfile::Builder::new().prefix("small-system-").tempdir().expect("a folder") };
        let own = system.path("root");
        run(Command::new("cp").arg("-a").arg(cloud_image().expect("the image").join("programs")).arg(&own));
        for folder in ["proc", "sys", "dev", "run", "tmp", "root/.ssh", "mnt", "etc/ssh", "var/empty", "grub"] {
            fs::create_dir_all(own.join(folder)).expect("a folder");
        }
        for folder in ["root", "root/.ssh"] {
            fs::set_permissions(own.join(folder), Permissions::from_mode(0o700)).expect("a folder of root's");
        }
        system.boot_files(root);
        let stager = artifacts.agent.with_file_name("cloud-machine-recovery");
        fs::copy(&stager, own.join("usr/sbin/cloud-machine-recovery")).expect("the stager, which `make build` makes");
        let passwd = "root:x:0:0:root:/root:/bin/bash\nsshd:x:101:65534::/run/sshd:/bin/false\n";
        for (file, text, mode) in [
            ("etc/passwd", passwd, 0o644),
            ("etc/shadow", "root:*:19000:0:99999:7:::\nsshd:*:19000:0:99999:7:::\n", 0o600),
            ("etc/group", "root:x:0:\nnogroup:x:65534:\n", 0o644),
            ("etc/shells", "/bin/bash\n/bin/sh\n", 0o644),
            ("etc/hostname", "small\n", 0o644),
            ("etc/ssh/sshd_config", SSHD, 0o644),
            ("usr/sbin/init", INIT, 0o755),
            ("usr/bin/systemctl", SYSTEMCTL, 0o755),
        ] {
            fs::write(own.join(file), text).expect("a file");
            fs::set_permissions(own.join(file), Permissions::from_mode(mode)).expect("its mode");
        }
        if !own.join("sbin").exists() {
            symlink("usr/sbin", own.join("sbin")).expect("a link");
        }
        for name in ["kernel", "kernel-release", "modules"] {
            symlink(baked_image().expect("the image").join(name), system.path(name)).expect("a link");
        }
        system.write_disk(&system.path("disk.raw"));
        system
    }

    /// The folder of the image, as `images/build` makes one.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// GRUB's settings, kernel and initramfs.
    fn boot_files(&self, root: &BakedRoot) {
        let own = self.path("root");
        let list = root.path().join("etc/initramfs-tools/modules");
        let before = fs::read_to_string(&list).expect("its modules");
        fs::write(&list, format!("{before}{MODULES}")).expect("its modules");
        let initramfs = root.initramfs(Generator::InitramfsTools).unwrap_or_else(|said| panic!("{said}"));
        fs::write(&list, before).expect("its modules");
        fs::copy(initramfs, own.join("initrd.img")).expect("the initramfs");
        fs::copy(baked_image().expect("the image").join("kernel"), own.join("vmlinuz")).expect("the kernel");
        let grub = format!(
            "serial --unit=0 --speed=115200\nterminal_output serial\necho \"GRUB on $grub_platform\"\n\
             linux /vmlinuz root=UUID={BOOT_UUID} ro console=ttyS0 net.ifnames=0 no_timer_check quiet panic=-1\n\
             initrd /initrd.img\nboot\n"
        );
        fs::write(own.join("grub/grub.cfg"), grub).expect("GRUB's settings");
    }

    /// A disk with the system as it is in the folder of its root, and nothing behind it.
    fn write_disk(&self, disk: &Path) {
        let filesystem = self.path("root.ext4");
        run(Command::new("mke2fs")
            .args(["-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0", "-U", BOOT_UUID])
            // What GRUB of Debian 12 does not read.
            .args(["-O", "^metadata_csum_seed,^orphan_file", "-J", "size=4", "-d"])
            .arg(self.path("root"))
            .arg(&filesystem)
            .arg(format!("{}M", ROOT_SIZE / MIB)));
        let file = File::create(disk).expect("a disk");
        let end = ROOT_AT + ROOT_SIZE + ESP_SIZE;
        file.set_len(end + MIB).expect("its size");
        let table = self.path("table");
        let sectors = |bytes: u64| bytes / 512;
        let lines = format!(
            "label: gpt\nfirst-lba: {CORE_AT}\n\
             start={}, size={}, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709\n\
             start={CORE_AT}, size={}, type=21686148-6449-6E6F-744E-656564454649\n\
             start={}, size={}, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B\n",
            sectors(ROOT_AT),
            sectors(ROOT_SIZE),
            sectors(ROOT_AT) - CORE_AT,
            sectors(ROOT_AT + ROOT_SIZE),
            sectors(ESP_SIZE),
        );
        fs::write(&table, lines).expect("the table");
        run(Command::new("sfdisk").arg("-q").arg(disk).stdin(File::open(&table).expect("the table")));
        // The boot loaders are those of the baked image.
        let baked = File::open(baked_image().expect("the image").join("disk.raw")).expect("its disk");
        let esp =
            partition_at(&baked_image().expect("the image").join("disk.raw"), "C12A7328-F81F-11D2-BA4B-00A0C93EC93B");
        for (from, to, length) in
            [(0, 0, 440), (CORE_AT * 512, CORE_AT * 512, ROOT_AT - CORE_AT * 512), (esp, end - ESP_SIZE, ESP_SIZE)]
        {
            let mut bytes = vec![0; usize::try_from(length).expect("a length")];
            baked.read_exact_at(&mut bytes, from).expect("the baked image");
            file.write_all_at(&bytes, to).expect("the disk");
        }
        file.write_all_at(&fs::read(&filesystem).expect("the root"), ROOT_AT).expect("the disk");
        fs::remove_file(filesystem).expect("the root");
    }

    /// A disk of a machine that somebody else made, with `more` bytes behind the image and a host key of its own, on which the public key
    /// `login` lets root in; gives the host's public key.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn machine(&self, disk: &Path, more: u64, login: &str) -> String {
        let ssh = self.path("root/etc/ssh/ssh_host_ed25519_key");
        let public = generate_key(&ssh, "host").expect("a host key");
        let keys = self.path("root/root/.ssh/authorized_keys");
        fs::write(&keys, format!("{login}\n")).expect("the keys");
        self.write_disk(disk);
        for file in [ssh.with_extension("pub"), ssh, keys] {
            fs::remove_file(file).expect("a file");
        }
        grow(disk, more);
        public
    }

    /// The folder of an image that is larger by `more` empty bytes.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn larger(&self, more: u64) -> PathBuf {
        let folder = self.path("larger");
        fs::create_dir(&folder).expect("a folder");
        for name in ["kernel", "kernel-release", "modules"] {
            symlink(self.path(name), folder.join(name)).expect("a link");
        }
        let disk = folder.join("disk.raw");
        run(Command::new("cp").arg("--sparse=always").arg(self.path("disk.raw")).arg(&disk));
        grow(&disk, more);
        run(Command::new("sfdisk").args(["-q", "--relocate", "gpt-bak-std"]).arg(&disk));
        folder
    }
}

fn grow(disk: &Path, more: u64) {
    let file = fs::OpenOptions::new().write(true).open(disk).expect("a disk");
    let size = file.metadata().expect("its size").len();
    file.set_len(size + more).expect("a larger disk");
}

/// Where the first partition of this type begins, in bytes.
fn partition_at(disk: &Path, kind: &str) -> u64 {
    let said = run(Command::new("sfdisk").arg("--json").arg(disk));
    let table: serde_json::Value = serde_json::from_slice(&said.stdout).expect("JSON");
    let partitions = table["partitiontable"]["partitions"].as_array().expect("partitions");
    let found = partitions.iter().find(|partition| partition["type"] == kind).expect("the partition");
    found["start"].as_u64().expect("where it begins") * 512
}
