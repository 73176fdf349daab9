//! How a person logs in to a machine that is there already, from what was typed and what is in the home. Must not connect.

use std::path::PathBuf;

use cloud_machine_operation::Login;

use crate::{
    arguments::There,
    failure::{Failure, Kind},
};

/// The login that was typed.
pub(crate) fn of(there: &There) -> Result<Login, Failure> {
    let home = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
    // What a person has linked is what it leads to.
    let identity = there.identity.as_ref().map(std::fs::canonicalize).transpose();
    Ok(Login {
        user: there.ssh.user.clone(),
        address: there.ssh.host.clone(),
        port: there.ssh.port,
        host_key: there.host_key.clone(),
        identity: identity.map_err(Failure::during(Kind::NotFound, "find the private key"))?,
        known_hosts: home.map(|home| home.join(".ssh/known_hosts")),
    })
}
