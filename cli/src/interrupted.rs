//! What is told of a machine when a signal ends the program in the middle of its operation: what was left, and how to go on. Must
//! change nothing.

use cloud_machine_child::interrupt::LastWords;
use cloud_machine_protocol::MachineName;
use cloud_machine_store::{MachineState, Store, StoreError};

use crate::{
    failure::{Failure, Kind},
    ui::Ui,
};

/// What a shell adds to the number of a signal.
pub(crate) const SIGNALLED: u8 = 128;

/// The exit code of a program that a signal ended, as a shell tells it.
pub(crate) fn exit_code_of(signal: i32) -> u8 {
    SIGNALLED.saturating_add(u8::try_from(signal).unwrap_or_default())
}

/// Prepares to tell it of the machine `name`, as long as what is given lives. `again` is the command that goes on.
pub(crate) fn tell(ui: &Ui, store: &Store, name: &MachineName, again: &'static str) -> Result<LastWords, Failure> {
    let (ui, store, name) = (*ui, store.clone(), name.clone());
    let words = move |signal: i32| {
        ui.interrupted(name.as_str(), &left(&store, &name, again), exit_code_of(signal));
    };
    LastWords::prepare(words).map_err(Failure::during(Kind::Failed, "catch signals"))
}

/// What the store holds of the machine now.
fn left(store: &Store, name: &MachineName, again: &str) -> Failure {
    let state = match store.read(name) {
        Ok(record) => record.state,
        Err(StoreError::NoMachine { .. }) => {
            return Failure::failed(format!("interrupted before anything of machine {name} was made"));
        }
        Err(error) => {
            let operation = format!("tell what the interruption left of machine {name}");
            return Failure::during(Kind::Failed, operation)(error).hint("see `cloud-machine list`");
        }
    };
    let failure = Failure::failed(format!("interrupted: machine {name} is left in state {state}"));
    match state {
        MachineState::Running => failure,
        _ => failure.hint(format!(
            "nothing is lost: the same `cloud-machine {again} {name}` goes on; `cloud-machine delete {name}` removes it"
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use cloud_machine_store::RECORD_VERSION;

    use super::*;

    fn record(state: &str) -> serde_json::Value {
        let uuid = "7f0b7d6e-58c1-4b8e-9a6e-0c2f8f3ad1aa";
        serde_json::json!({
            "version": RECORD_VERSION, "name": "demo", "uuid": uuid, "driver": "qemu",
            "image": {"name": "debian-12", "digest": format!("blake3:{}", "ab".repeat(32)), "size": 1 << 30},
            "layers": {"format": 1}, "ram": 64 << 20, "cpus": 1, "ssh_port": 2222, "state": state, "drives": [],
            "disks": [{"name": "system", "serial": "system", "size": 1 << 20, "file": "disks/system.raw", "boot": true}],
            "identity": {
                "name": "demo", "machine_uuid": uuid, "machine_id": "0123456789abcdef0123456789abcdef",
                "mac": "52:54:00:12:34:56", "authorized_keys": [], "ssh_host_keys": "rotate",
            },
            "request": null, "host_key": null, "last_report": null, "assurance": null, "dirty": false,
            "created": "2026-11-22T12:00:00Z",
        })
    }

    #[test]
    fn what_was_left_is_told_from_what_is_stored() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("state")).unwrap();
        let name: MachineName = "demo".parse().unwrap();
        let nothing = left(&store, &name, "create");
        assert_eq!(nothing.error.to_string(), "interrupted before anything of machine demo was made");
        fs::create_dir_all(store.machine(&name).path()).unwrap();
        for (state, hints) in [("creating", 1), ("writing", 1), ("running", 0)] {
            fs::write(store.machine(&name).record(), record(state).to_string()).unwrap();
            let found = left(&store, &name, "create");
            assert_eq!(found.causes(), [format!("interrupted: machine demo is left in state {state}")]);
            assert_eq!(found.hints.len(), hints, "{found:?}");
        }
        fs::write(store.machine(&name).record(), "{").unwrap();
        let unreadable = left(&store, &name, "create");
        assert!(unreadable.causes().len() > 1 && !unreadable.hints.is_empty(), "{unreadable:?}");
    }
}
