//! What the agent does with a network, as a program of its own: up, one document, down. Tests run it inside a network
//! namespace; it prints JSON, or an error with its causes.

use std::{
    env,
    error::Error,
    fs,
    net::IpAddr,
    process::ExitCode,
    time::{Duration, Instant},
};

use cloud_machine_fetch::{Limits, Names, Source, fetch};
use cloud_machine_system::network::{Network, Route};
use serde_json::{Value, json};

const USAGE: &str = "usage: network-client MAC SECONDS URL";

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
    let [mac, seconds, url] = arguments.as_slice() else { return Err(USAGE.into()) };
    let seconds = Duration::from_secs(seconds.parse()?);
    let network = Network::up(mac.parse()?, Instant::now() + seconds)?;
    let lease = network.lease().clone();
    let mtu = format!("/sys/class/net/{}/mtu", network.interface());
    let (interface, mtu_up) = (network.interface().to_owned(), read(&mtu));

    let names = Names::Servers(lease.name_servers.iter().copied().map(IpAddr::V4).collect());
    let limits = Limits { attempts: 2, total: seconds, ..Limits::of(1 << 20) };
    let fetched = fetch(&Source { url, sha256: None, ca: None }, &limits, &names, &|_, _| {});
    network.down()?;
    let fetched = fetched?;
    Ok(json!({
        "interface": interface,
        "address": format!("{}/{}", lease.address, lease.prefix),
        "routes": lease.routes.iter().map(shown).collect::<Vec<_>>(),
        "name_servers": lease.name_servers,
        "server": lease.server,
        "seconds": lease.seconds,
        "mtu": lease.mtu,
        "mtu_up": mtu_up,
        "mtu_down": read(&mtu),
        "document": String::from_utf8_lossy(&fetched.bytes),
        "digest": fetched.digest.to_string(),
    }))
}

fn shown(route: &Route) -> String {
    let gateway = route.gateway.map_or_else(|| "link".to_owned(), |gateway| gateway.to_string());
    format!("{}/{} {gateway}", route.destination, route.prefix)
}

/// `null` where there is no sysfs to read.
fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim_end().to_owned())
}
