//! Whether the host has room for what is asked: what cannot work is refused before anything is touched, what may run out
//! later is said. Must not make room.

use cloud_machine_store::{MachineRecord, Room, Store, Strategy};

use crate::{
    described::Described,
    error::OperationError,
    event::Notice,
    hint::Hint,
    installed, readable,
    room::LEAST,
    system_disk::{self, ReimageOptions},
    teller::Teller,
};

/// Holds a reimage against the room that there is, and says when disks may outgrow it.
pub(crate) fn check(
    teller: Teller<'_>,
    store: &Store,
    record: &MachineRecord,
    described: &Described,
    options: ReimageOptions,
) -> Result<(), OperationError> {
    fits(store, record, described, options)?;
    if let Some(warning) = overcommitted(store.room()?) {
        teller.notice(Notice::Overcommitted(warning));
    }
    Ok(())
}

/// Refuses a reimage that finds no room, of a machine that need not be there yet.
pub(crate) fn fits(
    store: &Store,
    record: &MachineRecord,
    described: &Described,
    options: ReimageOptions,
) -> Result<(), OperationError> {
    let disk = system_disk::system_disk(record)?;
    if disk.file.is_none() {
        return Ok(());
    }
    // What the system disk takes now can be given up for what it becomes.
    let usable = store.free()?.saturating_add(store.machine(&record.name).taken(disk)?);
    let least = least(store, record, described, options)?;
    if let Some(text) = too_little(usable, least) {
        let hint = Hint::MakeRoom(store.root().to_owned());
        return Err(OperationError::failed(format!("machine {} has {text}", record.name)).hint(hint));
    }
    Ok(())
}

/// What a reimage cannot do without: the image's data, unless they lie in a golden disk that is there already.
fn least(
    store: &Store,
    record: &MachineRecord,
    described: &Described,
    options: ReimageOptions,
) -> Result<u64, OperationError> {
    if system_disk::root_pool(&described.config).is_some() {
        return Ok(LEAST);
    }
    let disk = system_disk::system_disk(record)?;
    let overlay = options.strategy.is_none_or(|wished| wished == Strategy::Overlay);
    if overlay && store.golden(&record.image.digest, disk.size).exists()? {
        return Ok(LEAST);
    }
    let manifest = installed::manifest(&store.image(&record.image.name)?)?;
    Ok(LEAST.saturating_add(manifest.data_bytes()))
}

/// What is said when something cannot be done at all.
fn too_little(usable: u64, least: u64) -> Option<String> {
    (usable < least).then(|| {
        let (least, usable) = (readable::bytes(least), readable::bytes(usable));
        format!("no room on the file system of the state folder: it needs at least {least}, and {usable} can be had")
    })
}

/// What is said when the disks of all machines may outgrow what is free.
#[must_use]
pub fn overcommitted(room: Room) -> Option<String> {
    (room.growth > room.free).then(|| {
        format!(
            "the disks of all machines may still grow by {}, and {} are free",
            readable::bytes(room.growth),
            readable::bytes(room.free)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cannot_fit_is_refused() {
        assert_eq!(too_little(LEAST, LEAST), None);
        let said = too_little(1 << 20, 1 << 30);
        let expected =
            "no room on the file system of the state folder: it needs at least 1024 MiB, and 1048576 bytes can be had";
        assert_eq!(said.as_deref(), Some(expected));
    }

    #[test]
    fn more_promised_than_free_is_said() {
        assert_eq!(overcommitted(Room { free: 10, growth: 10 }), None);
        let said = overcommitted(Room { free: 20 << 20, growth: 3 << 30 });
        let expected = "the disks of all machines may still grow by 3072 MiB, and 20 MiB are free";
        assert_eq!(said.as_deref(), Some(expected));
    }
}
