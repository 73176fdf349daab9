//! `ssh`: logging in with the machine's own key and its pinned host key. Whoever logs in may leave something behind, so
//! the machine counts as used from then on.

use std::{os::unix::process::CommandExt, process::ExitCode};

use cloud_machine_driver::drivers;
use cloud_machine_operation::{Operations, access};
use cloud_machine_store::Store;

use crate::{
    arguments::Ssh,
    failure::{Failure, Kind},
};

pub(crate) fn log_in(store: &Store, ssh: &Ssh) -> Result<ExitCode, Failure> {
    let record = Operations { store, drivers: &drivers(), observer: &() }.mark_used(&ssh.name)?;
    let mut command = access::interactive(store, &record)?;
    if ssh.tty {
        command.arg("-t");
    }
    for forward in &ssh.forward {
        command.args(["-L", forward]);
    }
    command.args(&ssh.arguments);
    Err(Failure::during(Kind::Failed, "start ssh")(command.exec()))
}
