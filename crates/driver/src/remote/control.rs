//! A file of the operator's commands for machines of one kind: where it is looked for, and what it may say. Must not run one.

use std::{
    fs,
    io::{ErrorKind, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use cloud_machine_protocol::causes;
use cloud_machine_store::open_elsewhere;
use serde::{Deserialize, de::DeserializeOwned};

use super::fault::{failed, refused};
use crate::error::DriverError;

/// Folder of the host's own configuration.
const GLOBAL: &str = "/etc/cloud-machine";

/// The folders of configuration that no project can write: the user's as the XDG Base Directory Specification has it, then the
/// host's.
pub(super) fn folders() -> Vec<PathBuf> {
    let base = |variable: &str| std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let user = base("XDG_CONFIG_HOME").or_else(|| base("HOME").map(|home| home.join(".config")));
    user.map(|folder| folder.join("cloud-machine")).into_iter().chain([PathBuf::from(GLOBAL)]).collect()
}

/// Bytes that a file may have.
const MAX_FILE: u64 = 64 << 10;
/// Seconds that a command may take when the file does not say.
const LIMIT: u64 = 60;
/// Seconds that a rescue system may take to answer when the file does not say.
const RESCUE_LIMIT: u64 = 300;

/// Commands that have power over a machine.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Control {
    pub(super) power: Power,
    /// Without it the machine can be switched and never reimaged.
    pub(super) rescue: Option<Rescue>,
}

/// Commands of the power.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Power {
    pub(super) on: Words,
    pub(super) off: Words,
    pub(super) state: Words,
    /// Seconds that each may take.
    #[serde(default = "limit")]
    pub(super) limit: Seconds,
}

/// Commands of the rescue system.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Rescue {
    pub(super) on: Words,
    pub(super) off: Words,
    pub(super) state: Words,
    /// Seconds that each may take.
    #[serde(default = "limit")]
    pub(super) limit: Seconds,
    /// Seconds until it answers over SSH.
    #[serde(default = "rescue_limit")]
    pub(super) boot_limit: Seconds,
    /// Whether one start uses it up: `state` says off as soon as it runs.
    #[serde(default)]
    pub(super) one_boot: bool,
    /// Its host key: `SHA256:…` or a whole line.
    pub(super) host_key: Option<String>,
    /// The private key that it lets in, when that is not the machine's own.
    pub(super) identity: Option<PathBuf>,
}

/// A program by its absolute path or by a name of `PATH`, and its arguments.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub(super) struct Words(pub(super) Vec<String>);

impl TryFrom<Vec<String>> for Words {
    type Error = &'static str;

    fn try_from(words: Vec<String>) -> Result<Self, Self::Error> {
        match words.first() {
            None => Err("a command has at least the name of its program"),
            Some(program) if program.is_empty() || (program.contains('/') && !program.starts_with('/')) => {
                Err("the program of a command is a name, or an absolute path")
            }
            Some(_) if words.iter().any(|word| word.contains('\0')) => Err("a word of a command has a zero byte"),
            Some(_) => Ok(Self(words)),
        }
    }
}

/// From one second to an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u64")]
pub(super) struct Seconds(u64);

impl Seconds {
    pub(super) const fn duration(self) -> Duration {
        Duration::from_secs(self.0)
    }
}

impl TryFrom<u64> for Seconds {
    type Error = &'static str;

    fn try_from(seconds: u64) -> Result<Self, Self::Error> {
        if (1..=3600).contains(&seconds) { Ok(Self(seconds)) } else { Err("from 1 to 3600 seconds are allowed") }
    }
}

const fn limit() -> Seconds {
    Seconds(LIMIT)
}

const fn rescue_limit() -> Seconds {
    Seconds(RESCUE_LIMIT)
}

/// Reads the control called `name` from the first of `folders` that has it.
///
/// # Errors
/// Of [`DriverErrorKind::Refused`]: there is none, it is not what it should be, or others than its reader and root can write it.
pub(super) fn read(folders: &[PathBuf], name: &str) -> Result<Control, DriverError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
        return Err(refused(format!("{name:?} is no name of a control: A-Z, a-z, 0-9, - and _ are allowed")));
    }
    let paths: Vec<PathBuf> = folders.iter().map(|folder| folder.join(format!("{name}.yaml"))).collect();
    first(&paths, &format!("commands of control {name}"))
}

