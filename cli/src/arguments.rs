//! What was typed, as types. Owns names, help and examples of the command line; must not act or look anything up.

mod adopt;
mod bake;
mod config;
mod console;
mod image;
mod lease;
mod list;
mod login;
mod ordered;
mod place;
mod short_cut;
mod uki;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use cloud_machine_protocol::{Assurance, MachineName};
use cloud_machine_store::ImageName;

pub(crate) use adopt::Adopt;
pub(crate) use bake::{Bake, Generator};
pub(crate) use config::{Audit, Config, Last};
pub(crate) use console::{Console, DetachKey};
pub(crate) use image::{Capture, Exceptions, Image, ImageSource, InputFormat, Pack, Packing, TierChoice, Write};
pub(crate) use lease::{HeldLease, Lease, UnderLease};
pub(crate) use list::{Column, Filter, List};
pub(crate) use login::{Cp, Exec, Logs, Operand, Ssh};
pub(crate) use ordered::{Configuration, Step};
pub(crate) use place::There;
pub(crate) use short_cut::ShortCut;
pub(crate) use uki::Uki;

const EXIT_CODES: &str = "\
Exit codes:
  0 done                                5 verification failed
  1 failed                              6 timed out
  2 wrong usage                         7 some of several machines failed
  3 configuration or audit refused      8 locked by another operation
  4 not found                         130 ended by Ctrl-C (128 and the number of another signal)

`exec` has that of its program.";

/// Creates machines from a golden image, reimages them in place after untrusted jobs, and verifies that.
#[derive(Debug, Parser)]
#[command(name = "cloud-machine", version, after_help = EXIT_CODES, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// Form of the result on standard output
    #[arg(long, short, global = true, value_enum, default_value_t = OutputForm::Table)]
    pub(crate) output: OutputForm,
    /// No progress and no remarks on standard error; errors only
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// Tell progress and remarks on standard error as JSON, one object a line
    #[arg(long, global = true, value_enum, value_name = "FORM")]
    pub(crate) events: Option<EventForm>,
    /// Folder with all state of machines and images [default: $XDG_STATE_HOME/cloud-machine]
    #[arg(long, global = true, env = "CLOUD_MACHINE_STATE", value_name = "FOLDER")]
    pub(crate) state: Option<PathBuf>,
    /// What the program logs to standard error, in tracing's filter language
    #[arg(long, global = true, env = "CLOUD_MACHINE_LOG", default_value = "warn", value_name = "FILTER")]
    pub(crate) log: String,
}

