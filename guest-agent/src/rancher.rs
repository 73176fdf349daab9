//! What k3s or rke2 of the new system reads, and which part of it systemd starts. Must not touch a file, nor judge a setting.

use cloud_machine_config::{Distribution, Rancher, Role};
use cloud_machine_plan::quoted_for_unit;
use cloud_machine_system::root::RootFile;

use crate::error::AgentError;

/// Where their own installers and packages put programs and units.
const PROGRAM_FOLDERS: [&str; 3] = ["/usr/local/bin", "/usr/bin", "/opt/rke2/bin"];
const UNIT_FOLDERS: [&str; 4] =
    ["/etc/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

/// Starts the unit at each boot. Its name says whose it is: only this program writes it.
pub(crate) const START: &str = "/etc/systemd/system/multi-user.target.d/cloud-machine-rancher.conf";

/// Files for a part of a cluster, and those that are in their way.
pub(crate) struct Files {
    /// Of another machine, when the image was made from its disk.
    pub(crate) remove: Vec<String>,
    pub(crate) write: Vec<RootFile>,
}

/// The files for `rancher`; `exists` looks into the new root. Settings that nobody in the image would read are an error: a machine
/// without them is not the machine that was described.
pub(crate) fn files(rancher: &Rancher, exists: impl Fn(&str) -> Result<bool, AgentError>) -> Result<Files, AgentError> {
    let Rancher { distribution, role, .. } = rancher;
    let (program, unit) = (distribution.name(), distribution.unit(*role));
    if !is_in(&PROGRAM_FOLDERS, program, &exists)? {
        return Err(AgentError::RancherAbsent { program });
    }
    if !is_in(&UNIT_FOLDERS, unit, &exists)? {
        return Err(AgentError::RancherUnitAbsent { program, unit });
    }
    let settings = format!("/etc/rancher/{program}/config.yaml");
    let folder = quoted_for_unit(rancher.data_dir());
    Ok(Files {
        remove: [*role, role.other()].map(|role| drop_in(*distribution, role)).into(),
        write: vec![
            RootFile::text(START, 0o644, format!("[Unit]\nWants={unit}\n")),
            // Without its disk the program would fill the root instead.
            RootFile::text(&drop_in(*distribution, *role), 0o644, format!("[Unit]\nRequiresMountsFor=\"{folder}\"\n")),
            // The other part would read the same file, whether or not the image starts it.
            RootFile::text(
                &drop_in(*distribution, role.other()),
                0o644,
                format!("[Unit]\nConditionPathExists=!{settings}\n"),
            ),
            // Its token lets machines into the cluster.
            RootFile::text(&settings, 0o600, rancher.config_yaml()),
        ],
    })
}

fn is_in(folders: &[&str], name: &str, exists: &impl Fn(&str) -> Result<bool, AgentError>) -> Result<bool, AgentError> {
    for folder in folders {
        if exists(&format!("{folder}/{name}"))? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn drop_in(distribution: Distribution, role: Role) -> String {
    format!("/etc/systemd/system/{}.d/cloud-machine.conf", distribution.unit(role))
}

#[cfg(test)]
mod tests {
    use cloud_machine_config::{LayerKind, merge, parse, validate};

    use super::*;

    fn rancher(settings: &str) -> Rancher {
        let document = parse(LayerKind::Project, "f", format!("rancher: {settings}").as_bytes()).unwrap();
        validate(&merge(&[document]).unwrap()).unwrap().rancher.unwrap()
    }

    fn handed(settings: &str, there: &[&str]) -> Result<Files, AgentError> {
        files(&rancher(settings), |path| Ok(there.contains(&path)))
    }

    #[test]
    fn the_token_is_for_root_alone_and_systemd_starts_the_part_that_was_asked_for() {
        let settings =
            "{k3s: {role: agent, server: 'https://s:6443', token: hunter2, node-label: [role=ci], debug: true}}";
        let there = ["/usr/local/bin/k3s", "/etc/systemd/system/k3s-agent.service"];
        let files = handed(settings, &there).unwrap();
        let found: Vec<(&str, u32, &str)> = files
            .write
            .iter()
            .map(|file| (file.path.as_str(), file.mode, std::str::from_utf8(&file.content).unwrap()))
            .collect();
        let expected = "debug: true\nnode-label:\n  - \"role=ci\"\nserver: \"https://s:6443\"\ntoken: \"hunter2\"\n";
        let own = "/etc/systemd/system/k3s-agent.service.d/cloud-machine.conf";
        let other = "/etc/systemd/system/k3s.service.d/cloud-machine.conf";
        assert_eq!(
            found,
            [
                (START, 0o644, "[Unit]\nWants=k3s-agent.service\n"),
                (own, 0o644, "[Unit]\nRequiresMountsFor=\"/var/lib/rancher/k3s\"\n"),
                (other, 0o644, "[Unit]\nConditionPathExists=!/etc/rancher/k3s/config.yaml\n"),
                ("/etc/rancher/k3s/config.yaml", 0o600, expected),
            ]
        );
        assert_eq!(files.remove, [own, other]);
    }

    #[test]
    fn an_image_without_the_program_or_without_the_unit_of_the_part_is_refused() {
        let settings = "{rke2: {role: server}}";
        assert!(matches!(handed(settings, &[]), Err(AgentError::RancherAbsent { program: "rke2" })));
        let agent_alone = ["/usr/bin/rke2", "/usr/lib/systemd/system/rke2-agent.service"];
        let unit = "rke2-server.service";
        let found = handed(settings, &agent_alone);
        assert!(
            matches!(found, Err(AgentError::RancherUnitAbsent { program: "rke2", unit: absent }) if absent == unit)
        );
        let server = ["/opt/rke2/bin/rke2", "/usr/local/lib/systemd/system/rke2-server.service"];
        assert!(handed(settings, &server).is_ok());
    }
}
