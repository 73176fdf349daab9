//! What docker of the new system reads: its own file, and its environment as settings of its unit. Must not touch a file,
//! nor judge a setting.

use cloud_machine_config::DockerEngine;
use cloud_machine_plan::quoted_for_unit;
use cloud_machine_system::root::RootFile;

use crate::error::AgentError;

/// Where Debian's and docker.com's packages have the daemon, and where its unit may be.
pub(crate) const PROGRAMS: [&str; 2] = ["/usr/sbin/dockerd", "/usr/bin/dockerd"];
pub(crate) const UNITS: [&str; 3] = [
    "/usr/lib/systemd/system/docker.service",
    "/lib/systemd/system/docker.service",
    "/etc/systemd/system/docker.service",
];

/// Where docker keeps its data unless it is told.
pub(crate) const DATA_ROOT: &str = "/var/lib/docker";
const SETTINGS: &str = "/etc/docker/daemon.json";
/// Their names say whose they are: only this program writes them.
const VARIABLES: &str = "/etc/docker/cloud-machine.env";
const DROP_IN: &str = "/etc/systemd/system/docker.service.d/cloud-machine.conf";
/// What belongs to another machine when the image was made from its disk.
pub(crate) const OURS: [&str; 2] = [VARIABLES, DROP_IN];

/// What the new root has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Has {
    /// Docker's daemon.
    pub(crate) docker: bool,
    /// A unit that starts it.
    pub(crate) unit: bool,
}

/// The files for docker. Settings that nobody in the image would read are an error: a machine without them is not the machine that
/// was described.
pub(crate) fn files(engine: &DockerEngine, has: Has) -> Result<Vec<RootFile>, AgentError> {
    if engine.is_empty() {
        return Ok(Vec::new());
    }
    if !has.docker {
        return Err(AgentError::DockerAbsent);
    }
    let mut files = Vec::new();
    if let Some(settings) = engine.daemon_json() {
        files.push(RootFile::text(SETTINGS, 0o644, settings));
    }
    let mut drop_in = String::new();
    if let Some(folder) = engine.data_root() {
        // Without its disk docker would fill the root instead.
        drop_in = format!("[Unit]\nRequiresMountsFor=\"{}\"\n", quoted_for_unit(folder));
    }
    if !engine.environment().is_empty() {
        if !has.unit {
            return Err(AgentError::DockerUnitAbsent);
        }
        // A proxy's address may hold a password, and systemd shows every user what a unit itself says.
        files.push(RootFile::text(VARIABLES, 0o600, environment(engine)));
        drop_in += &format!("[Service]\nEnvironmentFile={VARIABLES}\n");
    }
    if has.unit && !drop_in.is_empty() {
        files.push(RootFile::text(DROP_IN, 0o644, drop_in));
    }
    Ok(files)
}

fn environment(engine: &DockerEngine) -> String {
    engine.environment().iter().map(|(name, value)| format!("{name}=\"{}\"\n", escaped(value))).collect()
}

/// For double quotes in an `EnvironmentFile=` (systemd.exec(5)): there a backslash takes their meaning from these.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for letter in value.chars() {
        if matches!(letter, '\\' | '"' | '`' | '$') {
            text.push('\\');
        }
        text.push(letter);
    }
    text
}

#[cfg(test)]
mod tests {
    use cloud_machine_config::{LayerKind, merge, parse, validate};

    use super::*;

    const BOTH: Has = Has { docker: true, unit: true };

    fn handed(engine: &str, has: Has) -> Result<Vec<(String, u32, String)>, AgentError> {
        let text = format!("docker: {{engine: {engine}}}");
        let document = parse(LayerKind::Project, "f", text.as_bytes()).unwrap();
        let config = validate(&merge(&[document]).unwrap()).unwrap();
        let files = files(&config.docker, has)?;
        Ok(files.into_iter().map(|file| (file.path, file.mode, String::from_utf8(file.content).unwrap())).collect())
    }

    #[test]
    fn dockers_own_file_has_every_key_but_the_environment_in_a_fixed_order() {
        let engine = "{labels: [role=ci], env: {A: b}, log-opts: {max-size: 10m, max-file: '3'}, mtu: 1400, debug: false, x: 1.5}";
        let expected = r#"{
  "debug": false,
  "labels": [
    "role=ci"
  ],
  "log-opts": {
    "max-file": "3",
    "max-size": "10m"
  },
  "mtu": 1400,
  "x": 1.5
}
"#;
        let files = handed(engine, BOTH).unwrap();
        assert_eq!(files[0], ("/etc/docker/daemon.json".to_owned(), 0o644, expected.to_owned()));
        assert_eq!(files.len(), 3);
    }

    #[test]
    fn variables_are_for_root_alone_and_arrive_as_they_were_written() {
        let engine = r#"{env: {HTTP_PROXY: 'http://ada:p%40w$d"q\x@proxy:3128', B: "it's `${X}` ä #1"}}"#;
        let expected =
            concat!(r#"B="it's \`\${X}\` ä #1""#, "\n", r#"HTTP_PROXY="http://ada:p%40w\$d\"q\\x@proxy:3128""#, "\n",);
        let unit = "[Service]\nEnvironmentFile=/etc/docker/cloud-machine.env\n";
        let [variables, drop_in] = &handed(engine, BOTH).unwrap()[..] else { panic!("two files") };
        assert_eq!(*variables, (VARIABLES.to_owned(), 0o600, expected.to_owned()), "only root reads them");
        assert_eq!(*drop_in, (DROP_IN.to_owned(), 0o644, unit.to_owned()), "systemd shows a unit to everybody");
    }

    #[test]
    fn docker_starts_only_where_its_own_folder_is_mounted() {
        let files = handed("{data-root: '/srv/a b%c'}", BOTH).unwrap();
        let unit = "[Unit]\nRequiresMountsFor=\"/srv/a b%%c\"\n";
        assert_eq!(files[1], (DROP_IN.to_owned(), 0o644, unit.to_owned()));
        assert_eq!(handed("{data-root: /srv/docker}", Has { unit: false, ..BOTH }).unwrap().len(), 1);
    }

    #[test]
    fn settings_that_nobody_in_the_image_reads_are_refused_and_none_need_nobody() {
        let without = Has { docker: false, unit: false };
        assert!(matches!(handed("{debug: true}", without), Err(AgentError::DockerAbsent)));
        let by_hand = Has { unit: false, ..BOTH };
        assert!(matches!(handed("{env: {A: b}}", by_hand), Err(AgentError::DockerUnitAbsent)));
        assert_eq!(handed("{debug: true}", by_hand).unwrap().len(), 1);
        assert_eq!(handed("{debug: , env: {}}", without).unwrap().len(), 0);
    }
}
