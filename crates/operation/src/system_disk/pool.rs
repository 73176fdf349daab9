//! A root on ZFS: the system disk is a raw file with a pool, and the machine receives its root from the host's golden
//! disk. Must not look into the pool.

use cloud_machine_config::Config;
use cloud_machine_plan::RootPool;
use cloud_machine_protocol::Tier;
use cloud_machine_store::{DiskBacking, DiskRecord, MachineRecord, Strategy};

use super::{PreparedDisk, ReimageOptions, SystemDiskPreparation, device::raw_device};
use crate::{
    error::{ErrorKind, OperationError},
    event::{self, Notice},
    hint::Hint,
};

/// The pool with the root, when the configuration describes one.
pub(crate) fn root_pool(config: &Config) -> Option<RootPool> {
    config.resources.disks.iter().find_map(|(name, disk)| RootPool::of(name, disk))
}

/// Refuses what cannot be done for this configuration, before anything is: a machine goes on running then.
///
/// # Errors
/// Of [`ErrorKind::Refused`].
pub fn check(config: &Config, from_address: bool, options: ReimageOptions) -> Result<(), OperationError> {
    let refused = |text: &str| OperationError::new(ErrorKind::Refused, text);
    match (root_pool(config), options.strategy) {
        (None, Some(Strategy::Clone)) => {
            Err(refused("the root is not on zfs: there is nothing to clone").hint(Hint::RootOnZfs))
        }
        (None, _) => Ok(()),
        (Some(_), Some(strategy @ (Strategy::Overlay | Strategy::Hinted))) => {
            Err(refused(&format!("a root on zfs has no strategy {strategy}: it is rewrite or clone")))
        }
        (Some(_), _) if options.tier.is_some() => {
            Err(refused("a root on zfs is received file by file: --tier is for the image's own partitions"))
        }
        (Some(_), _) if from_address => {
            Err(refused("a root on zfs is received from the host's golden disk, not from an address")
                .hint(Hint::NoImageAddress))
        }
        (Some(_), _) => Ok(()),
    }
}

impl SystemDiskPreparation<'_> {
    /// The raw file of the pool, and the golden disk beside it. `auto` never clones: that proves less.
    pub(super) fn pool(
        &self,
        record: &mut MachineRecord,
        disk: &DiskRecord,
        options: ReimageOptions,
    ) -> Result<PreparedDisk, OperationError> {
        let cloned = options.strategy == Some(Strategy::Clone);
        let (strategy, tier) = if cloned { (Strategy::Clone, Tier::Clone) } else { (Strategy::Rewrite, Tier::Receive) };
        let checked = self.golden_of(self.manifest.size(), options)?;
        let golden = self.store.golden(&self.manifest.digest(), self.manifest.size());
        self.set_backing(record, disk, DiskBacking::Raw)?;
        let folder = self.store.machine(&record.name);
        let device = raw_device(record, disk, folder.make_disk(disk)?, folder.map(disk)?);
        let told = format!("the files of the golden disk ({})", event::checked(checked));
        self.teller.notice(Notice::Strategy { strategy, reasons: vec![told] });
        Ok(PreparedDisk {
            device: Some(device),
            strategy: Some(strategy),
            tier: Some(tier),
            dirty: None,
            golden: Some(golden.disk()),
            discarded: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use cloud_machine_config::{LayerKind, defaults, merge, parse, validate};

    use super::*;

    fn told(filesystem: &str, from_address: bool, strategy: Option<Strategy>, tier: Option<Tier>) -> String {
        let text = format!("cloud-machine: {{resources: {{disks: {{s: {{boot-partition: true{filesystem}}}}}}}}}");
        let document = parse(LayerKind::Project, "pool.yaml", text.as_bytes()).unwrap();
        let config = validate(&merge(&[defaults(), document]).unwrap()).unwrap();
        let options = ReimageOptions { strategy, tier, ..ReimageOptions::default() };
        check(&config, from_address, options).err().map(|failure| failure.error.to_string()).unwrap_or_default()
    }

    #[test]
    fn what_does_not_fit_the_root_is_refused_before_a_machine_is_touched() {
        let zfs = ", filesystem: zfs";
        for (filesystem, url, strategy, tier, why) in [
            ("", true, None, Some(Tier::Scan), ""),
            ("", false, Some(Strategy::Overlay), None, ""),
            ("", false, Some(Strategy::Clone), None, "the root is not on zfs: there is nothing to clone"),
            (zfs, false, None, None, ""),
            (zfs, false, Some(Strategy::Clone), None, ""),
            (zfs, false, Some(Strategy::Hinted), None, "a root on zfs has no strategy hinted: it is rewrite or clone"),
            (
                zfs,
                false,
                Some(Strategy::Overlay),
                None,
                "a root on zfs has no strategy overlay: it is rewrite or clone",
            ),
            (zfs, false, Some(Strategy::Rewrite), Some(Tier::Scan), "a root on zfs is received file by file: --tier"),
            (zfs, true, None, None, "a root on zfs is received from the host's golden disk"),
        ] {
            let told = told(filesystem, url, strategy, tier);
            assert!(told.starts_with(why) && told.is_empty() == why.is_empty(), "{filesystem} {strategy:?}: {told}");
        }
    }
}
