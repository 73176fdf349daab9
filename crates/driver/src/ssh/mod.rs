//! SSH to a machine: the host's key for it, its pinned host key, the system's `ssh`, and whether anybody answers.
//! Must not accept a host key that no accepted report has named.

mod ask;
mod command;
mod host;
mod host_ca;
mod job;
mod key;
mod marks;
mod pinned;
mod pipe;
mod port;
mod serving;
mod sink;

use std::{io, path::PathBuf};

pub use ask::{ask, wait_ready};
pub use command::{Target, command, copy, interactive, on_machine, quoted_word};
pub use host::Host;
pub(crate) use host::master;
pub use host_ca::HostCa;
pub use job::{Followed, Job, JobEnd, NotBegun};
pub use key::{generate_key, public_key, read_key, write_known_hosts};
pub use pinned::{fingerprint, host_key, is_known, is_known_form, is_same_key};
pub use port::{free_port, wait_banner};
pub use serving::{ServingAgent, run_agent, stream_agent};
pub use sink::Sink;

use cloud_machine_protocol::InterfaceName;
use cloud_machine_store::StoreError;

use cloud_machine_child::ChildError;

use crate::error::{DriverError, DriverErrorKind};

/// What a program said, where it said anything.
fn said(stderr: &str) -> String {
    if stderr.is_empty() { String::new() } else { format!(" ({stderr})") }
}

/// Whether the programs of this module are there.
///
/// # Errors
/// Of [`DriverErrorKind::MissingTool`].
pub(crate) fn preflight() -> Result<(), DriverError> {
    let folders: Vec<PathBuf> = std::env::var_os("PATH").iter().flat_map(std::env::split_paths).collect();
    for program in ["ssh", "ssh-keyscan", "ssh-keygen"] {
        if !folders.iter().any(|folder| folder.join(program).is_file()) {
            let programs = "ssh, ssh-keyscan and ssh-keygen";
            let kind = DriverErrorKind::MissingTool { package: "openssh-client", programs };
            return Err(DriverError::new(kind, format!("there is no program {program}")));
        }
    }
    Ok(())
}

/// Why SSH to a machine could not be prepared or nobody answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SshError {
    /// It cannot be told on which link of this host a machine is.
    #[error("cannot read which bridge {interface} is a port of")]
    Bridge {
        /// The interface.
        interface: InterfaceName,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A key could not be made or written in OpenSSH's format.
    #[error("cannot make an SSH key")]
    Key(#[source] ssh_key::Error),
    /// What lies where the authority's key belongs is none that it can sign with.
    #[error(
        "cannot take {path} as the key of the authority for host keys: {why}; put back the one that was there, or remove it: the next \
         reimage makes another one, and clients need its line from `cloud-machine known-hosts`"
    )]
    HostCa {
        /// The file.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// A key or `known_hosts` could not be stored or read.
    #[error("cannot store or read an SSH key")]
    Store(#[source] StoreError),
    /// A machine's host key is no public key line.
    #[error("the machine's host key is no public key: {found}")]
    InvalidHostKey {
        /// Its start, safe to show.
        found: String,
    },
    /// A machine's host key is of another kind than ours.
    #[error("the machine's host key is {found}, only ssh-ed25519 is accepted")]
    HostKeyKind {
        /// Its algorithm.
        found: String,
    },
    /// A path or user cannot be said to `ssh` without changing its meaning.
    #[error("{what} {found:?} cannot be given to ssh")]
    InvalidArgument {
        /// Which value.
        what: &'static str,
        /// The value.
        found: String,
    },
    /// No port on 127.0.0.1 could be taken.
    #[error("cannot find a free port on 127.0.0.1")]
    Port(#[source] io::Error),
    /// Nobody spoke SSH before the deadline.
    #[error("no SSH banner on {place} before the deadline (last error: {last})")]
    Silent {
        /// Address and port.
        place: String,
        /// What came of the last try, safe to show.
        last: String,
    },
    /// The machine's process ended while its SSH was waited for.
    #[error("the machine ended before it spoke SSH on {place}")]
    Ended {
        /// Address and port.
        place: String,
    },
    /// What speaks there is something else.
    #[error("what answers on {place} does not speak SSH: {stderr}")]
    NoSsh {
        /// Address and port.
        place: String,
        /// What it said, safe to show.
        stderr: String,
    },
    /// `ssh` could not be run, or what it was to say did not come within its bounds.
    #[error("the machine does not answer over SSH as it should")]
    Child(#[source] ChildError),
    /// The login failed.
    #[error("the machine does not answer with its pinned host key\n{stderr}")]
    Unready {
        /// What `ssh` said last, safe to show.
        stderr: String,
    },
    /// Whether the machine's process is there could not be seen while its SSH was waited for.
    #[error("cannot see whether the machine's process is there")]
    Unseen(#[source] io::Error),
    /// The agent could not be brought to another system.
    #[error("cannot bring the agent to the system that it shall serve on")]
    Agent(#[source] io::Error),
    /// What answers has no host key that is accepted.
    #[error("cannot get an ssh-ed25519 host key from {place}: nobody answers there, or it has none{}", said(stderr))]
    NoKey {
        /// Address and port.
        place: String,
        /// What `ssh-keyscan` said, safe to show.
        stderr: String,
    },
    /// The agent on another system did not do what it was asked.
    #[error("the agent on {place} did not do `{asked}`: {ended}\n{stderr}")]
    AgentFailed {
        /// Host and port.
        place: String,
        /// Its first argument.
        asked: String,
        /// How the connection's program ended.
        ended: String,
        /// The end of what was said on standard error, safe to show.
        stderr: String,
    },
    /// It said nothing for too long.
    #[error("the agent on {place} was silent until the deadline")]
    AgentSilent {
        /// Host and port.
        place: String,
    },
    /// It said more than it may.
    #[error("the agent said more than {limit} bytes and was ended")]
    AgentTooMuch {
        /// Bytes that it may say.
        limit: usize,
    },
    /// What it said could not be taken.
    #[error("cannot take what the agent says")]
    Taken(#[source] io::Error),
    /// A file is missing that [`command`] needs.
    #[error("there is no {}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
}
