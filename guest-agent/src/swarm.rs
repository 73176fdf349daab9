//! What makes docker of the new system a part of a swarm: a request for its daemon, and units that send it and that take away what a
//! reimage left of a worker. Must not touch a file, nor judge a setting.

use cloud_machine_config::{Swarm, SwarmRole};
use cloud_machine_system::root::RootFile;

use crate::{docker, error::AgentError};

/// Docker's own program, where packages have it.
pub(crate) const PROGRAMS: [&str; 2] = ["/usr/bin/docker", "/usr/local/bin/docker"];
/// Programs that hand a file to a daemon's socket, so that no command line has a token. Each distribution with systemd has one.
pub(crate) const SENDERS: [&str; 2] = ["/usr/bin/perl", "/usr/bin/curl"];

/// Their names say whose they are: only this program writes them.
const REQUEST: &str = "/etc/docker/cloud-machine-swarm.json";
const JOIN: &str = "/etc/docker/cloud-machine-swarm.sh";
const PRUNE: &str = "/etc/docker/cloud-machine-swarm-prune.sh";
const UNIT: &str = "/etc/systemd/system/cloud-machine-swarm.service";
const PRUNE_UNIT: &str = "/etc/systemd/system/cloud-machine-swarm-prune.service";
const TIMER: &str = "/etc/systemd/system/cloud-machine-swarm-prune.timer";
const START: &str = "/etc/systemd/system/multi-user.target.d/cloud-machine-swarm.conf";
/// What belongs to another machine when the image was made from its disk. They go, whether or not this one is part of a swarm: their
/// token would make it one.
pub(crate) const OURS: [&str; 7] = [REQUEST, JOIN, PRUNE, UNIT, PRUNE_UNIT, TIMER, START];

/// The files for `swarm`; `sends` is whether the image has what they use. Without it nobody would do what is described.
pub(crate) fn files(swarm: &Swarm, has: docker::Has, uses: Uses) -> Result<Vec<RootFile>, AgentError> {
    if !has.docker || !has.unit || !uses.program {
        return Err(AgentError::SwarmDockerAbsent);
    }
    if !uses.sender {
        return Err(AgentError::SwarmSenderAbsent);
    }
    let (path, role) = match (swarm.joins(), swarm.role) {
        (true, SwarmRole::Worker) => ("join", "false"),
        (true, SwarmRole::Manager) => ("join", "true"),
        (false, _) => ("init", "true"),
    };
    let join = include_str!("swarm/join.sh");
    let unit = include_str!("swarm/join.service").replace("@path", path).replace("@manager", role);
    let mut files = vec![
        // Its token lets machines into the swarm.
        RootFile::text(REQUEST, 0o600, swarm.request()),
        RootFile::text(JOIN, 0o644, join),
        RootFile::text(UNIT, 0o644, unit),
    ];
    let mut wants = "cloud-machine-swarm.service".to_owned();
    if swarm.role == SwarmRole::Manager {
        wants += " cloud-machine-swarm-prune.timer";
        files.extend([
            RootFile::text(PRUNE, 0o644, include_str!("swarm/prune.sh")),
            RootFile::text(PRUNE_UNIT, 0o644, include_str!("swarm/prune.service")),
            RootFile::text(TIMER, 0o644, include_str!("swarm/prune.timer")),
        ]);
    }
    files.push(RootFile::text(START, 0o644, format!("[Unit]\nWants={wants}\n")));
    Ok(files)
}

/// Programs that the files use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Uses {
    /// One of [`PROGRAMS`].
    pub(crate) program: bool,
    /// One of [`SENDERS`].
    pub(crate) sender: bool,
}

#[cfg(test)]
mod tests;
