//! The SSH host key of a machine that keeps the same one over its reimages: made once, kept in the state folder, handed to the
//! agent alone. Must not take a key from a machine, nor make another one where one was promised to stay.

use cloud_machine_driver::ssh;
use cloud_machine_protocol::{Action, HostKeySeed, SecretPolicy};
use cloud_machine_store::{MachineRecord, Store};

use crate::{error::OperationError, hint::Hint};

/// A kept key, as the machine is given it.
pub(crate) struct Kept {
    /// Its line, with the machine's name as comment.
    pub(crate) public: String,
    pub(crate) seed: HostKeySeed,
}

/// Makes the key of a machine that is being made, if it keeps one. What an interrupted creation has made is used.
pub(crate) fn make(store: &Store, record: &MachineRecord) -> Result<(), OperationError> {
    if record.identity.ssh_host_keys == SecretPolicy::Keep {
        ssh::generate_key(&store.machine(&record.name).kept_host_key(), record.name.as_str())
            .map_err(OperationError::failed)?;
    }
    Ok(())
}

/// The key that an attempt hands over: that of a machine which keeps one, at a reimage. A boot hands nothing over.
///
/// # Errors
/// When it is not there: another one would break what clients were promised.
pub(crate) fn handed(store: &Store, record: &MachineRecord, action: Action) -> Result<Option<Kept>, OperationError> {
    if record.identity.ssh_host_keys != SecretPolicy::Keep || action != Action::Reimage {
        return Ok(None);
    }
    let path = store.machine(&record.name).kept_host_key();
    match ssh::read_key(&path).map_err(OperationError::failed)? {
        Some((public, seed)) => Ok(Some(Kept { public, seed })),
        None => {
            let text =
                format!("cannot keep the SSH host key of machine {}: there is no {}", record.name, path.display());
            Err(OperationError::failed(text).hint(Hint::KeptHostKey(record.name.clone())))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    fn record() -> MachineRecord {
        let uuid = "7f0b7d6e-58c1-4b8e-9a6e-0c2f8f3ad111";
        let record = serde_json::json!({
            "version": cloud_machine_store::RECORD_VERSION, "name": "demo", "uuid": uuid, "driver": "qemu", "layers": {}, "ram": 1,
            "cpus": 1, "image": {"name": "x", "digest": format!("blake3:{}", "ab".repeat(32)), "size": 1},
            "disks": [], "drives": [], "ssh_port": 2222, "state": "creating",
            "identity": {
                "name": "demo", "machine_uuid": uuid, "machine_id": "0123456789abcdef0123456789abcdef",
                "mac": "52:54:00:12:34:56", "authorized_keys": [], "ssh_host_keys": "rotate",
            },
            "request": null, "host_key": null, "last_report": null, "assurance": null, "dirty": false,
            "created": jiff::Timestamp::UNIX_EPOCH,
        });
        serde_json::from_value(record).unwrap()
    }

    #[test]
    fn a_kept_key_is_made_once_and_handed_over_by_a_reimage_only() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("state")).unwrap();
        let mut record = record();
        let lock = store.lock(&record.name).unwrap();
        store.create(&lock, &record).unwrap();
        make(&store, &record).unwrap();
        let path = store.machine(&record.name).kept_host_key();
        assert!(!path.exists() && handed(&store, &record, Action::Reimage).unwrap().is_none(), "it rotates");
        record.identity.ssh_host_keys = SecretPolicy::Keep;
        let absent = handed(&store, &record, Action::Reimage).err().unwrap();
        assert!(absent.line().starts_with("cannot keep the SSH host key of machine demo: there is no "), "{absent:?}");
        assert!(!path.exists(), "no other one is made in its place");
        make(&store, &record).unwrap();
        let first = handed(&store, &record, Action::Reimage).unwrap().unwrap();
        make(&store, &record).unwrap();
        let second = handed(&store, &record, Action::Reimage).unwrap().unwrap();
        assert_eq!((&first.public, first.seed.reveal()), (&second.public, second.seed.reveal()));
        assert!(first.public.starts_with("ssh-ed25519 ") && first.public.ends_with(" demo"), "{}", first.public);
        assert!(handed(&store, &record, Action::Boot).unwrap().is_none());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
