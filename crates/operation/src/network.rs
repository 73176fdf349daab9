//! What a machine's network rules out of an operation, before anything is touched. Must not look at an interface: that is the
//! driver's.

use std::net::Ipv4Addr;

use cloud_machine_config::{Config, is_loopback};
use cloud_machine_protocol::{Connection, ImageUrl};

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
    for url in image.map(|image| &image.url).into_iter().chain(document) {
        let host = url.reveal().host_str().unwrap_or_default();
        let refuse = |why: &str, hint: Hint| {
            let text = format!("the machine cannot fetch {}: {why}", url.redacted());
            Err(OperationError::new(ErrorKind::Refused, text).hint(hint))
        };
        if is_loopback(host) {
            return refuse("there it would ask itself", Hint::ServeElsewhere);
        }
        if *connection == Connection::UserClosed && is_host_of_user_network(host) {
            return refuse("the host's loopback interface is closed to it", Hint::OpenHost);
        }
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
    fn no_machine_is_asked_to_fetch_from_itself() {
        let plain = config("{}");
        for (host, good) in [
            ("127.0.0.1:8000", false),
            ("127.1", false),
            ("localhost.", false),
            ("[::1]:8000", false),
            ("[::ffff:127.0.0.1]", false),
            ("0.0.0.0", false),
            ("192.0.2.7", true),
            ("localhost.example", true),
        ] {
            let image = ImageUrl { url: format!("https://{host}/a").parse().unwrap(), ca: None };
            let document = config(&format!("{{cloud-init-url: 'https://{host}/a'}}"));
            for connection in [Connection::User, Connection::UserClosed, Connection::Bridge("br0".parse().unwrap())] {
                for (config, image) in [(&plain, Some(&image)), (&document, None)] {
                    let hints = can_fetch(config, &connection, image).map_err(|refused| refused.hints);
                    assert_eq!(hints, if good { Ok(()) } else { Err(vec![Hint::ServeElsewhere]) }, "{host}");
                }
            }
        }
        assert!(can_fetch(&config("{cloud-init-url: 'file:///m.yaml'}"), &Connection::UserClosed, None).is_ok());
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
