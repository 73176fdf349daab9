//! What a volume made by hand promises, for every image that carries the agent: the same machine at each boot, whatever was done to its
//! disks in between.

use std::{fs, path::Path, process::Command};

use cloud_machine_system::sha256;
use cloud_machine_tests::{
    http::{Answer, Server},
    loop_device::run,
};

use super::machine::{BOOT, Baked, Begin};

/// The document behind the address that the volume names.
const MORE: &str = "#cloud-init\nhostname: from-address\n";
/// Dirt that pretends to be the volume: what a job can write does not count, and is wiped like all else.
pub(super) const FALSE_VOLUME: &str = "mkfs.vfat -n CLOUD-INIT /dev/vdb >/dev/null";

/// What is made of the data disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Data {
    /// A filesystem.
    Ext4,
    /// A pool with a dataset.
    Pool,
}

impl Data {
    fn filesystem(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Pool => "{type: zfs, datasets: [logs]}",
        }
    }

    /// Mounts it at `/mnt`, where nothing else has mounted it.
    fn mount(self) -> &'static str {
        match self {
            Self::Ext4 => "mount /dev/vdb /mnt",
            Self::Pool => {
                "mount -t zfs -o zfsutil data/logs /mnt && ls -A /mnt && umount /mnt; mount -t zfs -o zfsutil data /mnt"
            }
        }
    }

    /// What is in it when it is new.
    fn fresh(self) -> &'static str {
        match self {
            Self::Ext4 => "lost+found\n",
            Self::Pool => "logs\n",
        }
    }

    /// Its source and kind, as findmnt(8) has them.
    fn mounted(self) -> &'static str {
        match self {
            Self::Ext4 => "/dev/vdb ext4\n",
            Self::Pool => "data zfs\n",
        }
    }

    /// Leaves the disk to whoever writes on it next.
    fn release(self) -> &'static str {
        match self {
            Self::Ext4 => "umount /mnt",
            Self::Pool => "umount /mnt; umount -a -t zfs 2>/dev/null; zpool export -f data",
        }
    }
}

/// What one machine is held against.
pub(super) struct Promise<'a> {
    pub(super) begin: [Begin; 3],
    pub(super) data: Data,
    /// Whether the volume names disks by their serial numbers: by the kernel's names, where a job can make what looks like the root.
    pub(super) by_serial: bool,
    /// The kernel's name of the read-only medium.
    pub(super) tools: &'a str,
    /// What a job does to the data disk before the third boot: one command of a shell.
    pub(super) dirt: &'a str,
    /// What findmnt(8) says of `/` and of `/usr`, if that is mounted.
    pub(super) root: &'a str,
    /// Signs the file at a path, as a whole device that can be written.
    pub(super) sign: Option<&'a dyn Fn(&Path)>,
}

/// A server with the document that the volume names; the policy has to allow its address.
pub(super) struct Address(Server);

impl Address {
    pub(super) fn start() -> Self {
        Self(Server::start(Answer::Document(MORE.into())))
    }

    /// What a policy says for it.
    pub(super) fn policy(&self) -> String {
        format!("address: {{allowed: ['{}']}}\n", self.0.root())
    }

    /// How often it was asked.
    pub(super) fn requests(&self) -> usize {
        self.0.requests()
    }
}

impl Promise<'_> {
    /// The volume's document. What it says in the end goes to the console at once, where systemd writes, too.
    pub(super) fn document(&self, address: &Address) -> String {
        let (url, digest) = (address.0.url(), sha256(MORE.as_bytes()).hex());
        let filesystem = self.data.filesystem();
        let (system, data, tools) = if self.by_serial {
            (
                "      system: {devicepath: 'serial:system', boot-partition: true}\n",
                "serial:data",
                "serial:tools".to_owned(),
            )
        } else {
            ("", "/dev/vdb", format!("/dev/{}", self.tools))
        };
        format!(
            "#cloud-init
cloud-machine:
  cloud-init-url: {{url: {url}, sha256: {digest}}}
  resources:
    disks:
{system}      data: {{devicepath: '{data}', wipe-on-boot: true, filesystem: {filesystem}, mountpoint: /data}}
      tools: {{devicepath: '{tools}', readonly: true, filesystem: iso9660, mountpoint: /media/tools}}
bootcmd:
  - [sh, -c, '(echo; for place in / /usr /data /media/tools; do findmnt -no SOURCE,FSTYPE $place; done; ls -A /data; cat /media/tools/tool; grep ^hostname /run/cloud-machine/seed/user-data; echo all-said) >/run/said; cat /run/said >/dev/console; systemctl poweroff --no-block']
"
        )
    }

    /// Three boots, each of which finds what the volume describes.
    pub(super) fn keep(&self, machine: &Baked, address: &Address) {
        let document = self.document(address);
        let volume =
            machine.iso("volume", "CLOUD-INIT", &[("user-data", &document), ("meta-data", "instance-id: one\n")]);
        let tools = machine.iso("tools", "TOOLS", &[("tool", "a tool\n")]);
        if let Some(sign) = self.sign {
            sign(&volume);
        }
        let volumes = [volume.as_path(), tools.as_path()];
        let look = format!("dmesg -n 1; echo; {} && ls -A /mnt", self.data.mount());
        let (said, console) =
            machine.shell(self.begin[0], &volumes, &format!("{look} && echo evil >/mnt/dirt; {}", self.data.release()));
        assert!(said.ends_with(&format!("\n{}", self.data.fresh())), "{said}\n{console}");
        // Programs warn of what is meant here, and a job that failed would leave nothing.
        let job = format!("warned=$({{ {}; }} 2>&1) && echo the dirt is left || echo \"$warned\"", self.dirt);
        let (said, console) =
            machine.shell(self.begin[1], &volumes, &format!("{look}; {}; {job}", self.data.release()));
        assert!(said.ends_with(&format!("\n{}the dirt is left\n", self.data.fresh())), "{said}\n{console}");
        let console = machine.boot(self.begin[2], &volumes, &[], "").wait_for_end(2 * BOOT).replace('\r', "");
        let said = format!(
            "\n{}{}/dev/{} iso9660\n{}a tool\nhostname: from-address\nall-said\n",
            self.root,
            self.data.mounted(),
            self.tools,
            self.data.fresh()
        );
        assert!(console.contains(&said), "not {said:?}: {console}");
        self.begin[2].check(&console);
    }
}

/// Somebody who signs volumes, as the guide says.
pub(super) struct Signer(tempfile::TempDir);

impl Signer {
    pub(super) fn new() -> Self {
        let signer = Self(tempfile::tempdir().expect("a temporary folder"));
        signer.run("ssh-keygen -q -t ed25519 -N '' -f volume-key", Path::new(""));
        signer
    }

    fn run(&self, script: &str, volume: &Path) {
        run(Command::new("sh").args(["-ec", script]).arg(volume).current_dir(self.0.path()));
    }

    /// A policy that wants a volume which counts by one of the reasons in `accept`.
    pub(super) fn policy(&self, accept: &str) -> String {
        let key = fs::read_to_string(self.0.path().join("volume-key.pub")).expect("the public key");
        format!("volume: {{required: true, wait: 1, accept: [{accept}], keys: ['{}']}}\n", key.trim_end())
    }

    /// Puts a signature behind the volume in the file `volume`.
    pub(super) fn sign(&self, volume: &Path) {
        let script = "ssh-keygen -q -Y sign -f volume-key -n cloud-machine-volume \"$0\"
                      truncate -s 4096 \"$0.sig\"; cat \"$0.sig\" >>\"$0\"; rm \"$0.sig\"";
        self.run(script, volume);
    }
}
