//! `disks`: the agent in the initramfs that a distribution made for the machine's own disk, with no host. The pipe of `run.rs`
//! without a request: find the volume, read, merge, validate, plan, execute, and keep what the system behind is handed. Must end
//! with a failure whenever the machine is not what was described.

mod cloud_init;
mod documents;
mod firmware;
mod handed;
pub(crate) mod handover;
mod permitted;
mod root;
mod self_reimage;
mod signed;
mod unconfigured;
mod units;
mod volume;

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use cloud_machine_config::WithoutConfiguration;
use cloud_machine_plan::{OwnBoot, Plan, plan_own_boot};
use cloud_machine_protocol::{Action, ConfigEvidence, Inventory, MachineId, ReportResult, causes, each_cause, escaped};
use cloud_machine_system::{SystemError, kernel, product_uuid, survey::survey};

use crate::{
    channel,
    disk_steps::{Machine, check},
    error::AgentError,
    host::Host,
    inventory::tell,
    layers::Layers,
    partitions, policy,
    print::print,
    report::ReportBuilder,
    running_in::RunningIn,
    wait_for_disks,
};
use documents::Documents;
use units::Units;

/// Argument that makes the agent's binary this.
pub(crate) const ARGUMENT: &str = "disks";

/// Where an initramfs has modules, one folder for each kernel.
const MODULES: &str = "/lib/modules";

/// Where the agent is.
const HERE: RunningIn = RunningIn::OwnDisk;

const USAGE: &str = "\
cloud-machine-agent disks makes the machine's disks what its volume labelled CLOUD-INIT describes, before its own system mounts
them. The initramfs of an image runs it at every boot. What counts and what may be wiped is said by the image's policy file.

usage: cloud-machine-agent disks [--policy FILE]

  --policy FILE  the policy (default: /etc/cloud-machine/agent.yaml; without that file the default policy)
  --help         print this

exit codes: 0 the boot may go on; 1 it must not, and the kernel log says why; 2 wrong usage
";

/// Runs it, as `arguments` say.
pub(crate) fn run(mut arguments: impl Iterator<Item = String>) -> ExitCode {
    let policy = match (arguments.next().as_deref(), arguments.next(), arguments.next()) {
        (None, ..) => None,
        (Some("--help" | "-h"), None, _) => return print(USAGE, 0),
        (Some("--policy"), Some(file), None) => Some(PathBuf::from(file)),
        _ => {
            tell(USAGE);
            return ExitCode::from(2);
        }
    };
    let started = Instant::now();
    match disks(policy.as_deref(), started) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            each_cause(&error).for_each(|cause| kernel::log(&cause));
            tell(&format!("error: {}\n", escaped(&causes(&error))));
            ExitCode::FAILURE
        }
    }
}

fn disks(policy: Option<&Path>, started: Instant) -> Result<(), AgentError> {
    unconfigured::forget()?;
    let mut report = ReportBuilder::without_own_digest(HERE)?;
    report.action(Action::Boot);
    let mut host = Host::new(HERE, channel::open(HERE)?, started);
    let done = work(policy, &mut host, &mut report);
    let identified = if matches!(done, Ok(Did::Nothing)) { Ok(()) } else { report.own_digest() };
    report.timing("total", started.elapsed());
    let result = match &done {
        Ok(_) => ReportResult::Done,
        Err(error) => ReportResult::Failed { step: report.current_step(), causes: each_cause(error).collect() },
    };
    let (_, finished) = report.finish(result);
    let kept = host.report(finished);
    // Why the machine does not come up tells more than that nobody can read it again.
    let did = done?;
    identified.and(kept)?;
    if did == Did::Nothing { unconfigured::say() } else { Ok(()) }
}

/// What a boot that may go on did to the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Did {
    /// Neither a volume counts nor is there an address, and the policy lets such a boot go on.
    Nothing,
    /// What its documents describe.
    Described,
}

