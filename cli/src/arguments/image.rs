//! Arguments of `image`: names, help and examples. Must not act or look anything up.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Commands on images.
#[derive(Debug, Subcommand)]
pub(crate) enum Image {
    /// Pack a raw disk image with its kernel, and make the initramfs that reimages with it
    #[command(after_help = "Example:
  cloud-machine image pack debian-12 --raw disk.raw --kernel vmlinuz --modules lib/modules/6.1.0-cloud-amd64")]
    Pack(Pack),
    /// Print the manifest of an image
    Inspect {
        /// Name in the store, or path of a packed file
        image: String,
    },
    /// Read a packed image and compare every block with its digest
    Verify {
        /// Name in the store, or path of a packed file
        image: String,
    },
    /// List the images of the store
    List,
}

#[derive(Debug, Args)]
pub(crate) struct Pack {
    /// Name that the image gets in the store
    pub(crate) name: String,
    /// The raw disk image
    #[arg(long, value_name = "FILE")]
    pub(crate) raw: PathBuf,
    /// The kernel that machines are started with
    #[arg(long, value_name = "FILE")]
    pub(crate) kernel: PathBuf,
    /// Folder of that kernel's modules, with modules.dep
    #[arg(long, value_name = "FOLDER")]
    pub(crate) modules: PathBuf,
    /// The static agent [default: cloud-machine-agent beside this program]
    #[arg(long, value_name = "FILE", env = "CLOUD_MACHINE_AGENT")]
    pub(crate) agent: Option<PathBuf>,
    /// Number that only grows from one build of the image to the next
    #[arg(long, default_value_t = 1)]
    pub(crate) generation: u64,
}
