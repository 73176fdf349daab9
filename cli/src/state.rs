//! Which state folder a command works on. Must not look into it.

use std::path::PathBuf;

use cloud_machine_store::Store;

use crate::{
    arguments::{Global, Several, UnderLease},
    failure::{Failure, Kind},
    folders,
};

/// Opens the state folder, which is made on first use.
pub(crate) fn open_store(global: &Global) -> Result<Store, Failure> {
    Ok(Store::open(state_folder(global)?)?)
}

/// Opens the state folder for whoever acts under a lease. A lease is one machine's.
pub(crate) fn open_leased(global: &Global, under: UnderLease, machines: &Several) -> Result<Store, Failure> {
    let store = open_store(global)?;
    match under.lease {
        Some(_) if machines.names.len() != 1 => {
            Err(Failure::new(Kind::Usage, "a lease is of one machine, and more are named")
                .hint("call it for each machine"))
        }
        Some(number) => Ok(store.under_lease(number)),
        None => Ok(store),
    }
}

/// `--state`, `$CLOUD_MACHINE_STATE`, `$XDG_STATE_HOME/cloud-machine` or `~/.local/state/cloud-machine`.
pub(crate) fn state_folder(global: &Global) -> Result<PathBuf, Failure> {
    let absolute =
        |path: PathBuf| std::path::absolute(path).map_err(Failure::during(Kind::Failed, "find the state folder"));
    if let Some(folder) = &global.state {
        return absolute(folder.clone());
    }
    folders::base("XDG_STATE_HOME", ".local/state")?.ok_or_else(|| {
        Failure::failed("there is no place for the state").hint("set HOME or CLOUD_MACHINE_STATE, or give --state")
    })
}
