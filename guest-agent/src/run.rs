//! The pipe from top to bottom: observe, read, merge, validate, plan, execute. Decides nothing itself; the page to
//! read first.

use std::time::{Duration, Instant};

use cloud_machine_plan::{ImageLayout, plan};
use cloud_machine_protocol::{ConfigEvidence, Identity, ImageSource};
use cloud_machine_system::{kernel, sha256};

use crate::{
    command_line::CommandLine,
    deadline::Deadline,
    disk_steps::check,
    drives,
    error::AgentError,
    execute::Executor,
    host::Host,
    layers::Layers,
    network_session::Over,
    partitions, pin,
    recovery::Recovery,
    report::ReportBuilder,
    rescue,
    running_in::RunningIn,
    url,
    volume::{self, FoundVolume},
    wait_for_disks,
};

/// What the search for the volume may take: the request's own limit is on it. Each look at a disk has a much shorter one.
const SEARCH: Duration = Duration::from_secs(300);

/// Makes the machine what the request and the configuration describe, or says why not. The deadline goes on counting
/// until the caller has reported.
pub(crate) fn run(
    running_in: RunningIn,
    host: &mut Host,
    report: &mut ReportBuilder,
    recovery: Option<&Recovery>,
) -> Result<Deadline, AgentError> {
    // observe
    let began = Instant::now();
    let looking = Deadline::start("the search for the volume", SEARCH);
    let found = find_volume(running_in, host);
    looking.meet();
    let found = found?;
    report.ignored_volumes(found.others.clone(), &[]);

    // read, from the pinned copy in memory
    let request = found.volume.request()?;
    report.request(&request);
    let deadline = Deadline::start("the request", Duration::from_secs(request.deadline_seconds));
    let secrets = host.secrets()?;
    let mut documents = found.volume.documents(request)?;
    if let ImageSource::Url(image) = &mut documents.request.image.source {
        image.url = url::whole(&image.url, secrets.image)?;
    }

    // parse, merge and validate: the host's layers, the address that they name, the drives
    let mut layers = Layers::of_host(&documents.layers, &documents.user_data)?;
    let url = match layers.config().cloud_init_url.clone() {
        Some(mut url) => {
            url.url = url::whole(&url.url, secrets.document)?;
            let over = over(running_in, &documents.identity, &layers);
            let (document, evidence) = url::read(&url, &found.volume, over, host)?;
            layers.add([document])?;
            Some(evidence)
        }
        None => None,
    };
    let requested = &documents.request.drives;
    let drives = drives::read(&found.inventory, &found.others, requested, layers.config().drives)?;
    report.ignored_volumes(drives.ignored, &drives.evidence);
    layers.add(drives.documents)?;
    for remark in layers.without_effect(&documents.request.unsupported)? {
        host.event(None, &remark)?;
    }
    report.config(ConfigEvidence {
        volume: Some(found.volume.digest),
        document: sha256(&documents.user_data),
        url,
        drives: drives.evidence,
        origins: layers.merged().origins(),
    });

    // plan, once the declared disks have appeared
    let inventory = &wait_for_disks::disks(found.inventory, layers.config(), host)?;
    let layout = ImageLayout::from(&documents.manifest);
    report.image(&documents.request.image, layout.generation);
    let inventory = partitions::looked_at(inventory, layers.config(), documents.request.action);
    let hostname = &documents.identity.name;
    let volume = found.volume.device.as_deref();
    let plan =
        plan(layers.config(), &inventory, &documents.request, &layout, volume, hostname).map_err(AgentError::Plan)?;
    if running_in.ends_in_reset() {
        rescue::check(&documents.request, &plan)?;
    }
    report.devices(plan.devices.clone());
    report.timing("observe and plan", began.elapsed());

    // execute, one step at a time, once all of them can be
    check(running_in, &plan.steps)?;
    let over = over(running_in, &documents.identity, &layers);
    if let Some(recovery) = recovery {
        recovery.begin(&plan, &documents.manifest)?;
        // Nobody waits, and what is cut off begins anew: a large disk would never be done.
        deadline.meet();
    }
    let mut executor = Executor::new(running_in.modules(), &documents, &layers, over, secrets.host_key, recovery);
    for planned in &plan.steps {
        host.event(Some(&planned.id), &format!("step {} begins", planned.id))?;
        report.step_begins(&planned.id);
        let record = executor.execute(planned, host, report)?;
        report.step_ended(record);
    }
    Ok(deadline)
}

fn find_volume(running_in: RunningIn, host: &mut Host) -> Result<FoundVolume, AgentError> {
    match running_in {
        RunningIn::Initramfs => {
            let command_line = kernel::command_line()?;
            volume::find(pin::of(&[&CommandLine::new(&command_line)])?)
        }
        RunningIn::RescueSystem | RunningIn::Recovery => volume::received(host.volume()?),
        RunningIn::OwnDisk => Err(AgentError::NoHost),
    }
}

/// What an address is read over.
fn over<'a>(running_in: RunningIn, identity: &Identity, layers: &'a Layers) -> Over<'a> {
    match running_in {
        RunningIn::Initramfs | RunningIn::Recovery => {
            Over::Own(identity.mac, &layers.config().resources.nic.address, running_in.modules())
        }
        RunningIn::RescueSystem | RunningIn::OwnDisk => Over::System,
    }
}
