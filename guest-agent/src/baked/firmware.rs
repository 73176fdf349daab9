//! What the hypervisor says to a machine that no host of ours started: where a pin can be that no job could have written.

use cloud_machine_protocol::{Algorithm, Digest, volume::PIN_ARGUMENT};
use cloud_machine_system::{SystemError, credentials, kernel};

use crate::{
    error::AgentError,
    pin::{PinSource, agreed},
};

/// A place that is read by a function.
struct Place {
    name: &'static str,
    module: &'static str,
    read: fn(&str) -> Result<Option<String>, SystemError>,
}

const PLACES: [Place; 2] = [
    Place { name: "fw_cfg", module: "qemu_fw_cfg", read: credentials::fw_cfg },
    Place { name: "SMBIOS", module: "dmi_sysfs", read: credentials::smbios },
];

/// The pin, where the hypervisor states one. The kernel command line does not count: it lies on the disk.
pub(super) fn pin() -> Result<Option<Digest>, AgentError> {
    for place in &PLACES {
        // It may be built in, or the machine may have no such device: the files say then what there is.
        if let Err(error) = kernel::modprobe(&[place.module]) {
            kernel::log(&format!("no pin can be read from {}: {error}", place.name));
        }
    }
    agreed(&PLACES.each_ref().map(|place| place as &dyn PinSource))
}

impl PinSource for Place {
    fn name(&self) -> &'static str {
        self.name
    }

    fn pin(&self) -> Result<Option<Digest>, AgentError> {
        let Some(text) = (self.read)(PIN_ARGUMENT)? else { return Ok(None) };
        let invalid = |source| AgentError::FirmwarePin { place: self.name, source };
        let digest: Digest = text.parse().map_err(invalid)?;
        if digest.algorithm() == Algorithm::Sha256 { Ok(Some(digest)) } else { Err(AgentError::PinAlgorithm) }
    }
}
