//! The pipe from top to bottom: observe, read, merge, validate, plan, execute. Decides nothing itself; the page to
//! read first.

use std::time::{Duration, Instant};

use cloud_machine_config::{LayerKind, merge, parse, validate};
use cloud_machine_plan::{ImageLayout, plan};
use cloud_machine_protocol::{ConfigEvidence, volume::USER_DATA};
use cloud_machine_system::{kernel, sha256};

use crate::{
    command_line, deadline::Deadline, error::AgentError, execute::Executor, host::Host, report::ReportBuilder, volume,
};

/// Makes the machine what the request and the configuration describe, or says why not. The deadline goes on counting
/// until the caller has reported.
pub(crate) fn run(host: &mut Host, report: &mut ReportBuilder) -> Result<Deadline, AgentError> {
    // observe
    let began = Instant::now();
    let pin = command_line::pin(&kernel::command_line()?)?;
    let found = volume::find(pin)?;
    report.ignored_volumes(found.ignored);

    // read, from the pinned copy in memory
    let request = found.volume.request()?;
    report.request(&request);
    let deadline = Deadline::start(Duration::from_secs(request.deadline_seconds));
    let documents = found.volume.documents(request)?;

    // parse, merge, validate
    let document = parse(LayerKind::Volume, USER_DATA, &documents.user_data).map_err(AgentError::Config)?;
    let merged = merge(&[document.pinned()]).map_err(AgentError::Config)?;
    let config = validate(&merged).map_err(AgentError::Config)?;
    report.config(ConfigEvidence {
        volume: found.volume.digest,
        document: sha256(&documents.user_data),
        origins: documents.origins.clone(),
    });

    // plan
    let layout = ImageLayout::from(&documents.manifest);
    let hostname = &documents.identity.name;
    let plan = plan(&config, &found.inventory, &documents.request, &layout, &found.volume.device, hostname)
        .map_err(AgentError::Plan)?;
    report.devices(plan.devices);
    report.timing("observe and plan", began.elapsed());

    // execute, one step at a time
    let mut executor = Executor::new(&documents, &config);
    for planned in &plan.steps {
        host.event(Some(&planned.id), &format!("step {} begins", planned.id))?;
        report.step_begins(&planned.id);
        let record = executor.execute(planned, host, report)?;
        report.step_ended(record);
    }
    Ok(deadline)
}