/// How progress is written when a program reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EventForm {
    /// One JSON object a line, each with `kind` and `version`.
    Ndjson,
}

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputForm {
    /// For people.
    Table,
    /// One YAML document; of `config show` and `config audit` one that loads again.
    Yaml,
    /// One JSON document with `kind` and `version`.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create machines and start them from their image
    #[command(after_help = "Examples:
  cloud-machine create demo --image debian-12
  cloud-machine create demo --image debian-12 --strategy overlay
  cloud-machine create ci-1 ci-2 --config cloud-machine.yaml --set resources.ram=2")]
    Create(Create),
    /// Take over a machine that is there already, before any job runs on it; nothing on it is changed
    #[command(after_help = "Examples:
  cloud-machine adopt web-1 --ssh root@192.0.2.7 --image debian-12-cloud
  cloud-machine adopt web-1 --ssh root@192.0.2.7 --image debian-12-cloud --host-key SHA256:…
  cloud-machine adopt db --ssh root@db.example:2222 --control rack-2 --config db.yaml
  cloud-machine adopt ci-1 --driver hetzner --control SERVER --ssh root@192.0.2.7 --image debian-12-cloud

All that it says of itself is a promise of the machine only. A second call compares, and says field by field what changed.
Driver ssh takes the commands for power and rescue system from ~/.config/cloud-machine/drivers/ssh/CONTROL.yaml, or the same below
/etc/cloud-machine; see docs/guides/ssh.md. The image has to start by itself on the machine: a boot loader, and drivers for its hardware.")]
    Adopt(Adopt),
    /// Start machines; a reimage that was cut off is finished first
    #[command(after_help = "Examples:
  cloud-machine start demo
  cloud-machine start ci-1 ci-2 --timeout 300")]
    Start(Timed),
    /// Stop machines
    #[command(after_help = "Examples:
  cloud-machine stop demo
  cloud-machine stop demo --grace 10
  cloud-machine stop ci-1 ci-2 --now")]
    Stop(Stop),
    /// Delete machines with their disks
    #[command(after_help = "Examples:
  cloud-machine delete demo
  cloud-machine delete ci-1 ci-2 --yes

Without --yes it asks, which needs a terminal. A machine that was adopted is only forgotten.")]
    Delete(Delete),
    /// List machines
    #[command(after_help = "Examples:
  cloud-machine list --filter state=failed
  cloud-machine list --filter image=debian-12 --filter used=yes
  cloud-machine list --columns name,ssh --no-header")]
    List(List),
    /// Show all that the host knows of a machine
    #[command(after_help = "Examples:
  cloud-machine show demo
  cloud-machine show demo --output json")]
    Show(One),
    /// Show the console log of a machine, or attach this terminal to its serial line
    #[command(after_help = "Examples:
  cloud-machine console demo --follow
  cloud-machine console demo --attach
  cloud-machine console demo --attach --detach-key ctrl-a")]
    Console(Console),
    /// Log in to a machine by SSH, with its pinned host key
    #[command(after_help = "Examples:
  cloud-machine ssh demo
  cloud-machine ssh demo --forward 8080:localhost:80
  cloud-machine ssh demo --tty -- top

No agent and no X11 of yours is offered to the machine, and your own SSH configuration is not read.")]
    Ssh(Ssh),
    /// Print the lines of known_hosts by which other SSH clients know the machines after each reimage
    #[command(after_help = "Examples:
  cloud-machine known-hosts >> ~/.ssh/known_hosts
  cloud-machine known-hosts --hosts 'ci-*'
  ssh -p PORT -o HostKeyAlias=demo root@127.0.0.1     # the port is in `cloud-machine show demo`

The first line names the authority that certifies the machines' host keys, each for the machine's name. The others revoke keys of
before: who does not fetch them anew believes such a key for 30 days after it was made.")]
    KnownHosts(KnownHosts),
    /// Run a program on a machine as root and pass on its exit code
    #[command(after_help = "Examples:
  cloud-machine exec demo -- uname -a
  cloud-machine exec demo -- sh -s < job.sh
  cloud-machine exec demo --timeout 600 --output json -- make test
  cloud-machine exec demo --tty -- bash

Exit code: that of the program, 128 and the number of a signal that ended it. It returns when the program ends, also
when something that it left behind holds its output open. 1: it was not begun, or the connection was lost. 5: the
machine did not do as it was asked, the program was not begun. 6: the time was over. The program may have run after a
lost connection, after --timeout, and after a signal to exec itself; --output json says so, with the first MiB of both
outputs of the program. With --tty it is ssh's own: 255 may be the connection's.")]
    Exec(Exec),
    /// Copy files to a machine or from it
    #[command(after_help = "Examples:
  cloud-machine cp job.tar.gz demo:/root/
  cloud-machine cp --recursive demo:/var/log ./logs-of-demo
  cloud-machine cp ./a:b demo:            # a file of this host whose name has a colon; to the home folder of root

The last part of the path that is copied from a machine may be a pattern such as '*.log'; a backslash before *, ? or [ makes it
a plain character. Needs scp(1) here and the machine's SFTP server.")]
    Cp(Cp),
    /// Show the journal of a machine, or its console log while its system does not run
    #[command(after_help = "Examples:
  cloud-machine logs demo --follow
  cloud-machine logs demo --unit ssh.service --lines 20
  cloud-machine logs demo --console

All of it is what the machine says of itself; whatever a terminal would obey is escaped.")]
    Logs(Logs),
    /// Reimage machines in place and verify it
    #[command(after_help = "Examples:
  cloud-machine reimage demo --require-assurance host-rooted
  cloud-machine reimage demo --strategy overlay     # makes the golden disk once
  cloud-machine reimage demo --strategy rewrite     # every byte of the disk is read back
  cloud-machine reimage ci-1 ci-2 --output json
  cloud-machine reimage rented --snapshot --require-assurance provider-rooted
  cloud-machine reimage rented --strategy rebuild --require-assurance provider-rebuilt
  cloud-machine reimage demo --image-url https://images.example/debian-12.image")]
    Reimage(Reimage),
    /// Verify the last reimage of machines again, from the stored evidence and over SSH
    #[command(after_help = "Examples:
  cloud-machine verify demo
  cloud-machine verify ci-1 ci-2 --stored-only
  cloud-machine verify demo --require-assurance host-rooted --output json")]
    Verify(Verify),
    /// Print what a reimage of a machine would do, and do nothing
    #[command(after_help = "Examples:
  cloud-machine plan demo
  cloud-machine plan demo --output json")]
    Plan(One),
    /// List what was made for this state folder at providers and has no record any more, and delete it with --yes
    #[command(after_help = "Examples:
  cloud-machine gc
  cloud-machine gc --driver hetzner --yes

Only what carries the label of this state folder is looked at: not what other folders or people made. A copy of the folder has the
same label: --yes in one deletes the machines of the other.")]
    Gc(Gc),
    /// Keep a machine for one owner until a deadline
    #[command(subcommand)]
    Lease(Lease),
    /// Show which operations were done with machines, and how they ended
    #[command(after_help = "Examples:
  cloud-machine journal
  cloud-machine journal ci-1 --last 5
  cloud-machine journal --output json

An operation whose process was killed is shown as cut_off.")]
    Journal(Journal),
    /// Build and inspect volumes labelled CLOUD-INIT
    #[command(subcommand)]
    Volume(Volume),
    /// Pack, verify, inspect and list images
    #[command(subcommand)]
    Image(Image),
    /// Show the synthesized configuration
    #[command(subcommand)]
    Config(Config),
    /// Say what this host lacks, and how to get it
    #[command(after_help = "Examples:
  cloud-machine doctor
  cloud-machine doctor --output json

Exit code 1 when something is missing.")]
    Doctor,
    /// Print the completions of a shell
    #[command(after_help = "Examples:
  cloud-machine completions bash > /etc/bash_completion.d/cloud-machine
  cloud-machine completions zsh > ~/.zfunc/_cloud-machine")]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages of all commands into a folder; packages are made with it
    #[command(
        hide = true,
        after_help = "Examples:
  cloud-machine man-pages /usr/local/share/man/man1"
    )]
    ManPages {
        /// A folder that is there
        folder: PathBuf,
    },
}

