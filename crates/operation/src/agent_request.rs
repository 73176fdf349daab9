//! What the agent is asked for: the request of a machine's record with what one attempt adds. Must not choose it.

use cloud_machine_driver::machine::{Delivery, Driver};
use cloud_machine_image::Manifest;
use cloud_machine_protocol::{
    Action, DeviceSelector, DriveRequest, FORMAT_VERSION, ImageRequest, ImageSource, Nonce, Request, Tier,
};
use cloud_machine_store::{DriveRecord, MachineRecord};

use crate::{audit, described::Described, devices, error::OperationError, history};

/// Seconds that an agent may take; the host's own deadline is usually shorter.
const AGENT_DEADLINE: u64 = 3600;

/// What one attempt adds to a machine's description.
pub(crate) struct Serving<'a> {
    pub(crate) id: &'a str,
    pub(crate) attempt: u32,
    pub(crate) action: Action,
    /// The lowest generation of the image that is allowed.
    pub(crate) minimum_generation: u64,
    pub(crate) tier: Option<Tier>,
    /// Bytes of the packed image.
    pub(crate) packed: u64,
}

impl<'a> Serving<'a> {
    /// The request in the machine's record.
    pub(crate) fn of(
        record: &'a MachineRecord,
        minimum_generation: u64,
        tier: Option<Tier>,
        packed: u64,
    ) -> Result<Self, OperationError> {
        let request = record.request.as_ref().ok_or_else(|| OperationError::failed("the machine has no request"))?;
        let (id, attempt, action) = (&request.id, request.attempts, request.action);
        Ok(Self { id, attempt, action, minimum_generation, tier, packed })
    }
}

/// The request as it goes to the agent.
pub(crate) fn request(
    driver: &dyn Driver,
    record: &MachineRecord,
    described: &Described,
    serving: &Serving<'_>,
    manifest: &Manifest,
    nonce: Nonce,
) -> Result<Request, OperationError> {
    let source = match (&record.image.url, driver.delivery()) {
        (Some(url), _) => ImageSource::Url(url.clone()),
        (None, Delivery::Devices) => ImageSource::Device(DeviceSelector::Serial(devices::IMAGE.to_owned())),
        (None, Delivery::Connection) => ImageSource::Connection { size: serving.packed },
    };
    Ok(Request {
        version: FORMAT_VERSION,
        id: serving.id.to_owned(),
        attempt: serving.attempt,
        nonce,
        machine_uuid: record.uuid.clone(),
        action: serving.action,
        image: ImageRequest {
            name: record.image.name.to_string(),
            digest: manifest.digest(),
            size: manifest.size(),
            source,
            minimum_generation: serving.minimum_generation,
            exceptions: record.image.exceptions.clone(),
        },
        tier: serving.tier,
        drives: record.drives.iter().enumerate().map(drive_request).collect(),
        histories: history::sent(&record.disks),
        kept: history::kept(&described.config),
        unsupported: audit::unsupported(driver),
        deadline_seconds: AGENT_DEADLINE,
    })
}

fn drive_request((index, drive): (usize, &DriveRecord)) -> DriveRequest {
    DriveRequest { device: DeviceSelector::Serial(devices::drive(index)), digest: drive.digest }
}