/// What the first of `paths` that is there says.
///
/// # Errors
/// Of [`DriverErrorKind::Refused`], as [`read`].
pub(super) fn first<T: DeserializeOwned>(paths: &[PathBuf], what: &str) -> Result<T, DriverError> {
    for path in paths {
        if let Some(text) = content(path)? {
            return serde_yaml::from_str(&text).map_err(|error| {
                let way_out = "see the driver's page for what the file says".to_owned();
                refused(format!("{}: {error}", path.display())).with_way_out(Some(way_out))
            });
        }
    }
    let places: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    let way_out = format!("write {}", places.first().map_or("", String::as_str));
    Err(refused(format!("there are no {what}: neither {}", places.join(" nor "))).with_way_out(Some(way_out)))
}

/// What is in the file at `path`; `None` when there is none. What runs as this user is chosen by it, so nobody else may write it.
fn content(path: &Path) -> Result<Option<String>, DriverError> {
    let io = |error: std::io::Error| failed(format!("cannot read {}: {error}", path.display()));
    match fs::symlink_metadata(path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        found => found.map_err(io)?,
    };
    // No pipe is waited for.
    let file =
        open_elsewhere(path).map_err(|error| refused(format!("cannot read {}: {}", path.display(), causes(&error))))?;
    let found = file.metadata().map_err(io)?;
    let owner = found.uid();
    if !found.is_file() || found.len() > MAX_FILE {
        return Err(refused(format!("{} is no file of at most {MAX_FILE} bytes", path.display())));
    }
    if found.mode() & 0o022 != 0 || (owner != 0 && owner != rustix::process::geteuid().as_raw()) {
        let way_out = format!("`chown {} {1}; chmod go-w {1}`", rustix::process::geteuid().as_raw(), path.display());
        let text = format!("others can write {}, which decides what is run here", path.display());
        return Err(refused(text).with_way_out(Some(way_out)));
    }
    let mut text = String::new();
    file.take(MAX_FILE).read_to_string(&mut text).map_err(io)?;
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const WHOLE: &str = "
power: {on: [pw, up], off: [/bin/pw, down], state: [pw]}
rescue: {on: [r, '{name}'], off: [r], state: [r], limit: 5, host-key: 'SHA256:x', identity: /root/.ssh/rescue}
";

    fn of(text: &str) -> Result<Control, String> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("default.yaml"), text).unwrap();
        read(&[folder.path().join("none"), folder.path().to_owned()], "default").map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_has_commands_with_limits() {
        let control = of(WHOLE).unwrap();
        assert_eq!(control.power.off.0, ["/bin/pw", "down"]);
        let rescue = control.rescue.unwrap();
        assert_eq!((control.power.limit.duration().as_secs(), rescue.limit.duration().as_secs()), (60, 5));
        assert_eq!(rescue.boot_limit.duration().as_secs(), 300);
    }

    #[test]
    fn whatever_is_no_command_is_refused() {
        for (text, why) in [
            ("power: {on: [], off: [a], state: [a]}", "at least the name of its program"),
            ("power: {on: [./a], off: [a], state: [a]}", "an absolute path"),
            ("power: {on: ['a', \"b\\0\"], off: [a], state: [a]}", "zero byte"),
            ("power: {on: [a], off: [a]}", "missing field `state`"),
            ("power: {on: a, off: [a], state: [a]}", "invalid type"),
            ("power: {on: [a], off: [a], state: [a], limit: 0}", "from 1 to 3600"),
            ("power: {on: [a], off: [a], state: [a]}\nreset: [a]", "unknown field"),
            ("", "missing field `power`"),
        ] {
            let error = of(text).unwrap_err();
            assert!(error.contains(why) && error.contains("default.yaml"), "{text}: {error}");
        }
    }

    #[test]
    fn absent_is_told_with_the_places_and_a_name_is_no_path() {
        let folder = tempfile::tempdir().unwrap();
        let error = read(&[folder.path().to_owned()], "rack").unwrap_err();
        assert!(
            error.to_string().contains("there are no commands of control rack")
                && error.way_out.unwrap().contains("rack.yaml")
        );
        for name in ["", "../x", "a/b", "a b"] {
            assert!(read(&[folder.path().to_owned()], name).unwrap_err().to_string().contains("is no name"), "{name}");
        }
        std::os::unix::fs::symlink("/nonexistent", folder.path().join("gone.yaml")).unwrap();
        assert!(read(&[folder.path().to_owned()], "gone").unwrap_err().to_string().starts_with("cannot read"));
    }

    #[test]
    fn a_file_that_others_can_write_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("default.yaml");
        fs::write(&path, WHOLE).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        let error = read(&[folder.path().to_owned()], "default").unwrap_err();
        assert!(error.to_string().contains("others can write") && error.way_out.unwrap().contains("chmod go-w"));
    }
}
