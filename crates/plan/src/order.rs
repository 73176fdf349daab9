//! The order of the steps of an attempt. It is written here alone: the plan of the machine and the one that the host
//! expects have the same order because both ask for it here. Must not decide, and must not make a step of a data disk.
//!
//! A second writing of it by whoever verifies would be no second opinion, since each step is made by the same function.
//! The opinion of its own is a test: `tests/attempt/properties.rs` has the order in other terms.

use cloud_machine_protocol::{Action, MachineName, Mount, Request};

use crate::{
    disk_plan::DiskPlan,
    image::ImageLayout,
    root_pool::{RootDisks, RootPool},
    step::{PlannedStep, load_modules, mount_root, reimage, source, write_identity, write_mounts},
};

/// What is done with the system disk among the others. Nothing at all where the machine's own initramfs mounts its root.
#[derive(Default)]
pub(crate) struct SystemSteps {
    pub(crate) kernel_module: Option<String>,
    pub(crate) steps: Vec<PlannedStep>,
    pub(crate) mounts: Vec<Mount>,
}

/// The system disk of an attempt.
pub(crate) struct SystemPlan<'a> {
    pub(crate) disks: RootDisks<'a>,
    /// The pool with the root, when it is in one.
    pub(crate) pool: Option<&'a RootPool>,
}

/// All steps; `others` are the other declared disks, in the order of the configuration.
pub(crate) fn ordered(system: SystemSteps, others: &[DiskPlan<'_>]) -> Vec<PlannedStep> {
    let modules = others.iter().flat_map(DiskPlan::kernel_modules).chain(system.kernel_module.as_deref());
    let mut steps = load_modules(modules);
    steps.extend(others.iter().filter_map(DiskPlan::set_read_only));
    steps.extend(others.iter().filter_map(DiskPlan::wipe));
    steps.extend(system.steps);
    steps.extend(others.iter().filter_map(DiskPlan::encrypt));
    steps.extend(others.iter().flat_map(DiskPlan::make));
    steps.extend(write_mounts(system.mounts.into_iter().chain(others.iter().flat_map(DiskPlan::mounts)).collect()));
    steps
}

impl SystemPlan<'_> {
    /// What an attempt does with it.
    pub(crate) fn all(&self, request: &Request, image: &ImageLayout, hostname: &MachineName) -> SystemSteps {
        SystemSteps {
            kernel_module: self.pool.and_then(|pool| pool.filesystem.kernel_module.clone()),
            steps: self.steps(request, image, hostname),
            mounts: self.mounts(),
        }
    }

    fn steps(&self, request: &Request, image: &ImageLayout, hostname: &MachineName) -> Vec<PlannedStep> {
        let disks = self.disks;
        if let Some(pool) = self.pool {
            return pool.steps(request, image, disks, hostname);
        }
        let source = source(request, disks.image).filter(|_| request.action == Action::Reimage);
        let mut steps: Vec<_> =
            source.map(|source| reimage(disks.system, source, image, request.tier)).into_iter().collect();
        steps.push(mount_root(disks.system, image));
        if request.action == Action::Reimage {
            steps.push(write_identity(hostname));
        }
        steps
    }

    fn mounts(&self) -> Vec<Mount> {
        self.pool.map(|pool| pool.mounts(self.disks.system)).unwrap_or_default()
    }
}
