//! A file of the operator's commands for machines of one kind: where it is looked for, and what it may say. Must not run one.

use std::{
    collections::BTreeSet,
    fs::{self, DirEntry},
    io::{ErrorKind, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use cloud_machine_protocol::causes;
use cloud_machine_store::open_elsewhere;
use serde::{Deserialize, de::DeserializeOwned};

use super::fault::{failed, refused};
use crate::{error::DriverError, ssh};

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
    let control: Control = first(&paths, &format!("commands of control {name}"))?;
    control.check().map_err(|why| refused(format!("control {name}: {why}")))?;
    Ok(control)
}

/// What stands in a word for something of the machine.
const TOKENS: [&str; 4] = ["{name}", "{uuid}", "{address}", PUBLIC_KEY];
/// The one that only a rescue system is told.
const PUBLIC_KEY: &str = "{public-key}";

impl Control {
    /// Refuses what would only show when a machine is off already, with the reason.
    fn check(&self) -> Result<(), String> {
        let Power { on, off, state, .. } = &self.power;
        let rescue = self.rescue.as_ref();
        let keyless = [on, off, state].into_iter().chain(rescue.into_iter().flat_map(|own| [&own.off, &own.state]));
        for words in keyless {
            if words.0.iter().any(|word| word.contains(PUBLIC_KEY)) {
                return Err(format!("only `rescue.on` is given {PUBLIC_KEY}: {}", words.0.join(" ")));
            }
            words.check()?;
        }
        let Some(rescue) = rescue else { return Ok(()) };
        rescue.on.check()?;
        if let Some(key) = rescue.host_key.as_ref().filter(|key| !ssh::is_known_form(key)) {
            return Err(format!("`rescue.host-key` is neither SHA256:… nor a line ssh-ed25519 …: {key}"));
        }
        let Some(identity) = &rescue.identity else { return Ok(()) };
        match fs::metadata(identity) {
            Ok(found) if identity.is_absolute() && found.is_file() => Ok(()),
            Ok(_) => Err(format!("`rescue.identity` is no absolute path of a file: {}", identity.display())),
            Err(error) => Err(format!("cannot read `rescue.identity` {}: {error}", identity.display())),
        }
    }
}

impl Words {
    /// Refuses what looks like a placeholder and is none.
    fn check(&self) -> Result<(), String> {
        let unknown = self.0.iter().flat_map(|word| placeholders(word)).find(|found| !TOKENS.contains(found));
        unknown.map_or(Ok(()), |found| {
            let (inner, known) = (found.trim_matches(['{', '}']), TOKENS.join(", "));
            Err(format!("{found} is none of {known}; what is meant as it is has a space: {{ {inner} }}"))
        })
    }
}

/// Names in braces, but for those of shells (`${x}`), of curl (`%{x}`) and of Go's templates (`{{x}}`).
fn placeholders(word: &str) -> impl Iterator<Item = &str> {
    word.match_indices('{').filter_map(|(start, _)| {
        let others = word[..start].ends_with(['$', '%', '{']);
        let end = start + word[start..].find('}')?;
        let inner = &word[start + 1..end];
        let is_name = inner.starts_with(|first: char| first.is_ascii_alphabetic())
            && inner.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        (is_name && !others).then_some(&word[start..=end])
    })
}

/// Reads every control that is in one of `folders`.
///
/// # Errors
/// As [`read`] of the first that cannot be used; of [`DriverErrorKind::Refused`] when there is none.
pub(super) fn all(folders: &[PathBuf]) -> Result<(), DriverError> {
    let mut names = BTreeSet::new();
    for folder in folders {
        let listed = match fs::read_dir(folder) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => continue,
            listed => listed.and_then(|listed| listed.collect::<Result<Vec<_>, _>>()),
        };
        let listed = listed.map_err(|error| failed(format!("cannot read {}: {error}", folder.display())))?;
        let files = listed.iter().map(DirEntry::path).filter(|path| path.extension().is_some_and(|end| end == "yaml"));
        names.extend(files.filter_map(|path| path.file_stem().map(|name| name.to_string_lossy().into_owned())));
    }
    if names.is_empty() {
        return read(folders, "default").map(drop);
    }
    names.iter().try_for_each(|name| read(folders, name).map(drop))
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
rescue: {on: [r, '{name}', '{public-key}'], off: [r], state: [r], limit: 5, host-key: KEY, identity: /etc/passwd}
";
    /// What `ssh-keygen -l` says of a key.
    const KEY: &str = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn of(text: &str) -> Result<Control, String> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("default.yaml"), text.replace("KEY", KEY)).unwrap();
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
    fn what_would_only_show_when_a_machine_is_off_is_refused_when_the_file_is_read() {
        for (from, to, why) in [
            ("'{name}'", "'{nmae}'", "{nmae} is none of {name}, {uuid}, {address}, {public-key}"),
            ("'{name}'", "'a{public_key}b'", "{public_key} is none of"),
            ("[pw, up]", "[pw, '{host}']", "{host} is none of"),
            ("[pw, up]", "[pw, '{public-key}']", "only `rescue.on` is given {public-key}: pw {public-key}"),
            ("KEY", "'SHA256:x'", "`rescue.host-key` is neither"),
            ("KEY", "'ssh-rsa AAAA'", "`rescue.host-key` is neither"),
            ("/etc/passwd", "/nonexistent/id", "cannot read `rescue.identity` /nonexistent/id: No such file"),
            ("/etc/passwd", "/etc", "`rescue.identity` is no absolute path of a file"),
        ] {
            let error = of(&WHOLE.replacen(from, to, 1)).unwrap_err();
            assert!(error.starts_with("control default: ") && error.contains(why), "{to}: {error}");
        }
        for fine in ["{{.Status}}", "{\"a\": {}}", "${key}", "%{http_code}", "{ print }", "}{", "{", "{name}.{uuid}"] {
            of(&WHOLE.replacen("'{name}'", &format!("'{fine}'"), 1)).unwrap();
        }
    }

    #[test]
    fn all_controls_are_read_and_the_first_that_is_none_is_told() {
        let (user, host) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let folders = [user.path().to_owned(), host.path().to_owned()];
        let whole = WHOLE.replace("KEY", KEY);
        assert!(all(&folders).unwrap_err().to_string().contains("there are no commands of control default"));
        fs::write(host.path().join("rack.yaml"), "power: {}").unwrap();
        fs::write(user.path().join("default.yaml"), &whole).unwrap();
        assert!(all(&folders).unwrap_err().to_string().contains("rack.yaml"));
        // The user's counts first.
        fs::write(user.path().join("rack.yaml"), &whole).unwrap();
        all(&folders).unwrap();
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
        fs::write(&path, WHOLE.replace("KEY", KEY)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        let error = read(&[folder.path().to_owned()], "default").unwrap_err();
        assert!(error.to_string().contains("others can write") && error.way_out.unwrap().contains("chmod go-w"));
    }
}
