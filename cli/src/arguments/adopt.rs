//! Arguments of `adopt`. Must not look anything up.

use clap::Args;
use cloud_machine_protocol::MachineName;
use cloud_machine_store::ImageName;

use super::{Configuration, Exceptions, UnderLease, place::There};

#[derive(Debug, Args)]
pub(crate) struct Adopt {
    /// Name that the machine gets; also its host name from its first reimage on
    pub(crate) name: MachineName,
    #[command(flatten)]
    pub(crate) under: UnderLease,
    #[command(flatten)]
    pub(crate) there: There,
    /// What has power over it: the name of a file of commands (driver ssh), or a server's number or name (hetzner)
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) control: String,
    #[command(flatten)]
    pub(crate) configuration: Configuration,
    /// Name of the image that it is to have, as it is typed; stronger than `image` in a document and --set
    #[arg(long)]
    pub(crate) image: Option<ImageName>,
    /// Name of the driver [default: that of the configuration, and ssh where nothing names one]
    #[arg(long)]
    pub(crate) driver: Option<String>,
    #[command(flatten)]
    pub(crate) exceptions: Exceptions,
    /// Seconds that the machine may take to say what it is
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub(crate) timeout: u64,
}
