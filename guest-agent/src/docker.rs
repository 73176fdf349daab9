//! What docker of the new system reads: its own file, and its environment as settings of its unit. Must not touch a file,
//! nor judge a setting.

use cloud_machine_config::DockerEngine;
use cloud_machine_system::root::RootFile;

use crate::error::AgentError;

/// Where Debian's and docker.com's packages have the daemon, and where its unit may be.
pub(crate) const PROGRAMS: [&str; 2] = ["/usr/sbin/dockerd", "/usr/bin/dockerd"];
pub(crate) const UNITS: [&str; 3] = [
    "/usr/lib/systemd/system/docker.service",
    "/lib/systemd/system/docker.service",
    "/etc/systemd/system/docker.service",
];

const SETTINGS: &str = "/etc/docker/daemon.json";
/// Its name says whose it is: only this program writes it.
pub(crate) const ENVIRONMENT: &str = "/etc/systemd/system/docker.service.d/cloud-machine.conf";

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
        files.push(text(SETTINGS, 0o644, settings));
    }
    if !engine.environment().is_empty() {
        if !has.unit {
            return Err(AgentError::DockerUnitAbsent);
        }
        // A proxy's address may hold a password.
        files.push(text(ENVIRONMENT, 0o600, environment(engine)));
    }
    Ok(files)
}

fn environment(engine: &DockerEngine) -> String {
    let lines = engine.environment().iter().map(|(name, value)| format!("Environment=\"{name}={}\"\n", quoted(value)));
    format!("[Service]\n{}", lines.collect::<String>())
}

/// In double quotes (systemd.syntax(7)), where `%` begins a specifier; systemd.exec(5): a `$` has no meaning in `Environment=`.
fn quoted(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%")
}

fn text(path: &str, mode: u32, content: String) -> RootFile {
    RootFile { path: path.to_owned(), content: content.into_bytes(), mode }
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
        assert_eq!(files.len(), 2);
    }

    #[test]
    fn variables_arrive_with_quotes_percent_signs_and_dollars_as_they_were_written() {
        let engine = r#"{env: {HTTP_PROXY: 'http://ada:p%40w$d"q\x@proxy:3128', B: "it's ${X} ä"}}"#;
        let expected = concat!(
            "[Service]\n",
            "Environment=\"B=it's ${X} ä\"\n",
            r#"Environment="HTTP_PROXY=http://ada:p%%40w$d\"q\\x@proxy:3128""#,
            "\n",
        );
        assert_eq!(handed(engine, BOTH).unwrap(), [(ENVIRONMENT.to_owned(), 0o600, expected.to_owned())]);
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