/// One machine.
#[derive(Debug, Args)]
pub(crate) struct One {
    /// Name of the machine
    pub(crate) name: MachineName,
}

/// Several machines.
#[derive(Debug, Args)]
pub(crate) struct Several {
    /// Names of the machines
    #[arg(required = true)]
    pub(crate) names: Vec<MachineName>,
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    #[command(flatten)]
    pub(crate) machines: Several,
    #[command(flatten)]
    pub(crate) under: UnderLease,
    #[command(flatten)]
    pub(crate) configuration: Configuration,
    /// Name of the image, as it is typed; stronger than `image` in a document and --set
    #[arg(long)]
    pub(crate) image: Option<ImageName>,
    #[command(flatten)]
    pub(crate) address: ImageAddress,
    /// Name of the driver, as it is typed; stronger than `driver` in a document and --set
    #[arg(long)]
    pub(crate) driver: Option<String>,
    /// Attach a copy of this volume labelled CLOUD-INIT, read-only; the machine merges its user-data last
    #[arg(long, value_name = "FILE")]
    pub(crate) drive: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) exceptions: Exceptions,
    #[command(flatten)]
    pub(crate) short_cut: ShortCut,
    #[command(flatten)]
    pub(crate) time: Time,
}

/// Where a machine fetches its image.
#[derive(Clone, Debug, Args)]
pub(crate) struct ImageAddress {
    /// Let the machine fetch what it needs of the image from this http or https address, whose server must serve
    /// ranges; manifest, kernel and initramfs are still those of the store
    #[arg(long, value_name = "URL")]
    pub(crate) image_url: Option<String>,
    /// CA certificates in PEM that the https server is held against, in place of the public ones
    #[arg(long, value_name = "FILE", requires = "image_url")]
    pub(crate) image_ca: Option<PathBuf>,
}