fn work(policy: Option<&Path>, host: &mut Host, report: &mut ReportBuilder) -> Result<Did, AgentError> {
    let (policy, _) = policy::load(policy)?;
    let units = Units::begin(Path::new("/"))?;

    // observe
    same_kernel(Path::new(MODULES), kernel::release())?;
    let began = Instant::now();
    let found = volume::find(&policy.volume)?;
    report.ignored_volumes(found.ignored, &[]);
    if let Some(volume) = &found.volume {
        host.event(None, &format!("the volume {} counts: {}", volume.device, volume.why))?;
    }

    self_reimage::at_boot(&policy, host)?;

    // read, parse, merge and validate
    let documents = documents::read(found.volume.as_ref(), &policy, host)?;
    let Some(Documents { layers, document, url, handed }) = documents else {
        return match policy.without_configuration {
            WithoutConfiguration::Boot => Ok(Did::Nothing),
            WithoutConfiguration::Stop => Err(AgentError::Unconfigured),
        };
    };
    for remark in layers.without_effect(&[])? {
        host.event(None, &remark)?;
    }
    report.config(ConfigEvidence {
        volume: found.volume.as_ref().map(|volume| volume.digest),
        document,
        url,
        drives: Vec::new(),
        origins: layers.merged().origins(),
    });

    // plan, once the declared disks have appeared
    let uuid = product_uuid()?.map(|uuid| uuid.to_string());
    let device = found.volume.as_ref().map(|volume| volume.device.as_str());
    let plan = planned(&layers, found.inventory, device, uuid.as_deref(), host)?;
    permitted::check(&policy, &plan)?;
    report.devices(plan.devices);
    report.timing("observe and plan", began.elapsed());

    // execute, one step at a time, once all of them can be
    check(HERE, &plan.steps)?;
    let machine = Machine { modules: HERE.modules(), hostid: hostid(uuid.as_deref())? };
    for planned in &plan.steps {
        host.event(Some(&planned.id), &format!("step {} begins", planned.id))?;
        report.step_begins(&planned.id);
        let began = Instant::now();
        let cost = machine.execute(planned, host, report)?.ok_or(AgentError::NoHost)?;
        report.step_ended(cost.record(planned, began.elapsed()));
    }
    units.put_aside(Path::new("/"))?;
    handed.keep(&layers)?;
    Ok(Did::Described)
}

/// Refuses an initramfs with modules of other kernels than the one of `release`, which runs: without its drivers a volume would not be
/// there, and a boot without one goes on. An initramfs without any modules is of a kernel that needs none.
fn same_kernel(folder: &Path, release: String) -> Result<(), AgentError> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).peekable();
    let Some(first) = found.peek().cloned() else { return Ok(()) };
    if found.any(|name| name == release) {
        return Ok(());
    }
    Err(AgentError::OtherKernel { running: release, found: first })
}

fn planned(
    layers: &Layers,
    inventory: Inventory,
    volume: Option<&str>,
    uuid: Option<&str>,
    host: &mut Host,
) -> Result<Plan, AgentError> {
    let config = layers.config();
    let inventory = wait_for_disks::data_disks(inventory, config, host)?;
    let inventory = partitions::looked_at(&inventory, config, Action::Boot);
    let root = root::disks_with_root(&kernel::command_line()?, &survey(false)?);
    // Machines without a UUID in their firmware make equal identifiers, which does no harm on disks of different machines.
    let own = OwnBoot { machine: uuid.unwrap_or_default(), root: &root, volume };
    plan_own_boot(config, &inventory, &own).map_err(AgentError::Plan)
}

/// The number by which a pool knows its machine: that of the distribution, or one made from the machine's UUID.
fn hostid(uuid: Option<&str>) -> Result<Option<u32>, AgentError> {
    const FILE: &str = "/etc/hostid";
    match fs::read(FILE) {
        Ok(bytes) => match <[u8; 4]>::try_from(bytes.as_slice()) {
            Ok(number) => Ok(Some(u32::from_ne_bytes(number))),
            Err(_) => Err(AgentError::Hostid { bytes: bytes.len() }),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let id = uuid.and_then(|uuid| uuid.replace('-', "").parse::<MachineId>().ok());
            Ok(id.map(|id| id.hostid()))
        }
        Err(error) => Err(SystemError::io("read", FILE)(error).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_of_the_kernel_that_runs_or_there_are_none() {
        let folder = tempfile::tempdir().unwrap();
        let said = |release: &str| same_kernel(folder.path(), release.to_owned()).map_err(|error| error.to_string());
        assert_eq!(said("6.1.0-2-cloud-amd64"), Ok(()));
        fs::create_dir(folder.path().join("6.1.0-1-cloud-amd64")).unwrap();
        let refused = said("6.1.0-2-cloud-amd64").unwrap_err();
        assert!(refused.contains("of the kernel 6.1.0-1-cloud-amd64 and none of 6.1.0-2-cloud-amd64"), "{refused}");
        fs::create_dir(folder.path().join("6.1.0-2-cloud-amd64")).unwrap();
        assert_eq!(said("6.1.0-2-cloud-amd64"), Ok(()));
    }
}
