//! The recovery partition of the machine that runs, for whoever stages a request in it: where it is, what is staged, what became
//! of it. Owns how it is found. Must not restart the machine, and must not write anything but that partition.

mod error;
mod find;
mod stream;

use std::{
    io::{self, BufRead},
    path::Path,
};

use cloud_machine_disk::{Access, Disk};
use cloud_machine_image::ReadBlocks;
use cloud_machine_recovery::{
    Control, Firmware, Head, OpenPartition, RecoveryError, RecoveryPartition, State, Told, ToldRequest,
};
use cloud_machine_system::{SystemError, kernel, product_uuid};

pub use error::StagerError;
pub use find::Disks;
pub use stream::{SILENCE, Stream};

/// Where a kernel that UEFI started says so, and what its firmware says of signatures (UEFI Specification 2.10, section 3.3): four
/// bytes of attributes, then one that is 1 when it asks for them.
const UEFI: &str = "/sys/firmware/efi";
const SECURE_BOOT: &str = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// A recovery partition of this machine.
#[derive(Debug)]
pub struct Found {
    name: String,
    disk: Disk,
    partition: RecoveryPartition,
    disks: Disks,
}

impl Found {
    /// Finds the recovery partition of this machine, or of the disk with the kernel name `disk`.
    ///
    /// # Errors
    /// Those of [`Disks::find`].
    pub fn find(disk: Option<&str>) -> Result<Self, StagerError> {
        Disks::default().find(disk)
    }

    /// What a host has to know before it stages a request, and what became of the last one, as [`Found::staged`] says it.
    ///
    /// # Errors
    /// Those of the disk; [`StagerError::System`] when Linux does not say what the machine is.
    pub fn tell(&self) -> Result<Told, StagerError> {
        let line = kernel::command_line()?;
        let consoles = line.split_ascii_whitespace().filter_map(|word| word.strip_prefix("console="));
        let is_uefi = Path::new(UEFI).is_dir();
        Ok(Told {
            version: Control::VERSION,
            boot_id: kernel::boot_id()?.trim().to_owned(),
            disk: self.name.clone(),
            disk_size: self.disk.size(),
            sector_size: self.disk.sector_size(),
            offset: self.partition.offset,
            length: self.partition.length,
            firmware: if is_uefi { Firmware::Uefi } else { Firmware::Bios },
            secure_boot: if is_uefi { secure_boot(Path::new(SECURE_BOOT))? } else { Some(false) },
            machine: product_uuid()?.map(|uuid| uuid.to_string()),
            consoles: consoles.map(str::to_owned).collect(),
            staged: self.staged()?,
        })
    }

    /// Stages the request of a stream, as [`OpenPartition::stage`] reads it.
    ///
    /// # Errors
    /// Those of [`OpenPartition::stage`]; [`StagerError::Disk`] when something uses the partition; [`StagerError::NoDevice`].
    pub fn stage(&self, stream: &mut dyn BufRead) -> Result<ToldRequest, StagerError> {
        let device = self.device()?;
        Ok(self.open(&device).stage(stream)?.into())
    }

    /// Takes the request with this token away, as [`OpenPartition::cancel`] does.
    ///
    /// # Errors
    /// As [`Found::stage`].
    pub fn cancel(&self, token: &str) -> Result<(), StagerError> {
        let device = self.device()?;
        let head = Head::read(&self.disk)?;
        Ok(self.open(&device).cancel(token, &head)?)
    }

    /// What is staged, in whatever state. What nobody understands is nothing: [`OpenPartition::stage`] writes over it.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn staged(&self) -> Result<Option<ToldRequest>, StagerError> {
        Ok(self.understood()?.ok().flatten().map(ToldRequest::from))
    }

    /// Why what is staged is told as nothing; `None` where there is nothing, or it is understood.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn not_understood(&self) -> Result<Option<RecoveryError>, StagerError> {
        Ok(self.understood()?.err())
    }

    fn understood(&self) -> Result<Result<Option<Control>, RecoveryError>, StagerError> {
        match Control::read(&self.disk, self.partition) {
            Err(
                error @ (RecoveryError::Control { .. } | RecoveryError::Place { .. } | RecoveryError::Moved { .. }),
            ) => Ok(Err(error)),
            other => Ok(Ok(other?)),
        }
    }

    /// The report of the request with this token, as its agent wrote it: JSON.
    ///
    /// # Errors
    /// [`StagerError::NoReport`] while there is none, and those of the disk.
    pub fn report(&self, token: &str) -> Result<Vec<u8>, StagerError> {
        let state = self.control()?.filter(|control| control.token == token).map(|control| control.state);
        // The report of an earlier request stays in its place until there is another one.
        let kept = match state {
            Some(State::Reported | State::Done) => self.partition.report(&self.disk)?,
            _ => None,
        };
        kept.ok_or_else(|| StagerError::no_report(state))
    }

    fn control(&self) -> Result<Option<Control>, StagerError> {
        Ok(Control::read(&self.disk, self.partition)?)
    }

    /// The partition's own device: the disk's is in use.
    fn device(&self) -> Result<Disk, StagerError> {
        let device = self.disks.device(&self.name, self.partition)?;
        let device = device.ok_or_else(|| StagerError::NoDevice { disk: self.name.clone() })?;
        Ok(Disk::open(&device, Access::Write)?)
    }

    fn open<'a>(&self, device: &'a Disk) -> OpenPartition<'a> {
        OpenPartition { device, partition: self.partition, disk_size: self.disk.size() }
    }
}

/// Whether the firmware starts only what is signed; `None` when the variable is not there.
fn secure_boot(variable: &Path) -> Result<Option<bool>, StagerError> {
    match std::fs::read(variable) {
        Ok(bytes) => Ok(bytes.get(4).map(|byte| *byte == 1)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(SystemError::io("read", variable.display().to_string())(error).into()),
    }
}

#[cfg(test)]
mod tests {
    use cloud_machine_protocol::causes;

    use super::*;

    #[test]
    fn secure_boot_is_on_off_or_not_known() {
        let folder = tempfile::tempdir().unwrap();
        let variable = folder.path().join("SecureBoot");
        assert_eq!(secure_boot(&variable).unwrap(), None);
        for (bytes, expected) in [(&[6, 0, 0, 0, 1][..], Some(true)), (&[6, 0, 0, 0, 0], Some(false)), (&[6], None)] {
            std::fs::write(&variable, bytes).unwrap();
            assert_eq!(secure_boot(&variable).unwrap(), expected);
        }
        let error = secure_boot(folder.path()).unwrap_err();
        assert!(causes(&error).contains("cannot read"), "{}", causes(&error));
    }
}
