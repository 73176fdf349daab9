//! The system's `ssh` and `scp`, told everything and allowed to ask nobody. Must not read the user's own SSH configuration,
//! so that a login means the same on every host.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use cloud_machine_store::open;

use super::{
    SshError,
    host::{Host, LOOPBACK},
};

/// What a command line names. Of a machine that is elsewhere an option says where.
const HOST: &str = LOOPBACK;

/// Whom to log in to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// User on the machine.
    pub user: String,
    /// Where it is.
    pub host: Host,
    /// Port there.
    pub port: u16,
    /// The private key; `None` for those that a person logs in with: of their agent, or in the files that `ssh` looks for.
    pub key: Option<PathBuf>,
    /// The pinned host key of the machine.
    pub known_hosts: PathBuf,
    /// How long connecting may take; whole seconds, at least one.
    pub connect_limit: Duration,
}

/// What `ssh` and `scp` are told alike.
fn options(target: &Target) -> Result<Vec<OsString>, SshError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if target.user.is_empty() || target.user.starts_with('-') || !target.user.bytes().all(plain) {
        return Err(SshError::InvalidArgument { what: "user", found: target.user.clone() });
    }
    for path in target.key.iter().chain([&target.known_hosts]) {
        // ssh would wait for a named pipe in their place.
        if open(path).map_err(SshError::Store)?.is_none() {
            return Err(SshError::Missing { path: path.clone() });
        }
    }
    let always = [
        "BatchMode=yes",
        "StrictHostKeyChecking=yes",
        "GlobalKnownHostsFile=/dev/null",
        "PreferredAuthentications=publickey",
        "HostKeyAlgorithms=ssh-ed25519",
        // Otherwise the machine could add keys to the pinned one.
        "UpdateHostKeys=no",
        "ControlMaster=no",
        "ControlPath=none",
        "LogLevel=ERROR",
        // A machine that is there and says nothing for two minutes, such as a paused one, is lost.
        "ServerAliveInterval=15",
        "ServerAliveCountMax=8",
    ]
    .map(str::to_owned);
    let mut own = vec![
        format!("User={}", target.user),
        format!("ConnectTimeout={}", target.connect_limit.as_secs().max(1)),
        format!("UserKnownHostsFile={}", quoted(&target.known_hosts)?),
    ];
    if let Some(key) = &target.key {
        own.extend(["IdentitiesOnly=yes".to_owned(), "IdentityAgent=none".to_owned()]);
        own.push(format!("IdentityFile={}", quoted(key)?));
    }
    // `-F none`: neither /etc/ssh/ssh_config nor ~/.ssh/config.
    let mut options: Vec<OsString> = vec!["-F".into(), "none".into()];
    options.extend(
        always.into_iter().chain(own).chain(target.host.options()).flat_map(|option| ["-o".into(), option.into()]),
    );
    Ok(options)
}

/// `ssh` with all its options.
fn base(target: &Target) -> Result<Command, SshError> {
    let mut ssh = Command::new("ssh");
    // `-a -x`: no agent and no X11 to a job's machine.
    ssh.args(["-a", "-x", "-p", &target.port.to_string()]).args(options(target)?);
    Ok(ssh)
}

/// `scp` with all its options; files follow, those on the machine as [`on_machine`] names them. It speaks SFTP, so no
/// shell of the machine reads a path.
///
/// # Errors
/// Those of [`command`].
pub fn copy(target: &Target) -> Result<Command, SshError> {
    let mut scp = Command::new("scp");
    scp.args(["-s", "-P", &target.port.to_string()]).args(options(target)?);
    Ok(scp)
}

/// A path on the machine, as [`copy`] takes it.
#[must_use]
pub fn on_machine(path: &str) -> String {
    format!("{HOST}:{path}")
}

/// `ssh` to a machine; arguments that are added are the program to run there, and nothing of them is an option of ssh.
///
/// # Errors
/// [`SshError::Missing`] when the key or `known_hosts` is not there, [`SshError::InvalidArgument`].
pub fn command(target: &Target) -> Result<Command, SshError> {
    let mut ssh = base(target)?;
    ssh.args(["--", HOST]);
    Ok(ssh)
}

/// As [`command`], for what is not compressed yet. A server that does not do it is talked to without.
pub(super) fn compressed(target: &Target) -> Result<Command, SshError> {
    let mut ssh = base(target)?;
    ssh.args(["-C", "--", HOST]);
    Ok(ssh)
}

/// `ssh` to a machine, where options of ssh or a program may follow: it takes options behind the host as well.
///
/// # Errors
/// Those of [`command`].
pub fn interactive(target: &Target) -> Result<Command, SshError> {
    let mut ssh = base(target)?;
    ssh.arg(HOST);
    Ok(ssh)
}

