//! `image delete`: an image that no machine uses, and the golden disks of its content. Must not touch a machine.

use std::path::PathBuf;

use cloud_machine_protocol::Digest;
use cloud_machine_store::{DiskBacking, ImageName, ImageRow, MachineRecord, Store, StoreError};
use serde::Serialize;

use cloud_machine_operation::installed;

use crate::{
    confirm,
    failure::{Failure, Kind},
    ui::{Show, Ui},
};

#[derive(Serialize)]
struct Deleted {
    name: String,
    /// Golden disks that went with it.
    golden: Vec<PathBuf>,
}

impl Show for Deleted {
    const KIND: &'static str = "image-deleted";

    fn table(&self) -> String {
        let golden = self.golden.iter().map(|path| format!("golden disk {}  deleted", path.display()));
        std::iter::once(format!("{}  deleted", self.name)).chain(golden).collect::<Vec<_>>().join("\n")
    }
}

pub(super) fn delete(ui: &Ui, store: &Store, name: &ImageName, yes: bool) -> Result<(), Failure> {
    let digest: Result<_, Failure> = match store.image(name) {
        Ok(image) => {
            let recorded = image.boot.image.map(|image| image.digest);
            recorded.map_or_else(|| Ok(installed::manifest(&image)?.digest()), Ok)
        }
        Err(error @ StoreError::NoImage { .. }) => return Err(error.into()),
        Err(error) => Err(error.into()),
    };
    if let Err(failure) = &digest {
        ui.note(&format!(
            "which image {name} is cannot be read ({}); golden disks are kept",
            failure.causes().join(": ")
        ));
    }
    let digest = digest.ok();
    let machines = machines(store)?;
    let users = |is: &dyn Fn(&MachineRecord) -> bool| -> Vec<String> {
        machines.iter().filter(|record| is(record)).map(|record| record.name.to_string()).collect()
    };
    let users_of_image = users(&|record| record.image.name == *name);
    if !users_of_image.is_empty() {
        let text = format!("image {name} is used by {}", users_of_image.join(", "));
        return Err(Failure::failed(text).hint("delete these machines first"));
    }
    confirm::deletion(ui, yes, "image delete", &format!("image {name}"), name.as_str())?;
    store.delete_image(name)?;
    let mut golden = Vec::new();
    if let Some(digest) = digest {
        let stands = |record: &MachineRecord| record.system.backing == DiskBacking::Overlay { golden: digest };
        if users(&stands).is_empty() && !may_be_elsewhere(store, &digest)? {
            for disk in store.golden_disks(&digest)? {
                store.delete_golden(&disk)?;
                golden.push(disk.path().to_owned());
            }
        }
    }
    ui.result(&Deleted { name: name.to_string(), golden })
}

/// All machines; one whose record cannot be read may use any image.
fn machines(store: &Store) -> Result<Vec<MachineRecord>, Failure> {
    let rows = store.list()?.into_iter();
    rows.map(|row| {
        let name = row.name;
        row.record.map_err(|error| {
            let text = format!("tell which image machine {name} uses");
            Failure::during(Kind::Failed, text)(error).hint(format!("`cloud-machine delete {name}` removes it"))
        })
    })
    .collect()
}

/// Whether the store has the same content under another name; one that cannot be read may have it.
fn may_be_elsewhere(store: &Store, digest: &Digest) -> Result<bool, Failure> {
    let rows = store.list_images()?;
    let is = |row: &ImageRow| match &row.image {
        Ok(image) => image.boot.image.is_none_or(|image| image.digest == *digest),
        Err(_) => true,
    };
    Ok(rows.iter().any(is))
}
