//! What a machine's network rules out of an operation, before anything is touched. Must not look at an interface: that is the
//! driver's.

use cloud_machine_config::Config;
use cloud_machine_protocol::Connection;

use crate::{
    error::{ErrorKind, OperationError},
    hint::Hint,
};

/// Refuses an image that the machine would fetch, when it cannot.
pub(crate) fn can_fetch(config: &Config, is_fetched: bool) -> Result<(), OperationError> {
    let nic = &config.resources.nic;
    let (text, hint) = if !is_fetched {
        return Ok(());
    } else if nic.network == Connection::None {
        ("the machine cannot fetch its image: it has no network", Hint::ConnectMachine)
    } else if nic.address.vlan.is_some() {
        ("the machine cannot fetch its image in a VLAN: the system of that image puts it there", Hint::VlanOfHost)
    } else {
        return Ok(());
    };
    Err(OperationError::new(ErrorKind::Refused, text).hint(hint))
}

#[cfg(test)]
mod tests {
    use cloud_machine_config::{LayerKind, defaults, merge, parse, validate};

    use super::*;

    #[test]
    fn only_a_machine_that_reaches_its_image_fetches_it() {
        let tried = |nic: &str, is_fetched| {
            let text = format!("cloud-machine: {{resources: {{nic: {nic}}}}}");
            let document = parse(LayerKind::Project, "f", text.as_bytes()).unwrap();
            let config = validate(&merge(&[defaults(), document]).unwrap()).unwrap();
            can_fetch(&config, is_fetched).map_err(|refused| (refused.kind, refused.hints))
        };
        let vlan = "{network: {bridge: br0}, address: {vlan: 7}}";
        for nic in ["{}", "{network: {tap: tap0}}"] {
            assert_eq!(tried(nic, true), Ok(()), "{nic}");
        }
        for nic in ["{network: none}", vlan] {
            assert_eq!(tried(nic, false), Ok(()), "{nic}");
        }
        assert_eq!(tried("{network: none}", true), Err((ErrorKind::Refused, vec![Hint::ConnectMachine])));
        assert_eq!(tried(vlan, true), Err((ErrorKind::Refused, vec![Hint::VlanOfHost])));
    }
}
