//! The service from its start to its end: connects, tells that it is ready, and sends a signal when there is another report. Must not
//! end while the bus is there.

use std::{
    convert::Infallible,
    path::PathBuf,
    sync::mpsc,
    thread::{self, Builder},
    time::Duration,
};

use cloud_machine_stager::Disks;
use zbus::{Connection, connection, fdo::RequestNameFlags, object_server::SignalEmitter};

use crate::{
    error::ServiceError,
    interface::{Agent, NAME, OBJECT, Told},
    ready::ready,
    reimage::Reimage,
    watch::Watch,
};

/// How long the bus may take to say who a caller is.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// Serves what lies at `report`, and stages into the recovery partition of `disks`.
///
/// # Errors
/// [`ServiceError`]: why it ended.
pub(crate) fn serve(report: PathBuf, disks: Disks) -> Result<Infallible, ServiceError> {
    // Both before the first answer, so that nothing that changes after it is missed.
    let watch = Watch::new(&report)?;
    let agent = Agent::new(report.clone());
    let told = agent.told();
    let connection = zbus::block_on(connect(report, disks))?;
    ready()?;
    let (sender, ends) = mpsc::channel();
    let (bus, telling) = (connection.clone(), sender.clone());
    start("bus", move || {
        zbus::block_on(bus.closed());
        // Who waits for it is `main`, which ends at the first one.
        sender.send(ServiceError::Closed).unwrap_or_default();
    })?;
    start("report", move || {
        let Err(error) = tell_changes(&watch, &agent, told, &connection);
        telling.send(error).unwrap_or_default();
    })?;
    Err(ends.recv().unwrap_or(ServiceError::Closed))
}

fn start(name: &str, body: impl FnOnce() + Send + 'static) -> Result<thread::JoinHandle<()>, ServiceError> {
    Builder::new().name(name.to_owned()).spawn(body).map_err(ServiceError::Thread)
}

async fn connect(report: PathBuf, disks: Disks) -> Result<Connection, ServiceError> {
    let connection = connection::Builder::system()
        .method_timeout(ANSWER_TIME)
        .serve_at(OBJECT, Agent::new(report))
        .serve_at(OBJECT, Reimage::new(disks))
        .build()
        .await
        .map_err(ServiceError::Connect)?;
    // One that has the name keeps it, and nobody takes it from us.
    let named = connection.request_name_with_flags(NAME, RequestNameFlags::DO_NOT_QUEUE).await;
    named.map_err(|source| ServiceError::Name { name: NAME, source })?;
    Ok(connection)
}

/// Sends a signal at each change of what there is to tell, which was `told` when the watch had begun.
fn tell_changes(
    watch: &Watch,
    agent: &Agent,
    mut told: Told,
    connection: &Connection,
) -> Result<Infallible, ServiceError> {
    loop {
        watch.wait()?;
        let now = agent.told();
        if now != told {
            told = now;
            zbus::block_on(tell(connection)).map_err(ServiceError::Signal)?;
        }
    }
}

async fn tell(connection: &Connection) -> zbus::Result<()> {
    let emitter = SignalEmitter::new(connection, OBJECT)?;
    let object = connection.object_server().interface::<_, Agent>(OBJECT).await?;
    let agent = object.get().await;
    agent.status_invalidate(&emitter).await?;
    agent.summary_invalidate(&emitter).await?;
    Agent::report_changed(&emitter).await
}
