//! The root in a ZFS pool, step by step. Trust is a value here, too: files are only received from a disk that was
//! proved to be the image, and a root is only mounted once every file of it was found to be the image's.

use cloud_machine_disk::{Access, Disk};
use cloud_machine_image::{Files, VerifiedImage, check};
use cloud_machine_protocol::{DiskEvidence, RootEvidence, Tier};
use cloud_machine_system::{
    mounts, partition_node,
    root::{self, RootFile},
    root_pool,
};

use crate::{
    cost::Cost,
    error::AgentError,
    pass::{Progress, THREADS, node},
    report::ReportBuilder,
    volume::Documents,
};

/// Names of files that an error shows at most.
const SHOWN: usize = 5;
const FSTAB: &str = "/etc/fstab";

/// What is known of the root so far.
#[derive(Default)]
pub(crate) struct RootPool {
    image: Option<VerifiedImage>,
    files: Option<Files>,
    compared: bool,
}

/// Where the image's root filesystem lies.
pub(crate) struct Partition<'a> {
    pub(crate) device: &'a str,
    pub(crate) number: u32,
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) filesystem: &'a str,
}

impl RootPool {
    pub(crate) fn check_image(
        &mut self,
        documents: &Documents,
        device: &str,
        report: &mut ReportBuilder,
        progress: &Progress<'_>,
    ) -> Result<Cost, AgentError> {
        let disk = Disk::open(&node(device), Access::Read)?;
        let image = check(&documents.manifest, &disk, THREADS, &|done, total| progress.tell(done, total))
            .map_err(|source| AgentError::ImageDisk { device: device.to_owned(), source })?;
        report.disk(DiskEvidence {
            device: device.to_owned(),
            disk_size: image.disk_size(),
            tier: None,
            read_bytes: image.read_bytes(),
            image_root: image.root(),
            table: image.table(),
            image_size: image.image_size(),
            zero_bytes: image.zero_bytes(),
            ranges: Vec::new(),
        });
        let compared = image.read_bytes();
        self.image = Some(image);
        Ok(Cost { compared, ..Cost::default() })
    }

    pub(crate) fn receive(
        &mut self,
        from: &Partition<'_>,
        dataset: &str,
        progress: &Progress<'_>,
    ) -> Result<Cost, AgentError> {
        if self.image.take().is_none() {
            return Err(AgentError::NotVerified);
        }
        let partition = partition_node(from.device, from.number, from.offset, from.length)?;
        let tell = |done, total| progress.tell(done, total);
        let (files, copied) = root_pool::receive(&partition.name, from.filesystem, dataset, &tell)?;
        let written = if copied { files.bytes() } else { 0 };
        self.files = Some(files);
        Ok(Cost { changed: copied, written, ..Cost::default() })
    }

    pub(crate) fn clone(
        &mut self,
        received: &str,
        dataset: &str,
        properties: &[String],
        tier: Tier,
        report: &mut ReportBuilder,
        progress: &Progress<'_>,
    ) -> Result<Cost, AgentError> {
        let image = self.files.take().ok_or(AgentError::NotVerified)?;
        let tell = |done, total| progress.tell(done, total);
        let files = root_pool::clone_root(received, dataset, properties, &tell)?;
        let differing = image.differing(&files);
        if !differing.is_empty() {
            let names: Vec<String> =
                differing.iter().take(SHOWN).map(|path| format!("/{}", path.escape_ascii())).collect();
            return Err(AgentError::RootDiffers { count: differing.len(), names: names.join(", ") });
        }
        report.root(RootEvidence {
            tier,
            dataset: dataset.to_owned(),
            image: image.digest(),
            files: files.digest(),
            entries: files.count(),
            bytes: files.bytes(),
        });
        self.compared = true;
        Ok(Cost { changed: true, compared: files.bytes(), read_back: files.bytes(), ..Cost::default() })
    }

    /// Mounts `dataset`, or the one that the pool names, as the root; a reimage only what was compared.
    pub(crate) fn mount(&mut self, pool: &str, dataset: Option<&str>) -> Result<Cost, AgentError> {
        match dataset {
            Some(_) if !std::mem::take(&mut self.compared) => return Err(AgentError::NotVerified),
            Some(dataset) => {
                mounts::mount_dataset(dataset, false)?;
                without_devices()?;
            }
            None => mounts::mount_dataset(&root_pool::root_of(pool)?, false)?,
        }
        for unit in cloud_machine_plan::masked_zfs_units() {
            root::write_run(&RootFile::text(&unit.path, 0o644, unit.content))?;
        }
        Ok(Cost { changed: true, ..Cost::default() })
    }
}

/// Takes out of the new root's table of filesystems what names a block device: the disk that the image was made for is
/// not there.
fn without_devices() -> Result<(), AgentError> {
    if let Some(table) = root::read(root::new_root(), FSTAB)? {
        let content = filtered(&String::from_utf8_lossy(&table));
        root::write(root::new_root(), &RootFile::text(FSTAB, 0o644, content))?;
    }
    Ok(())
}

fn filtered(table: &str) -> String {
    let is_device = |line: &str| {
        let source = line.split_whitespace().next().unwrap_or_default();
        let mountpoint = line.split_whitespace().nth(1).unwrap_or_default();
        source.starts_with("/dev/") || source.contains('=') || mountpoint == "/"
    };
    table
        .lines()
        .filter(|line| line.trim_start().starts_with('#') || !is_device(line))
        .map(|line| format!("{line}\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_a_block_device_is_no_longer_mounted() {
        let table = "# <source> <mountpoint>\nUUID=1-2 / ext4 defaults 0 1\nPARTUUID=3 /boot ext4 x 0 2\n\n/dev/vda3 none swap sw 0 0\n\
                     tmpfs /tmp tmpfs nosuid 0 0\nserver:/x /x nfs ro 0 0\nrootfs / rootfs ro 0 0\n";
        assert_eq!(
            filtered(table),
            "# <source> <mountpoint>\n\ntmpfs /tmp tmpfs nosuid 0 0\nserver:/x /x nfs ro 0 0\n"
        );
    }
}
