//! Arguments of `image uki`. Must not act or look anything up.

use std::path::PathBuf;

use clap::Args;
use cloud_machine_store::ImageName;

/// Where Debian's package systemd-boot-efi has the stub.
pub(crate) const STUB: &str = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";

/// What a unified kernel image is made of.
#[derive(Debug, Args)]
pub(crate) struct Uki {
    /// The file that is made
    pub(crate) file: PathBuf,
    /// Image of the store: its kernel, and the initramfs with the agent
    #[arg(long, value_name = "NAME", required_unless_present = "kernel", conflicts_with = "kernel")]
    pub(crate) image: Option<ImageName>,
    /// A kernel that is in no image of the store
    #[arg(long, value_name = "FILE", requires = "initramfs")]
    pub(crate) kernel: Option<PathBuf>,
    /// An initramfs, such as a distribution's for that kernel, in place of the image's
    #[arg(long, value_name = "FILE")]
    pub(crate) initramfs: Option<PathBuf>,
    /// The kernel's command line: printable ASCII, as long as the kernel takes
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) cmdline: String,
    /// An os-release file that says what is started [default: one with the names of image and kernel]
    #[arg(long, value_name = "FILE")]
    pub(crate) os_release: Option<PathBuf>,
    /// systemd's stub for x86-64, unsigned
    #[arg(long, value_name = "FILE", default_value = STUB)]
    pub(crate) stub: PathBuf,
    /// Sign with this private key, in PEM and without a password
    #[arg(long, value_name = "FILE", requires = "efi_cert")]
    pub(crate) efi_key: Option<PathBuf>,
    /// Its certificate, in PEM, which the firmware of the machines must have
    #[arg(long, value_name = "FILE", requires = "efi_key")]
    pub(crate) efi_cert: Option<PathBuf>,
    /// Put the new file in the place of one that is there
    #[arg(long)]
    pub(crate) replace: bool,
}
