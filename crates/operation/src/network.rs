//! What a machine's network rules out of an operation, before anything is touched. Must not look at an interface: that is the
//! driver's.

use std::net::Ipv4Addr;

use cloud_machine_config::Config;
use cloud_machine_protocol::{Connection, ImageUrl, SecretUrl};

use crate::{
    error::{ErrorKind, OperationError},
    hint::Hint,
};

/// Refuses what the machine would fetch, when it cannot. An existing machine is connected as it was made, whatever is written now.
pub(crate) fn can_fetch(
    config: &Config,
    connection: &Connection,
    image: Option<&ImageUrl>,
) -> Result<(), OperationError> {
    let nic = &config.resources.nic;
    let document = config.cloud_init_url.as_ref().map(|url| &url.url);
    let closed = |url: &&SecretUrl| url.reveal().host_str().is_some_and(is_host_of_user_network);
    if *connection == Connection::UserClosed
        && let Some(url) = image.map(|image| &image.url).into_iter().chain(document).find(closed)
    {
        let text =
            format!("the machine cannot fetch {}: the host's loopback interface is closed to it", url.redacted());
        return Err(OperationError::new(ErrorKind::Refused, text).hint(Hint::OpenHost));
    }
    let (text, hint) = if image.is_none() {
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

/// Whether an address is one by which QEMU's user network means the host.
fn is_host_of_user_network(host: &str) -> bool {
    host.parse::<Ipv4Addr>().is_ok_and(|address| address.octets().starts_with(&[10, 0, 2]))
}

#[cfg(test)]
mod tests {
    use cloud_machine_config::{LayerKind, defaults, merge, parse, validate};

    use super::*;

    fn config(machine: &str) -> Config {
        let document = parse(LayerKind::Project, "f", format!("cloud-machine: {machine}").as_bytes()).unwrap();
        validate(&merge(&[defaults(), document]).unwrap()).unwrap()
    }

    #[test]
    fn nothing_is_fetched_from_a_host_that_is_closed() {
        let image = |host: &str| ImageUrl { url: format!("https://{host}/a").parse().unwrap(), ca: None };
        let plain = config("{}");
        for (host, good) in [("10.0.2.2", false), ("10.0.2.7:8000", false), ("10.0.20.2", true), ("a.example", true)] {
            let document = config(&format!("{{cloud-init-url: 'https://{host}/a'}}"));
            for (config, image) in [(&plain, Some(image(host))), (&document, None)] {
                assert!(can_fetch(config, &Connection::User, image.as_ref()).is_ok(), "{host}");
                match can_fetch(config, &Connection::UserClosed, image.as_ref()) {
                    Ok(()) => assert!(good, "{host}"),
                    Err(refused) => assert!(!good && refused.hints == [Hint::OpenHost], "{host}: {refused}"),
                }
            }
        }
    }

    #[test]
    fn only_a_machine_that_reaches_its_image_fetches_it() {
        let image = ImageUrl { url: "https://images.example/a".parse().unwrap(), ca: None };
        let tried = |nic: &str, is_fetched: bool| {
            let config = config(&format!("{{resources: {{nic: {nic}}}}}"));
            let fetched = can_fetch(&config, &config.resources.nic.network, is_fetched.then_some(&image));
            fetched.map_err(|refused| (refused.kind, refused.hints))
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
