//! `cloud-machine`: what an operator or an orchestrator calls. Parses arguments, calls one command, turns its end
//! into an exit code.

mod arguments;
mod batch;
mod command;
mod configuration;
mod confirm;
mod failure;
mod folders;
mod hints;
mod interrupted;
mod login;
mod redaction;
mod screen;
mod signing;
mod source;
mod state;
mod terminal;
mod ui;

use std::{io::Write as _, process::ExitCode};

use arguments::{Arguments, Command, Lease, Several};
use clap::Parser;
use cloud_machine_child as child;
use cloud_machine_driver::qemu;
use failure::{Failure, Kind};
use tracing_subscriber::EnvFilter;
use ui::{SafeErrors, Ui};

fn main() -> ExitCode {
    // A process of the driver's own, for which no operator asks.
    if std::env::args_os().nth(1).is_some_and(|word| word == qemu::RELAY) {
        return relay_network();
    }
    let arguments = Arguments::parse();
    let ui = Ui::new(&arguments.global);
    let kept = || child::keep_inherited().map_err(Failure::during(Kind::Failed, "look at the files that are open"));
    let ended = log_to_standard_error(&arguments.global.log).and_then(|()| kept()).and_then(|()| run(&ui, &arguments));
    match ended {
        Ok(code) => code,
        Err(failure) => {
            ui.failure(None, &failure);
            ExitCode::from(failure.kind as u8)
        }
    }
}

/// The other end of the pipe is the driver's, which shows what is said here.
fn relay_network() -> ExitCode {
    match qemu::relay_network() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::from(Kind::Failed as u8)
        }
    }
}

fn run(ui: &Ui, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let store = || state::open_existing(&arguments.global);
    let to_list = || state::open_to_list(ui, &arguments.global);
    let leased = |under, machines| state::leased(store()?, under, machines);
    let done = |result: Result<(), Failure>| result.map(|()| ExitCode::SUCCESS);
    match &arguments.command {
        Command::Create(create) => {
            let store = state::leased(state::open_store(&arguments.global)?, create.under, &create.machines)?;
            command::create::run(ui, &store, create)
        }
        Command::Adopt(adopt) => {
            let machines = Several { names: vec![adopt.name.clone()] };
            let store = state::leased(state::open_store(&arguments.global)?, adopt.under, &machines)?;
            command::adopt::run(ui, &store, adopt)
        }
        Command::Start(start) => command::start::run(ui, &leased(start.under, &start.machines)?, start),
        Command::Stop(stop) => command::stop::run(ui, &leased(stop.under, &stop.machines)?, stop),
        Command::Delete(delete) => command::delete::run(ui, &leased(delete.under, &delete.machines)?, delete),
        Command::Reimage(reimage) => command::reimage::run(ui, &leased(reimage.under, &reimage.machines)?, reimage),
        Command::Verify(verify) => command::verify::run(ui, &store()?, verify),
        Command::List(list) => done(command::list::run(ui, &to_list()?, list)),
        Command::Show(show) => done(command::show::run(ui, &store()?, &show.name)),
        Command::Plan(plan) => done(command::plan::run(ui, &store()?, &plan.name)),
        Command::Console(console) if console.attach => {
            command::attach::run(ui, &store()?, &console.name, console.detach_key)
        }
        Command::Console(console) => done(command::console::run(ui, &store()?, console)),
        Command::KnownHosts(asked) => done(command::known_hosts::run(ui, &to_list()?, asked)),
        Command::Ssh(ssh) => command::ssh::log_in(&store()?, ssh),
        Command::Exec(exec) => command::exec::run(ui, &store()?, exec),
        Command::Cp(cp) => command::cp::run(ui, &store()?, cp),
        Command::Logs(logs) => command::logs::run(ui, &store()?, logs),
        // Also of a machine that is yet to be created.
        Command::Lease(lease @ Lease::Take { .. }) => {
            done(command::lease::run(ui, &state::open_store(&arguments.global)?, lease))
        }
        Command::Lease(Lease::List) => done(command::lease::run(ui, &to_list()?, &Lease::List)),
        Command::Lease(lease) => done(command::lease::run(ui, &store()?, lease)),
        Command::Journal(journal) => done(command::journal::run(ui, &to_list()?, journal)),
        Command::Gc(gc) => done(command::gc::run(ui, &store()?, gc)),
        Command::Volume(volume) => done(command::volume::run(ui, volume)),
        Command::Image(image) => done(command::image::run(ui, &arguments.global, image)),
        Command::Config(config) => done(command::config::run(ui, &arguments.global, config)),
        Command::Doctor => command::doctor::run(ui, &arguments.global),
        Command::Completions { shell } => {
            let mut command = <Arguments as clap::CommandFactory>::command();
            // To memory first: the generator panics when it cannot write.
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut command, "cloud-machine", &mut script);
            done(ui.raw(&String::from_utf8_lossy(&script)))
        }
        Command::ManPages { folder } => done(command::man_pages::run(folder)),
    }
}

fn log_to_standard_error(filter: &str) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(filter).map_err(Failure::during(Kind::Failed, "read the log filter"))?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| SafeErrors).with_ansi(false).init();
    Ok(())
}