/// A bound on the whole operation.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Time {
    /// Seconds that one machine may take
    #[arg(long, value_name = "SECONDS", default_value_t = 900, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) timeout: u64,
}

#[derive(Debug, Args)]
pub(crate) struct Timed {
    #[command(flatten)]
    pub(crate) machines: Several,
    #[command(flatten)]
    pub(crate) under: UnderLease,
    #[command(flatten)]
    pub(crate) time: Time,
}

#[derive(Debug, Args)]
pub(crate) struct Stop {
    #[command(flatten)]
    pub(crate) machines: Several,
    #[command(flatten)]
    pub(crate) under: UnderLease,
    /// End the process at once, without asking the system to shut down
    #[arg(long)]
    pub(crate) now: bool,
    /// Seconds that the system may take to shut down
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) grace: u64,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    pub(crate) machines: Several,
    #[command(flatten)]
    pub(crate) under: UnderLease,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Reimage {
    #[command(flatten)]
    pub(crate) machines: Several,
    #[command(flatten)]
    pub(crate) under: UnderLease,
    /// Take another image; from the store, unless --image-url says otherwise
    #[arg(long)]
    pub(crate) image: Option<ImageName>,
    #[command(flatten)]
    pub(crate) address: ImageAddress,
    /// Fail with exit code 5 below this assurance, weakest first: unproven, provider-rebuilt, provider-rooted, host-rooted, attested, sealed
    #[arg(long, value_name = "ASSURANCE", default_value = "host-rooted")]
    pub(crate) require_assurance: Assurance,
    /// Let a quarantined machine try again
    #[arg(long)]
    pub(crate) release: bool,
    #[command(flatten)]
    pub(crate) exceptions: Exceptions,
    #[command(flatten)]
    pub(crate) short_cut: ShortCut,
    #[command(flatten)]
    pub(crate) time: Time,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    pub(crate) machines: Several,
    /// Fail with exit code 5 below this assurance, weakest first: unproven, provider-rebuilt, provider-rooted, host-rooted, attested, sealed
    #[arg(long, value_name = "ASSURANCE", default_value = "host-rooted")]
    pub(crate) require_assurance: Assurance,
    /// Do not ask the running machine for its identity
    #[arg(long)]
    pub(crate) stored_only: bool,
}

#[derive(Debug, Args)]
pub(crate) struct KnownHosts {
    /// For which names, as known_hosts has them; without it those of all machines
    #[arg(long, value_name = "PATTERNS")]
    pub(crate) hosts: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Journal {
    /// Only of this machine, which may be deleted
    pub(crate) name: Option<MachineName>,
    /// Only so many, the last ones; 0 for all
    #[arg(long, short = 'n', value_name = "NUMBER", default_value_t = 0)]
    pub(crate) last: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Gc {
    /// Only of this driver; without it of all whose settings are there
    #[arg(long)]
    pub(crate) driver: Option<String>,
    /// Delete what is listed
    #[arg(long, short)]
    pub(crate) yes: bool,
}

/// Commands on volumes.
#[derive(Debug, Subcommand)]
pub(crate) enum Volume {
    /// Build a volume from files and print its pin
    #[command(after_help = "Example:
  cloud-machine volume build drive.img user-data=my.yaml")]
    Build {
        /// The volume to write; it must not exist
        file: PathBuf,
        /// Path on the volume and local file
        #[arg(required = true, value_name = "PATH=FILE")]
        files: Vec<String>,
    },
    /// Print label, pin and files of a volume
    #[command(after_help = "Example:
  cloud-machine volume inspect drive.img")]
    Inspect {
        /// The volume
        file: PathBuf,
    },
}

#[cfg(test)]
#[path = "arguments/help_tests.rs"]
mod tests;
