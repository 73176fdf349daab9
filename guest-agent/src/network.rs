//! The network interfaces of the machine as the new system has them, whatever program sets them up there. Must not touch a
//! file.

use cloud_machine_config::{Address, Resources};
use cloud_machine_protocol::{Identity, MacAddress};

use crate::error::AgentError;

/// An interface.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interface<'config> {
    /// By which it is known.
    pub(crate) mac: MacAddress,
    /// What a further one is called; the first is called what the system calls it.
    pub(crate) name: Option<&'config str>,
    /// How it gets its addresses.
    pub(crate) address: &'config Address,
}

impl Interface<'_> {
    /// Whether it needs a program that sets it up as the configuration has it: of any other one it gets an address by DHCP, at best.
    pub(crate) fn is_described(&self) -> bool {
        self.name.is_some() || *self.address != Address::default()
    }

    /// What the interface in its VLAN is called.
    pub(crate) fn in_vlan(&self, vlan: u16) -> String {
        self.name.map_or_else(|| format!("vlan{vlan}"), |name| format!("{name}.{vlan}"))
    }
}

/// All of them, that by which the host reaches the machine first.
pub(crate) fn interfaces<'config>(
    identity: &Identity,
    resources: &'config Resources,
) -> Result<Vec<Interface<'config>>, AgentError> {
    let mut all = vec![Interface { mac: identity.mac, name: None, address: &resources.nic.address }];
    for (name, nic) in &resources.nics {
        let Some(mac) = identity.nics.get(name) else {
            return Err(AgentError::NoMac { name: name.to_string() });
        };
        all.push(Interface { mac: *mac, name: Some(name.as_str()), address: &nic.address });
    }
    Ok(all)
}
