//! Arguments of `config`: names, help and examples. Must not act or look anything up.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::ordered::Configuration;

/// Commands on the configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Print the merged configuration, secrets included; it loads again to the same
    #[command(after_help = "Examples:
  cloud-machine config show
  cloud-machine config show --config cloud-machine.yaml --set resources.ram=2 > merged.yaml")]
    Show {
        #[command(flatten)]
        configuration: Configuration,
        #[command(flatten)]
        last: Last,
    },
    /// Print every value with its origin and with what the driver makes of it; secrets are redacted
    #[command(after_help = "Examples:
  cloud-machine config audit --all
  cloud-machine config audit --explain resources.ram
  cloud-machine config audit --output yaml > audited.yaml
  cloud-machine config audit --volume drive.img --url-file machine.yaml
  cloud-machine config audit --fetch-url
  cloud-machine config audit --check-cloud-init

Exit code 3 when the driver does not honour a key named in `require`, or cloud-init finds a key wrong.")]
    Audit(Audit),
    /// Print the JSON Schema of a configuration, for editors
    #[command(after_help = "Example:
  cloud-machine config schema > config.schema.json")]
    Schema,
    /// Print the reference page of every key, in Markdown
    #[command(after_help = "Example:
  cloud-machine config reference > configuration.md")]
    Reference,
    /// Print an annotated example with every key
    #[command(after_help = "Example:
  cloud-machine config example > cloud-machine.yaml")]
    Example,
}

#[derive(Debug, Args)]
pub(crate) struct Audit {
    #[command(flatten)]
    pub(crate) configuration: Configuration,
    /// Name of the driver to ask, as it is typed; stronger than `driver` in a document and --set
    #[arg(long, value_name = "NAME")]
    pub(crate) driver: Option<String>,
    /// Tell the story of one key, or of all below it, through all layers
    #[arg(long, value_name = "KEY", conflicts_with = "all")]
    pub(crate) explain: Option<String>,
    /// Also show what each value hid
    #[arg(long)]
    pub(crate) all: bool,
    /// Let an installed cloud-init judge its keys by its schema, and show what it finds at the place in your document
    #[arg(
        long,
        value_name = "PROGRAM",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "cloud-init",
        conflicts_with = "explain"
    )]
    pub(crate) check_cloud_init: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) last: Last,
}

/// The last two layers, which a machine reads for itself, as files of the host.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Last {
    /// Add this as the document that a machine would get from its cloud-init-url
    #[arg(long, value_name = "FILE")]
    pub(crate) url_file: Option<PathBuf>,
    /// Fetch the document behind the configured cloud-init-url from here
    #[arg(long, conflicts_with = "url_file")]
    pub(crate) fetch_url: bool,
    /// Add the user-data of a volume labelled CLOUD-INIT, as if it were attached to a machine without a pin for it
    #[arg(long, value_name = "FILE")]
    pub(crate) volume: Vec<PathBuf>,
}
