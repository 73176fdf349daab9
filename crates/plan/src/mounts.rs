//! How the booted system gets a filesystem on a data disk. Must not write a unit.

use cloud_machine_protocol::Mount;

use crate::{error::Wanted, filesystem::WantedFilesystem, guarded};

impl WantedFilesystem {
    /// How the booted system gets it from `device`, which is `described` for people: a pool's own dataset first, then
    /// those below it. `kept`: it may hold what a job left before the last reimage. What was made by that, or came from the
    /// host, does not fail for a job's sake, and is required in any case.
    pub(crate) fn mounts(&self, device: &str, described: &Wanted, kept: bool) -> Vec<Mount> {
        let mount = |dataset: Option<String>, mountpoint| Mount {
            device: device.to_owned(),
            partition: None,
            filesystem: self.word().to_owned(),
            mountpoint,
            options: guarded::options(self, kept),
            grow: self.grow,
            dataset,
            read_only: self.read_only,
            required: self.required || !kept,
            described: described.to_string(),
        };
        let mut mounts = vec![mount(self.pool().map(str::to_owned), self.mountpoint.clone())];
        if let (Some(pool), Some(mountpoint)) = (self.pool(), &self.mountpoint) {
            let below =
                |dataset: &String| mount(Some(format!("{pool}/{dataset}")), Some(format!("{mountpoint}/{dataset}")));
            mounts.extend(self.datasets.iter().map(below));
        }
        mounts
    }
}

#[cfg(test)]
mod tests {
    use cloud_machine_config::{Filesystem, FilesystemType};

    use super::*;

    #[test]
    fn a_pool_is_mounted_by_its_datasets() {
        let datasets = vec!["logs".to_owned(), "work/cache".to_owned()];
        let (label, mountpoint) = (Some("tank".to_owned()), Some("/data".to_owned()));
        let zfs = WantedFilesystem::new(&Filesystem::of(FilesystemType::Zfs));
        let pool = WantedFilesystem { label, mountpoint, datasets, ..zfs };
        let mounts: Vec<_> = pool
            .mounts("vdb", &Wanted::Disk("tank".to_owned()), false)
            .into_iter()
            .map(|mount| (mount.dataset.unwrap(), mount.mountpoint.unwrap()))
            .collect();
        let pair = |dataset: &str, path: &str| (dataset.to_owned(), path.to_owned());
        assert_eq!(
            mounts,
            [pair("tank", "/data"), pair("tank/logs", "/data/logs"), pair("tank/work/cache", "/data/work/cache")]
        );
    }
}
