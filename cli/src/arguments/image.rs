//! Arguments of `image`: names, help and examples. Must not act or look anything up.

use std::{num::NonZeroUsize, path::PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use cloud_machine_protocol::{ByteSize, DeviceSelector, Digest};
use cloud_machine_store::ImageName;

use super::{place::There, uki::Uki};

/// Commands on images.
#[derive(Debug, Subcommand)]
pub(crate) enum Image {
    /// Pack a disk image with its kernel, and make the initramfs that reimages with it
    #[command(after_help = "Examples:
  cloud-machine image pack debian-12 --input disk.qcow2
  cloud-machine image pack debian-12 --input disk.raw --programs programs
  cloud-machine image pack debian-12 --input disk.raw --kernel-release 6.1.0-56-cloud-amd64
  cloud-machine image pack debian-12 --input disk.raw --kernel vmlinuz --modules lib/modules/6.1.0-56-cloud-amd64
  curl https://images.example/disk.raw.xz | cloud-machine image pack debian-12 --input -

Kernel and modules come out of the image, which is read and never mounted: from its boot partition, /boot of its root, or
/usr/lib/modules, all on ext4. Of several kernels the one to which `vmlinuz` leads is taken, or else the newest.
--kernel and --modules give those of a folder instead.

The same disk gives the same packed image, whatever its form was.")]
    Pack(Pack),
    /// Pack the disk of a machine that is there already, over SSH; nothing on it is changed
    #[command(after_help = "Examples:
  cloud-machine image capture web --ssh root@rescue.example --host-key SHA256:…
  cloud-machine image capture web --ssh root@192.0.2.7 --disk serial:A1
  cloud-machine image capture web --ssh root@192.0.2.7 --disk /dev/sda --in-use

The agent is put into the memory of the system there and reads the disk; what is not zero crosses the network. A disk that
anything uses is refused, so start the machine's rescue system first. With --in-use it is copied as it is: of no one moment, as
after a power cut, and the image is marked as of an unproven source.

Everything on the disk gets into the image: keys, passwords and data of whoever used the machine.")]
    Capture(Capture),
    /// Put the agent into a disk image that is there already, without mounting it
    #[command(after_help = super::bake::HELP)]
    Bake(super::Bake),
    /// Print the manifest of an image
    #[command(after_help = "Examples:
  cloud-machine image inspect debian-12
  cloud-machine image inspect https://images.example/debian-12.image")]
    Inspect(ImageSource),
    /// Read a packed image, or a disk that shall hold it, and compare every block with its digest
    #[command(after_help = "Examples:
  cloud-machine image verify debian-12
  cloud-machine image verify debian-12 --key images.pub
  cloud-machine image verify debian-12 --disk /dev/sdb
  cloud-machine image verify ./debian-12.image --disk disk.raw --output json
  cloud-machine image verify https://images.example/debian-12.image --ca ca.pem

Without --disk the packed image itself is verified. With it, the disk or disk file is read past the page cache, and
every range that differs is printed with its partition; nothing is mounted. Exit code 5 when anything differs.")]
    Verify {
        #[command(flatten)]
        source: ImageSource,
        /// Block device or disk file that is compared with the image
        #[arg(long, value_name = "PATH")]
        disk: Option<PathBuf>,
        /// Threads that read and hash; fewer than 4 count as 4
        #[arg(long, value_name = "NUMBER", default_value = "4", requires = "disk")]
        threads: NonZeroUsize,
        /// Also check that this key of minisign signed it, in base64 or in a file; may be given more than once
        #[arg(long, value_name = "KEY|FILE")]
        key: Vec<String>,
    },
    /// Sign a packed image, in the format of minisign
    #[command(after_help = "Examples:
  minisign -G -W -p images.pub -s images.key    # makes a pair of keys, once
  cloud-machine image sign debian-12 --sign-key images.key

The signature lies beside the packed file, as FILE.minisig; `minisign -Vm FILE -p images.pub` accepts it, and what
`minisign -Sm FILE` makes is accepted here.")]
    Sign {
        /// Name in the store, or path of a packed file
        image: String,
        #[command(flatten)]
        key: SignKey,
    },
    /// Write an image to a disk or disk file: only what differs, and read back
    #[command(after_help = "Examples:
  cloud-machine image write debian-12 --disk /dev/sdb
  cloud-machine image write ./debian-12.image --disk disk.raw --tier stream --yes
  cloud-machine image write https://images.example/debian-12.image --disk /dev/sdb
  cloud-machine image write http://10.0.0.1/debian-12.image --digest blake3:5f0c… --disk /dev/sdb

From an address only what differs is fetched, if its server serves ranges. Over http anybody on the way could put another
image in its place: --digest says which one is meant.

All of the disk belongs to the image: what lies behind it becomes zero, and the partition table is the one for a disk of
this size. A write that is cut off leaves nothing that boots; the same command finishes it.")]
    Write(Write),
    /// Build a unified kernel image, a file that UEFI firmware starts: kernel, initramfs and command line in one
    #[command(after_help = "Examples:
  cloud-machine image uki agent.efi --image debian-12 --cmdline 'console=ttyS0 cloudmachine.pin=sha256:5f0c…'
  cloud-machine image uki debian.efi --kernel vmlinuz --initramfs initrd.img --cmdline 'root=LABEL=root ro'
  cloud-machine image uki agent.efi --image debian-12 --cmdline quiet --efi-key boot.key --efi-cert boot.pem

--image takes the kernel of an image of the store, and the initramfs with the agent that was made for it. The stub is that of
Debian's package systemd-boot-efi. --efi-key signs with `sbsign` of package sbsigntool, for firmware under secure boot.

The result is what `image measure` prints. The same parts give the same file.")]
    Uki(Uki),
    /// Print what PCR 4 and 11 of a TPM hold after a boot of a unified kernel image
    #[command(after_help = "Examples:
  cloud-machine image measure agent.efi
  cloud-machine image measure agent.efi --output json    # also the bank of SHA-384

PCR 11 is what `systemd-measure calculate` says for each phase of the boot; `:` is before the first. PCR 4 is that of a file
which firmware starts by itself, and first. All follows from the file alone, whoever made it, and is only as good as what is
known of the rest of the boot: docs/guides/uki.md.")]
    Measure {
        /// The unified kernel image
        file: PathBuf,
    },
    /// List the images of the store
    #[command(after_help = "Examples:
  cloud-machine image list
  cloud-machine image list --output json")]
    List,
    /// Delete an image that no machine uses, and its golden disks
    #[command(after_help = "Examples:
  cloud-machine image delete debian-11
  cloud-machine image delete debian-11 --yes

A golden disk on which a machine stands, or whose content another image of the store has, is kept. The highest
generation that was here is remembered: an older image of this name is refused later, too.")]
    Delete {
        /// Name of the image
        name: ImageName,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// Form of a disk image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum InputFormat {
    /// By the first bytes.
    Auto,
    /// The bytes of the disk; holes of the file are not read.
    Raw,
    /// QEMU's format, converted by `qemu-img`; one file, without encryption and snapshots.
    Qcow2,
    /// Raw, compressed by zstd.
    Zstd,
    /// Raw, compressed by gzip.
    Gzip,
    /// Raw, compressed by xz.
    Xz,
}

/// Where a packed image is read from.
#[derive(Clone, Debug, Args)]
pub(crate) struct ImageSource {
    /// Name in the store, path of a packed file, or its http or https address; the server must serve ranges
    pub(crate) image: String,
    /// CA certificates in PEM that an https server is held against, in place of the public ones
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Digest that the image must have, as `image inspect` and b3sum print it
    #[arg(long, value_name = "blake3:HEX")]
    pub(crate) digest: Option<Digest>,
}

#[derive(Debug, Args)]
pub(crate) struct Write {
    #[command(flatten)]
    pub(crate) source: ImageSource,
    /// Block device or disk file; everything on it is lost
    #[arg(long, value_name = "PATH")]
    pub(crate) disk: PathBuf,
    /// What is read before it is written
    #[arg(long, value_enum, default_value_t = TierChoice::Auto)]
    pub(crate) tier: TierChoice,
    /// Compare only these ranges and a sample of the rest: a JSON list of {"offset": BYTES, "length": BYTES} from the
    /// host's own dirty map of the disk, never from whoever used it
    #[arg(long, value_name = "FILE", conflicts_with = "tier")]
    pub(crate) dirty: Option<PathBuf>,
    /// Write only what this key of minisign signed, in base64 or in a file; may be given more than once
    #[arg(long, value_name = "KEY|FILE")]
    pub(crate) key: Vec<String>,
    /// Do not ask whether the disk may be overwritten
    #[arg(long)]
    pub(crate) yes: bool,
    /// Threads that read, hash and write, with 3 MiB of memory each; fewer than 4 count as 4
    #[arg(long, value_name = "NUMBER", default_value = "4")]
    pub(crate) threads: NonZeroUsize,
}

/// What is read before it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TierChoice {
    /// Compare, or stream when a probe of 64 blocks finds most of them wrong
    Auto,
    /// Compare everything and write what differs
    Scan,
    /// Write everything, without comparing first
    Stream,
}

#[derive(Debug, Args)]
pub(crate) struct Pack {
    /// Name that the image gets in the store
    pub(crate) name: ImageName,
    /// The disk image: raw, qcow2, or raw compressed by zstd, gzip or xz; `-` reads standard input
    #[arg(long, visible_alias = "raw", value_name = "FILE")]
    pub(crate) input: PathBuf,
    /// Form of the disk image
    #[arg(long, value_enum, default_value_t = InputFormat::Auto)]
    pub(crate) format: InputFormat,
    #[command(flatten)]
    pub(crate) packing: Packing,
}

/// The disk of a machine.
#[derive(Debug, Args)]
pub(crate) struct Capture {
    /// Name that the image gets in the store
    pub(crate) name: ImageName,
    #[command(flatten)]
    pub(crate) there: There,
    /// The disk: serial:TEXT, wwn:TEXT, label:TEXT, /dev/NAME or /dev/disk/by-id/NAME [default: the only disk]
    #[arg(long, value_name = "DEVICE")]
    pub(crate) disk: Option<DeviceSelector>,
    /// Also copy a disk that something uses, while it does
    #[arg(long)]
    pub(crate) in_use: bool,
    /// Seconds that the machine may be silent: until it answers, and between two parts of its disk
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub(crate) timeout: u64,
    #[command(flatten)]
    pub(crate) packing: Packing,
}

/// What of a disk is packed, and with what.
#[derive(Debug, Args)]
pub(crate) struct Packing {
    /// Refuse a disk of more bytes; a few compressed bytes can stand for many
    #[arg(long, value_name = "SIZE", default_value = "16TiB")]
    pub(crate) max_size: ByteSize,
    /// Number of the partition with the root filesystem, where its type does not say which one that is
    #[arg(long, value_name = "NUMBER")]
    pub(crate) root_partition: Option<u32>,
    /// The kernel that machines are started with, in place of the image's own
    #[arg(long, value_name = "FILE", requires = "modules")]
    pub(crate) kernel: Option<PathBuf>,
    /// Folder of that kernel's modules, with modules.dep
    #[arg(long, value_name = "FOLDER", requires = "kernel")]
    pub(crate) modules: Option<PathBuf>,
    /// Release of the image's own kernel that is taken, where it has several
    #[arg(long, value_name = "RELEASE", conflicts_with_all = ["kernel", "modules"])]
    pub(crate) kernel_release: Option<String>,
    /// Folder, laid out as a root folder, with the programs that make filesystems and all they need; it goes into the
    /// initramfs. `images/build` makes one
    #[arg(long, value_name = "FOLDER")]
    pub(crate) programs: Option<PathBuf>,
    /// A kernel module beyond those for disks and network that goes into the initramfs with all it needs, such as zfs for
    /// disks with `kernel-module: zfs`; may be given several times
    #[arg(long, value_name = "NAME")]
    pub(crate) kernel_module: Vec<String>,
    /// The static agent [default: cloud-machine-agent beside this program]
    #[arg(long, value_name = "FILE", env = "CLOUD_MACHINE_AGENT")]
    pub(crate) agent: Option<PathBuf>,
    /// Number that only grows from one build of the image to the next
    #[arg(long, default_value_t = 1)]
    pub(crate) generation: u64,
    /// Put other content under a generation that is here already; for images that nobody uses yet
    #[arg(long)]
    pub(crate) replace: bool,
    /// Take an image of a lower generation than the highest that was here; machines still want --allow-downgrade for it
    #[arg(long)]
    pub(crate) allow_downgrade: bool,
    /// Sign the packed image with this secret key of minisign; a password is taken from CLOUD_MACHINE_SIGN_PASSWORD or
    /// asked for
    #[arg(long, value_name = "FILE")]
    pub(crate) sign_key: Option<PathBuf>,
}

/// Who signs.
#[derive(Debug, Args)]
pub(crate) struct SignKey {
    /// File with a secret key of minisign; its password is taken from CLOUD_MACHINE_SIGN_PASSWORD or asked for
    #[arg(long, value_name = "FILE")]
    pub(crate) sign_key: PathBuf,
}

/// Rules of the host on images that an operator sets aside; they are recorded with the machine and reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct Exceptions {
    /// Take an image of a lower generation than the highest that this host ever had
    #[arg(long)]
    pub(crate) allow_downgrade: bool,
    /// Take an image that no key of image-keys has signed
    #[arg(long)]
    pub(crate) allow_unsigned: bool,
}

impl From<Exceptions> for cloud_machine_operation::Exceptions {
    fn from(Exceptions { allow_downgrade, allow_unsigned }: Exceptions) -> Self {
        Self { allow_downgrade, allow_unsigned }
    }
}
