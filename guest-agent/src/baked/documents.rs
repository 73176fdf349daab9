//! The documents of a machine without a host, in their order: that of an address, then that of the volume, which counts more. What
//! is on the volume is read in a confined process; must not decide which volume counts.

use cloud_machine_config::{CloudInitUrl, Document, LayerKind, Policy, parse};
use cloud_machine_protocol::{Digest, MacAddress, UrlEvidence, volume::USER_DATA};
use cloud_machine_system::{
    SystemError, facts,
    reader::{read_untrusted, read_untrusted_if_there},
    sha256,
};

use super::{HERE, handed::Handed, volume::Volume};
use crate::{error::AgentError, host::Host, layers::Layers, network_session::Over, url};

/// What the machine was told.
pub(super) struct Documents {
    pub(super) layers: Layers,
    /// SHA-256 of the volume's document, or of that of the address where there is no volume.
    pub(super) document: Digest,
    pub(super) url: Option<UrlEvidence>,
    /// What the booted system is handed besides.
    pub(super) handed: Handed,
}

/// Reads them; `None` when there is neither a volume nor an address.
pub(super) fn read(volume: Option<&Volume>, policy: &Policy, host: &mut Host) -> Result<Option<Documents>, AgentError> {
    let mut handed = Handed::default();
    let mut document = None;
    let mut layers = Layers::of_machine([])?;
    if let Some(volume) = volume {
        let user_data = file(volume, USER_DATA)?;
        let name = format!("/dev/{}/{USER_DATA}", volume.device);
        // The policy lets it count as a host's would: it is what the machine is made from.
        let parsed = parse(LayerKind::Volume, &name, &user_data).map_err(AgentError::Config)?.pinned();
        layers = Layers::of_machine([parsed])?;
        document = Some(sha256(&user_data));
        handed = Handed::of(|name| file_if_there(volume, name))?;
    }
    let named = layers.config().cloud_init_url.clone().or_else(|| policy.address.default.clone());
    let mut evidence = None;
    if let Some(address) = named {
        let (read, said) = fetched(&address, &layers, policy, host)?;
        document = document.or(Some(said.document));
        evidence = Some(said);
        layers.add([read])?;
    }
    Ok(document.map(|document| Documents { layers, document, url: evidence, handed }))
}

fn fetched(
    address: &CloudInitUrl,
    layers: &Layers,
    policy: &Policy,
    host: &mut Host,
) -> Result<(Document, UrlEvidence), AgentError> {
    if address.file().is_none() && !policy.address.allows(address) {
        let allowed =
            if policy.address.allowed.is_empty() { "none".to_owned() } else { policy.address.allowed.join(", ") };
        return Err(AgentError::AddressForbidden { url: address.redacted(), allowed });
    }
    let nic = &layers.config().resources.nic;
    let mac = interface(nic.mac, &address.redacted())?;
    let over = Over::Own(mac, &nic.address, HERE.modules());
    let (document, evidence) = url::read_without_host(address, over, host)?;
    // Whoever wrote down its digest knew what it says.
    let document = if address.sha256.is_some() { document.pinned() } else { document };
    Ok((document, evidence))
}

/// The interface that the configuration names, or the only one.
fn interface(named: Option<MacAddress>, url: &str) -> Result<MacAddress, AgentError> {
    if let Some(mac) = named {
        return Ok(mac);
    }
    let interfaces = facts()?.interfaces;
    match interfaces.as_slice() {
        [only] => Ok(only.mac),
        all => Err(AgentError::Interfaces { found: all.len(), url: url.to_owned() }),
    }
}

fn file(volume: &Volume, name: &'static str) -> Result<Vec<u8>, AgentError> {
    read_untrusted(&volume.bytes, name).map_err(|source| unreadable(volume, name, source))
}

fn file_if_there(volume: &Volume, name: &'static str) -> Result<Option<Vec<u8>>, AgentError> {
    read_untrusted_if_there(&volume.bytes, name).map_err(|source| unreadable(volume, name, source))
}

fn unreadable(volume: &Volume, file: &'static str, source: SystemError) -> AgentError {
    AgentError::VolumeFile { file: format!("/dev/{}/{file}", volume.device), source }
}
