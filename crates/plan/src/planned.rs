//! The steps of an attempt as the host itself would plan them, from what it expects. Must make each by the same function as
//! the plan.

use cloud_machine_protocol::{Disk, Mount, Request, Role};

use crate::{
    attached::{Attached, Devices},
    encrypted::encrypt,
    error::Wanted,
    expected::{Expected, Treatment},
    image::ImageLayout,
    partition_steps,
    root_pool::RootDisks,
    step::{PlannedStep, load_modules, make, set_read_only, wipe, write_mounts},
    steps::system_steps,
};

/// The steps as the host itself would plan them. Only the kernel's names of the disks are the report's.
pub(crate) fn planned(expected: &Expected, devices: &Devices<'_>) -> Vec<PlannedStep> {
    let request = &expected.request;
    let root = expected.root.clone();
    let generation = expected.generation;
    let image = ImageLayout { digest: request.image.digest, size: request.image.size, generation, root };
    let mut steps = load_modules(devices.iter().flat_map(modules));
    steps.extend(devices.iter().filter_map(never_written).map(|(name, device)| set_read_only(name, device)));
    steps.extend(devices.iter().filter_map(|one| Some(wipe(one.name()?, one.disk, one.wipe?))));
    let source = devices.iter().find(|attached| attached.expected.role == Role::ImageSource);
    for system in devices.iter().filter(|attached| attached.treatment == Treatment::System) {
        let disks = RootDisks { system: system.disk, image: source.map(|attached| attached.disk) };
        let (pool, hostname) = (system.expected.root_pool.as_ref(), &expected.identity.name);
        steps.extend(system_steps(request, &image, disks, pool, hostname));
    }
    steps.extend(devices.iter().filter_map(|one| Some(encrypt(one.name()?, &one.disk.name, one.mapped.as_ref()?))));
    let declared = || devices.iter().filter_map(|attached| Some((attached.name()?, attached)));
    steps.extend(declared().flat_map(|(name, attached)| made(name, attached)));
    let root = devices.iter().filter_map(|one| Some(one.expected.root_pool.as_ref()?.mounts(one.disk)));
    let mounts = root.flatten().chain(declared().flat_map(|(name, attached)| mounts(request, name, attached)));
    steps.extend(write_mounts(mounts.collect()));
    steps
}

/// Kernel modules that the filesystems of a disk need.
fn modules<'a>(attached: &'a Attached<'_>) -> impl Iterator<Item = &'a str> {
    let whole = attached.expected.filesystem.iter();
    let partitions = attached.expected.partitions.iter().flat_map(|table| &table.partitions);
    let root = attached.expected.root_pool.iter().map(|pool| &pool.filesystem);
    let all = whole.chain(root).chain(partitions.filter_map(|partition| partition.filesystem.as_ref()));
    all.filter_map(|wanted| wanted.kernel_module.as_deref())
}

/// A declared disk that is never written, with its name.
fn never_written<'a>(attached: &'a Attached<'_>) -> Option<(&'a String, &'a Disk)> {
    Some((attached.name().filter(|_| attached.expected.read_only)?, attached.disk))
}

/// Table and filesystems of a disk.
fn made(name: &str, attached: &Attached<'_>) -> Vec<PlannedStep> {
    let disk = attached.disk;
    let whole = match (&attached.expected.filesystem, attached.decision) {
        (Some(wanted), Some(decision)) => make(name, disk, attached.used(), None, wanted, decision),
        _ => Vec::new(),
    };
    let table = attached.table.iter().flat_map(|table| partition_steps::steps(name, disk, table));
    whole.into_iter().chain(table).collect()
}

fn mounts(request: &Request, name: &str, attached: &Attached<'_>) -> Vec<Mount> {
    let (described, kept) = (Wanted::Disk(name.to_owned()), request.is_kept(name));
    let whole = attached.expected.filesystem.iter();
    let whole = whole.flat_map(|wanted| wanted.mounts(attached.used(), &described, kept));
    whole.chain(attached.table.iter().flat_map(|table| table.mounts(&attached.disk.name, name, kept))).collect()
}