/// A word of a command line that a POSIX shell reads as it is, whatever is in it.
#[must_use]
pub fn quoted_word(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// A path as ssh_config(5) reads it: in quotes, `%` doubled. What has a meaning inside quotes is refused.
fn quoted(path: &Path) -> Result<String, SshError> {
    let refuse = || SshError::InvalidArgument { what: "path", found: path.to_string_lossy().into_owned() };
    let text = path.to_str().filter(|_| path.is_absolute()).ok_or_else(refuse)?;
    if text.contains(['"', '\\', '$']) || text.chars().any(char::is_control) {
        return Err(refuse());
    }
    Ok(format!("\"{}\"", text.replace('%', "%%")))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn target(folder: &Path) -> Target {
        let (key, known_hosts) = (folder.join("id_ed25519"), folder.join("known_hosts"));
        fs::create_dir_all(folder).unwrap();
        fs::write(&key, "").unwrap();
        fs::write(&known_hosts, "").unwrap();
        Target {
            user: "root".to_owned(),
            host: Host::Forwarded,
            port: 2222,
            key: Some(key),
            known_hosts,
            connect_limit: Duration::from_secs(7),
        }
    }

    #[test]
    fn ssh_understands_the_options_as_they_are_meant() {
        let folder = tempfile::tempdir().unwrap();
        let odd = folder.path().join("100% a b, c");
        let target = target(&odd);
        // `ssh -G` prints the configuration and connects to nobody.
        let command = command(&target).unwrap();
        let output = Command::new("ssh").arg("-G").args(command.get_args()).output();
        let output = output.expect("install the package openssh-client");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let stderr = String::from_utf8(output.stdout).unwrap();
        for line in [
            "hostname 127.0.0.1",
            "user root",
            "port 2222",
            "batchmode yes",
            "stricthostkeychecking true",
            "identitiesonly yes",
            "updatehostkeys false",
            "forwardagent no",
            "forwardx11 no",
            "connecttimeout 7",
            "serveraliveinterval 15",
            "identityagent none",
            "globalknownhostsfile /dev/null",
            "hostkeyalgorithms ssh-ed25519",
        ] {
            assert!(stderr.lines().any(|found| found == line), "{line} in {stderr}");
        }
        // Newer versions print the path after expansion, older ones before.
        for (option, path) in
            [("userknownhostsfile", &target.known_hosts), ("identityfile", target.key.as_ref().unwrap())]
        {
            let path = path.to_str().unwrap();
            let plain = format!("{option} {path}");
            let doubled = format!("{option} {}", path.replace('%', "%%"));
            assert!(stderr.lines().any(|line| line == plain || line == doubled), "{plain} in {stderr}");
        }
    }

    #[test]
    fn a_machine_on_a_link_is_known_by_its_pin_alone() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::OnLink { address: "fe80::1".parse().unwrap(), interface: "br0".parse().unwrap() };
        let target = Target { host, port: 22, ..target(folder.path()) };
        let command = command(&target).unwrap();
        let output = Command::new("ssh").arg("-G").args(command.get_args()).output().unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        for line in ["hostname fe80::1%br0", "hostkeyalias cloud-machine", "port 22"] {
            assert!(told.lines().any(|found| found == line), "{line} in {told}");
        }
    }

    #[test]
    fn options_of_a_person_are_options_and_words_of_a_program_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let target = target(folder.path());
        let forwards = |command: Command| {
            let output =
                Command::new("ssh").arg("-G").args(command.get_args()).args(["-L", "8080:localhost:80"]).output();
            String::from_utf8(output.unwrap().stdout).unwrap().contains("localforward 8080")
        };
        assert!(forwards(interactive(&target).unwrap()));
        assert!(!forwards(command(&target).unwrap()));
    }

    #[test]
    fn scp_is_told_what_ssh_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let target = target(folder.path());
        let words = |command: &Command| -> Vec<String> {
            command.get_args().map(|word| word.to_string_lossy().into_owned()).collect()
        };
        let (ssh, scp) = (command(&target).unwrap(), copy(&target).unwrap());
        let told: Vec<String> = words(&ssh).into_iter().filter(|word| word.contains('=')).collect();
        assert!(told.len() > 10 && told.iter().all(|option| words(&scp).contains(option)), "{told:?}");
        assert_eq!(words(&scp)[..5], ["-s", "-P", "2222", "-F", "none"]);
        assert_eq!(on_machine("/a b"), "127.0.0.1:/a b");
    }

    #[test]
    fn a_missing_pin_is_no_login() {
        let folder = tempfile::tempdir().unwrap();
        let target = target(folder.path());
        fs::remove_file(&target.known_hosts).unwrap();
        let error = command(&target).unwrap_err().to_string();
        assert_eq!(error, format!("there is no {}", target.known_hosts.display()));
    }

    #[test]
    fn users_and_paths_with_a_meaning_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        for user in ["", "-oProxyCommand=x", "a b", "a@b", "a\n"] {
            let target = Target { user: user.to_owned(), ..target(folder.path()) };
            assert_eq!(command(&target).unwrap_err().to_string(), format!("user {user:?} cannot be given to ssh"));
        }
        for name in ["a\"b", "a\\b", "${HOME}", "a\nb"] {
            let target = target(&folder.path().join(name));
            assert!(matches!(command(&target), Err(SshError::InvalidArgument { what: "path", .. })), "{name:?}");
        }
    }
}
