//! What is done with one data disk, in the same terms for both who ask: the machine, which plans from its configuration,
//! and the host, which holds a report against what it expects. Must not decide, and must not order steps of different disks.

use cloud_machine_protocol::{DataContent, Disk, Method, Mount, WipeMethod};

use crate::{
    decision::Decision,
    encrypted,
    error::Wanted,
    filesystem::WantedFilesystem,
    partition_steps,
    partitions::TablePlan,
    step::{self, PlannedStep},
};

/// A declared disk other than the system disk, with all that was decided about it.
pub(crate) struct DiskPlan<'a> {
    /// Name in the configuration.
    pub(crate) name: &'a str,
    pub(crate) device: &'a Disk,
    /// Whether it is never written.
    pub(crate) read_only: bool,
    /// Whether it may hold what a job left before the last reimage.
    pub(crate) kept: bool,
    /// How it is wiped, if at all.
    pub(crate) wipe: Option<WipeMethod>,
    /// Whether a cipher lies over it.
    pub(crate) encrypted: bool,
    /// Kernel name of the device through which it is used, when that is not its own.
    pub(crate) mapped: Option<&'a str>,
    /// The filesystem on the whole of it.
    pub(crate) filesystem: Option<(&'a WantedFilesystem, Decision)>,
    /// Its partitions.
    pub(crate) table: Option<&'a TablePlan>,
}

impl<'a> DiskPlan<'a> {
    /// Kernel modules that its filesystems need.
    pub(crate) fn kernel_modules(&self) -> impl Iterator<Item = &'a str> {
        let whole = self.filesystem.map(|(wanted, _)| wanted).into_iter();
        let partitions =
            self.table.into_iter().flat_map(|table| &table.filesystems).map(|filesystem| &filesystem.wanted);
        whole.chain(partitions).filter_map(|wanted| wanted.kernel_module.as_deref())
    }

    pub(crate) fn set_read_only(&self) -> Option<PlannedStep> {
        self.read_only.then(|| step::set_read_only(self.name, self.device))
    }

    pub(crate) fn wipe(&self) -> Option<PlannedStep> {
        Some(step::wipe(self.name, self.device, self.wipe?))
    }

    pub(crate) fn encrypt(&self) -> Option<PlannedStep> {
        Some(encrypted::encrypt(self.name, &self.device.name, self.mapped?))
    }

    /// Its table and its filesystems.
    pub(crate) fn make(&self) -> Vec<PlannedStep> {
        let whole = self.filesystem.into_iter();
        let whole = whole.flat_map(|(wanted, how)| step::make(self.name, self.device, self.used(), None, wanted, how));
        let table = self.table.into_iter();
        whole.chain(table.flat_map(|table| partition_steps::steps(self.name, self.device, table))).collect()
    }

    pub(crate) fn mounts(&self) -> Vec<Mount> {
        let described = Wanted::Disk(self.name.to_owned());
        let whole = self.filesystem.into_iter();
        let whole = whole.flat_map(|(wanted, _)| wanted.mounts(self.used(), &described, self.kept));
        let table = self.table.into_iter();
        whole.chain(table.flat_map(|table| table.mounts(&self.device.name, self.name, self.kept))).collect()
    }

    /// All of it, in the report's words.
    pub(crate) fn method(&self) -> Method {
        if self.read_only {
            return Method::Medium { filesystem: self.filesystem.map(|(wanted, _)| wanted.word().to_owned()) };
        }
        let whole = self.filesystem.map(|(wanted, decision)| wanted.made(decision));
        let content = whole.or_else(|| self.table.map(TablePlan::made)).unwrap_or(DataContent::Raw);
        Method::Data { wipe: self.wipe, encrypted: self.encrypted, content }
    }

    /// Kernel name of the device that holds the filesystem.
    fn used(&self) -> &str {
        self.mapped.unwrap_or(&self.device.name)
    }
}
