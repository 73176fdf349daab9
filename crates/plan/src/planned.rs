//! The steps of an attempt as the host itself would plan them, from what it expects. Must not order them itself.

use cloud_machine_protocol::Role;

use crate::{
    attached::Devices,
    disk_plan::DiskPlan,
    expected::{Disposition, Expected},
    image::ImageLayout,
    order::{SystemPlan, ordered},
    rejection::Rejection,
    root_pool::RootDisks,
    step::PlannedStep,
};

/// The steps as the host itself would plan them. Only the kernel's names of the disks are the report's.
///
/// # Errors
/// No system disk.
pub(crate) fn planned(expected: &Expected, devices: &Devices<'_>) -> Result<Vec<PlannedStep>, Rejection> {
    let request = &expected.request;
    let (generation, root) = (expected.generation, expected.root.clone());
    let image = ImageLayout { digest: request.image.digest, size: request.image.size, generation, root };
    let system = devices.iter().find(|attached| attached.disposition == Disposition::System);
    let system = system.ok_or(Rejection::Expectation { reason: "there must be one system disk" })?;
    let source = devices.iter().find(|attached| attached.expected.role == Role::ImageSource);
    let disks = RootDisks { system: system.disk, image: source.map(|attached| attached.disk) };
    let system = SystemPlan { disks, pool: system.expected.root_pool.as_ref() };
    let others: Vec<DiskPlan<'_>> = devices.iter().filter_map(|attached| attached.plan(request)).collect();
    Ok(ordered(system.all(request, &image, &expected.identity.name), &others))
}
