//! The emulated cloud for people who work on a driver: prints where it is and ends, with all its machines, when its standard input
//! does.

use std::{
    collections::BTreeMap,
    env,
    io::{self, Read},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use cloud_machine_tests::cloud::{
    Cloud, Settings,
    machines::{Machines, Remembered},
    qemu::{Parts, Qemu},
};

const USAGE: &str = "usage: cloud [--image-folder FOLDER]

Starts the emulated cloud, prints its endpoint and token, and ends with its standard input.
  --image-folder FOLDER  of `images/build debian-12-cloud`: servers are machines of QEMU that boot it; each has SSH at port 22 of
                         an address of its own, which needs root. Without it, servers are only remembered.";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let mut arguments = env::args().skip(1);
    let machines: Arc<dyn Machines> = match (arguments.next().as_deref(), arguments.next(), arguments.next()) {
        (None, ..) => Arc::new(Remembered::default()),
        (Some("--image-folder"), Some(folder), None) => {
            let rescue = PathBuf::from(folder);
            let images = BTreeMap::from([("debian-12".to_owned(), rescue.clone())]);
            Arc::new(Qemu::new(Parts { images, rescue, disk_size: 0, memory: 512, ssh_port: 22 })?)
        }
        (Some("--help" | "-h"), ..) => {
            println!("{USAGE}");
            return Ok(());
        }
        _ => return Err(format!("unknown arguments\n{USAGE}")),
    };
    let cloud = Cloud::start(Settings::default(), machines);
    println!("export HCLOUD_ENDPOINT={}\nexport HCLOUD_TOKEN={}", cloud.endpoint(), cloud.token());
    // Whatever is written there says nothing; its end is what counts.
    io::stdin().read_to_end(&mut Vec::new()).map_err(|error| format!("cannot read the standard input: {error}"))?;
    for request in cloud.requests() {
        eprintln!("{request}");
    }
    Ok(())
}
