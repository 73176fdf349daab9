//! `cloud-machine-agent`: `/init` of the initramfs. Chooses by process id and argument which of its parts runs,
//! and owns nothing else.

mod bake;
mod baked;
mod channel;
mod cloud_init;
mod command_line;
mod cost;
mod deadline;
mod disk_steps;
mod docker;
mod drives;
mod error;
mod execute;
mod facts;
mod host;
mod host_certificate;
mod host_image;
mod identity;
mod image_settings;
mod inventory;
mod last_words;
mod layers;
mod modules;
mod network;
mod network_files;
mod network_manager;
mod network_session;
#[cfg(feature = "static")]
mod no_names;
mod partitions;
mod pass;
mod pin;
mod policy;
mod preview;
mod print;
mod rancher;
mod read_disk;
mod recovery;
mod recovery_worker;
mod report;
mod rescue;
mod root_pool;
mod run;
mod running_in;
mod selinux;
mod serve;
mod shared;
mod source;
mod status;
mod supervisor;
mod swarm;
mod url;
mod volume;
mod wait_for_disks;
mod worker;

use std::{io::Write, process::ExitCode};

use cloud_machine_system::{probe, reader, survey};

use print::print;
use running_in::RunningIn;

const USAGE: &str = "\
cloud-machine-agent reimages a machine from its initramfs, where the host starts it as /init, or from a rescue system. In an
image it makes the machine's disks what its volume labelled CLOUD-INIT describes, at every boot. By hand it lists disks, says
what the machine is, what was done at the last boot, what a configuration would do to its disks, and what an image would do at a
boot.

usage: cloud-machine-agent inventory [--output table|json] [--loop]
       cloud-machine-agent facts
       cloud-machine-agent read [--disk DEVICE] [--in-use]
       cloud-machine-agent plan --config FILE [--action reimage|boot] [--output table|json] [--loop]
       cloud-machine-agent policy check|programs|modules|drivers [--policy FILE] [--output table|json]
       cloud-machine-agent status [--output table|json]
       cloud-machine-agent serve
       cloud-machine-agent disks [--policy FILE]
       cloud-machine-agent handover ROOT
       cloud-machine-agent inventory|facts|plan|policy|read|status|serve|disks|handover --help
       cloud-machine-agent --version
       cloud-machine-agent --help
";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let argument = arguments.next();
    // Before the question who we are: in a container the first process is not the machine's, and a kernel that starts
    // /init with this word lists the disks and stops.
    if argument.as_deref() == Some(inventory::ARGUMENT) {
        return inventory::run(arguments);
    }
    if argument.as_deref() == Some(facts::ARGUMENT) {
        return facts::run(arguments);
    }
    if argument.as_deref() == Some(read_disk::ARGUMENT) {
        return read_disk::run(arguments);
    }
    if argument.as_deref() == Some(preview::ARGUMENT) {
        return preview::run(arguments);
    }
    if argument.as_deref() == Some(status::ARGUMENT) {
        return status::run(arguments);
    }
    if argument.as_deref() == Some(baked::ARGUMENT) {
        return baked::run(arguments);
    }
    if argument.as_deref() == Some(baked::handover::ARGUMENT) {
        return baked::handover::run(arguments);
    }
    if argument.as_deref() == Some(policy::ARGUMENT) {
        return policy::run(arguments);
    }
    if argument.as_deref() == Some(serve::ARGUMENT) {
        return serve::run(arguments);
    }
    if std::process::id() == 1 {
        return supervisor::run();
    }
    match argument.as_deref() {
        Some(supervisor::WORKER_ARGUMENT) => worker::run(RunningIn::Initramfs),
        Some(recovery_worker::ARGUMENT) => recovery_worker::work(),
        Some(serve::WORKER_ARGUMENT) => serve::work(arguments),
        Some(probe::CHILD_ARGUMENT) => child(|| probe::child(arguments)),
        Some(reader::CHILD_ARGUMENT) => child(|| reader::child(&arguments.next().unwrap_or_default())),
        Some(survey::DETAILS_ARGUMENT) => child(|| survey::child(arguments)),
        Some("--version") => print(&format!("cloud-machine-agent {}\n", env!("CARGO_PKG_VERSION")), 0),
        Some("--help") => print(USAGE, 0),
        _ => print(USAGE, 2),
    }
}

fn child(look: impl FnOnce() -> Result<(), String>) -> ExitCode {
    serve::without_lock();
    match look() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            // The parent sees only the status; a person who runs this by hand sees why.
            std::io::stderr().write_all(reason.as_bytes()).unwrap_or_default();
            ExitCode::FAILURE
        }
    }
}
