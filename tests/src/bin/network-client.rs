//! What the agent does with a network, as a program of its own: up, one document, down. Tests run it inside a network
//! namespace; it prints JSON, or an error with its causes.

use std::{
    env,
    error::Error,
    fs,
    process::ExitCode,
    time::{Duration, Instant},
};

use cloud_machine_fetch::{Limits, Names, Source, fetch};
use cloud_machine_system::network::{Addressing, Network, OwnAddress, Settings, Way};
use serde_json::{Value, json};

const USAGE: &str = "usage: network-client MAC SECONDS URL [ADDRESS/PREFIX GATEWAY DNS]";

fn main() -> ExitCode {
    match run() {
        Ok(result) => {
            println!("{result}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let mut text = error.to_string();
            let mut cause = error.source();
            while let Some(error) = cause {
                text = format!("{text}: {error}");
                cause = error.source();
            }
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<Value, Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [mac, seconds, url, own @ ..] = arguments.as_slice() else { return Err(USAGE.into()) };
    let seconds = Duration::from_secs(seconds.parse()?);
    let network = Network::up(mac.parse()?, &addressing(own)?, Instant::now() + seconds)?;
    let (lease, settings) = (network.lease().cloned(), network.settings().clone());
    let mtu = format!("/sys/class/net/{}/mtu", network.interface());
    let (interface, mtu_up) = (network.interface().to_owned(), read(&mtu));

    let names = Names::Servers(settings.name_servers.clone());
    let limits = Limits { attempts: 2, total: seconds, ..Limits::of(1 << 20) };
    let fetched = fetch(&Source { url, sha256: None, ca: None }, &limits, &names, &|_, _| {});
    network.down()?;
    let fetched = fetched?;
    Ok(json!({
        "interface": interface,
        "address": format!("{}/{}", settings.addresses[0].address, settings.addresses[0].prefix),
        "routes": settings.ways.iter().map(shown).collect::<Vec<_>>(),
        "name_servers": settings.name_servers,
        "server": lease.as_ref().map(|lease| lease.server),
        "seconds": lease.as_ref().map(|lease| lease.seconds),
        "mtu": settings.mtu,
        "mtu_up": mtu_up,
        "mtu_down": read(&mtu),
        "document": String::from_utf8_lossy(&fetched.bytes),
        "digest": fetched.digest.to_string(),
    }))
}

/// What is written, or else from a DHCP server.
fn addressing(own: &[String]) -> Result<Addressing, Box<dyn Error>> {
    let [address, gateway, dns] = own else { return Ok(Addressing::Dhcp { mtu: None, name_servers: Vec::new() }) };
    let (address, prefix) = address.split_once('/').ok_or(USAGE)?;
    Ok(Addressing::Static(Settings {
        addresses: vec![OwnAddress { address: address.parse()?, prefix: prefix.parse()?, seconds: u32::MAX }],
        ways: vec![Way::out(gateway.parse()?)],
        name_servers: vec![dns.parse()?],
        mtu: None,
    }))
}

fn shown(route: &Way) -> String {
    let gateway = route.gateway.map_or_else(|| "link".to_owned(), |gateway| gateway.to_string());
    format!("{}/{} {gateway}", route.destination, route.prefix)
}

/// `null` where there is no sysfs to read.
fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim_end().to_owned())
}
