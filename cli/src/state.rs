//! Which state folder a command works on. Must not look into it.

use std::path::{Path, PathBuf};

use cloud_machine_store::Store;

use crate::{
    arguments::{Global, Several, UnderLease},
    failure::{Failure, Kind},
    folders,
    ui::Ui,
};

/// Opens the state folder for a command that makes something; it is made on first use.
pub(crate) fn open_store(global: &Global) -> Result<Store, Failure> {
    let folder = state_folder(global)?;
    check_above(global, &folder)?;
    Ok(Store::open(folder)?)
}

/// Refuses a state folder that will not be made. Of a place that somebody named only the folder itself is: above it, an absent one is a
/// slip of the fingers.
pub(crate) fn check_above(global: &Global, folder: &Path) -> Result<(), Failure> {
    if let (Some(_), Some(above)) = (&global.state, folder.parent())
        && !above.try_exists().map_err(Failure::during(Kind::Failed, format!("look for {}", above.display())))?
    {
        let text = format!("there is no folder {} for the state folder {}", above.display(), folder.display());
        return Err(
            Failure::new(Kind::NotFound, text).hint("correct --state or CLOUD_MACHINE_STATE, or make the folder")
        );
    }
    Ok(())
}

/// Opens the state folder for a command that makes no machine and no image: nothing is made where none is.
pub(crate) fn open_existing(global: &Global) -> Result<Store, Failure> {
    Ok(Store::open_existing(state_folder(global)?)?)
}

/// [`open_existing`], for a list: an empty one has to be told from one of another place.
pub(crate) fn open_to_list(ui: &Ui, global: &Global) -> Result<Store, Failure> {
    let store = open_existing(global)?;
    if !store.is_there()? {
        ui.note(&format!("nothing was ever stored in {}", store.root().display()));
    }
    Ok(store)
}

/// The opened state folder for whoever acts under a lease. A lease is one machine's.
pub(crate) fn leased(store: Store, under: UnderLease, machines: &Several) -> Result<Store, Failure> {
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
