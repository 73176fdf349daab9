//! A root on ZFS: the system disk is a raw file with a pool, and the machine receives its root from the host's golden
//! disk. Must not look into the pool.

use cloud_machine_config::Config;
use cloud_machine_driver::store::{DiskForm, DiskRecord, MachineRecord, Strategy};
use cloud_machine_plan::RootPool;
use cloud_machine_protocol::Tier;

use super::{Ground, Prepared, Wish, told};
use crate::failure::{Failure, Kind};

/// The pool with the root, when the configuration describes one.
pub(crate) fn root_pool(config: &Config) -> Option<RootPool> {
    config.resources.disks.iter().find_map(|(name, disk)| RootPool::of(name, disk))
}

/// Why a machine whose root is a partition of the image is not cloned.
pub(super) fn none(record: &MachineRecord) -> Failure {
    Failure::new(Kind::Refused, format!("the root of {} is not on zfs: there is nothing to clone", record.name))
        .hint("`filesystem: zfs` of the system disk puts it there; see docs/guides/strategies.md")
}

impl Ground<'_> {
    /// The raw file of the pool, and the golden disk beside it. `auto` never clones: that proves less.
    pub(super) fn pool(&self, record: &mut MachineRecord, disk: &DiskRecord, wish: Wish) -> Result<Prepared, Failure> {
        let refused = |text: String| Failure::new(Kind::Refused, text);
        if record.image.url.is_some() {
            return Err(refused(
                "a root on zfs is received from the host's golden disk, not from an address".to_owned(),
            )
            .hint("`image pack` or `image import` brings the image to this host; leave `--image-url` out"));
        }
        let strategy = wish.strategy.unwrap_or(Strategy::Rewrite);
        let tier = match strategy {
            Strategy::Rewrite => Tier::Receive,
            Strategy::Clone => Tier::Clone,
            Strategy::Overlay | Strategy::Hinted => {
                return Err(refused(format!("a root on zfs has no strategy {strategy}: it is rewrite or clone")));
            }
        };
        if wish.tier.is_some() {
            return Err(refused(
                "a root on zfs is received file by file: --tier is for the image's own partitions".to_owned(),
            ));
        }
        let checked = self.golden_of(self.manifest.size(), wish)?;
        let golden = self.store.golden(&self.manifest.digest(), self.manifest.size());
        self.take_form(record, disk, DiskForm::Raw)?;
        let folder = self.store.machine(&record.name);
        let drive = self.raw_drive(record, disk, folder.make_disk(disk)?, folder.map(disk)?)?;
        self.ui.note(&format!("strategy {strategy}: the files of the golden disk ({})", told(checked)));
        Ok(Prepared { drive, strategy: Some(strategy), tier: Some(tier), dirty: None, golden: Some(golden.disk()) })
    }
}
