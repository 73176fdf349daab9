//! `read`: a disk of this machine to standard output, for a host that makes an image of it. Writes to no disk; must not be part of
//! a reimage.

use std::{
    io::{self, IsTerminal},
    path::Path,
    process::ExitCode,
};

use cloud_machine_disk::holders;
use cloud_machine_image::{ReadBlocks, SentDisk, send_disk};
use cloud_machine_protocol::{DeviceSelector, Disk, causes, escaped};
use cloud_machine_system::{BlockReader, SystemError, inventory_with_loops};

use crate::{inventory::tell, print::print};

/// Argument that makes the agent's binary this tool.
pub(crate) const ARGUMENT: &str = "read";

const USAGE: &str = "\
cloud-machine-agent read writes a disk of this machine to standard output: what is not zero of it, and a digest at the end. The
host, which is the computer that cloud-machine runs on, starts it over SSH for `image capture`. No disk is written.

usage: cloud-machine-agent read [--disk DEVICE] [--in-use]

  --disk DEVICE  serial:TEXT, wwn:TEXT, /dev/NAME or /dev/disk/by-id/NAME [default: the only disk]
  --in-use       also a disk that something uses: what is written meanwhile may be in the copy or not
  --help         print this

example, of a copy of the agent on the machine:
  ssh root@rescue.example /run/cloud-machine-agent read --disk serial:A1 > disk.stream

exit codes: 0 all of it was written; 1 it was not, and standard error says why; 2 wrong usage
";

#[derive(Debug, Default, PartialEq, Eq)]
struct Order {
    disk: Option<DeviceSelector>,
    in_use: bool,
}

/// Writes the disk that `arguments` name.
pub(crate) fn run(arguments: impl Iterator<Item = String>) -> ExitCode {
    let order = match order(arguments) {
        Ok(Some(order)) => order,
        Ok(None) => return print(USAGE, 0),
        Err(wrong) => {
            tell(&format!("error: {}\n\n{USAGE}", escaped(&wrong)));
            return ExitCode::from(2);
        }
    };
    if io::stdout().is_terminal() {
        tell("error: standard output is a terminal, and a disk is no text\n");
        return ExitCode::from(2);
    }
    match read(&order) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            tell(&format!("error: {}\n", escaped(&reason)));
            ExitCode::FAILURE
        }
    }
}

/// `None` when help is asked for.
fn order(mut arguments: impl Iterator<Item = String>) -> Result<Option<Order>, String> {
    let mut order = Order::default();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--help" | "-h" => return Ok(None),
            "--in-use" => order.in_use = true,
            "--disk" => {
                let text = arguments.next().ok_or("--disk needs a device")?;
                order.disk = Some(text.parse().map_err(|error| causes(&error))?);
            }
            _ => return Err(format!("unknown argument {argument}")),
        }
    }
    Ok(Some(order))
}

fn read(order: &Order) -> Result<(), String> {
    let failed = |error: SystemError| causes(&error);
    let disk = chosen(order)?;
    let used = holders(Path::new(&format!("/dev/{}", disk.name))).map_err(|error| causes(&error))?;
    let used: Vec<String> = used.iter().map(ToString::to_string).collect();
    if !used.is_empty() && !order.in_use {
        return Err(format!(
            "/dev/{} is in use: {}; start the machine's rescue system, or take it as it is with --in-use",
            disk.name,
            used.join(", ")
        ));
    }
    if !used.is_empty() {
        // What filesystems have not written yet.
        nix::unistd::sync();
    }
    let device = BlockReader::open(&disk.name).map_err(failed)?;
    let about = SentDisk::new(device.size(), disk.name.clone(), disk.serial, used);
    send_disk(&device, &about, &mut io::stdout().lock())
        .map_err(|error| format!("cannot copy /dev/{}: {error}", disk.name))
}

/// The one disk that is meant.
fn chosen(order: &Order) -> Result<Disk, String> {
    let failed = |error: SystemError| causes(&error);
    let disks = inventory_with_loops().map_err(failed)?.disks;
    match &order.disk {
        Some(selector) => only(disks, &|disk| disk.matches(selector), &format!("is {selector}")),
        None => {
            // Optical drives and stacked devices are none that anybody means.
            let known = cloud_machine_system::facts().map_err(failed)?.disks;
            only(disks, &|disk| known.iter().any(|known| known.name == disk.name), "could be meant")
        }
    }
}

fn only(disks: Vec<Disk>, is_it: &dyn Fn(&Disk) -> bool, what: &str) -> Result<Disk, String> {
    let there = names(&disks);
    let mut found = None;
    for disk in disks {
        if is_it(&disk) && found.replace(disk).is_some() {
            return Err(format!("more than one disk {what}: there is {there}; --disk names the one that is meant"));
        }
    }
    found.ok_or_else(|| format!("no disk {what}: there is {there}"))
}

fn names(disks: &[Disk]) -> String {
    let name = |disk: &Disk| match &disk.serial {
        Some(serial) => format!("{} (serial {serial})", disk.name),
        None => disk.name.clone(),
    };
    disks.iter().map(name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ordered(arguments: &[&str]) -> Result<Option<Order>, String> {
        order(arguments.iter().map(ToString::to_string))
    }

    #[test]
    fn arguments_name_a_disk() {
        assert_eq!(ordered(&[]), Ok(Some(Order::default())));
        let disk = Some("serial:A1".parse().unwrap());
        assert_eq!(ordered(&["--disk", "serial:A1", "--in-use"]), Ok(Some(Order { disk, in_use: true })));
        assert_eq!(ordered(&["--help"]), Ok(None));
        for wrong in [&["--disk"][..], &["--disk", "vda"], &["vda"], &["--in-use=yes"]] {
            assert!(ordered(wrong).is_err(), "{wrong:?}");
        }
    }
}
