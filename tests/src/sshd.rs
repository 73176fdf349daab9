//! The real sshd(8) on loopback in the place of a machine, with whatever a job could write into its configuration. Its
//! processes live in a namespace of their own and end with it.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use cloud_machine_driver::ssh::{Host, Target, generate_key, write_known_hosts};

/// A running server; it ends when this is dropped.
#[derive(Debug)]
pub struct Sshd {
    child: Child,
    /// Whom to log in to.
    pub target: Target,
    /// Its private key on this host.
    pub key: PathBuf,
    /// The server's public key.
    pub host_key: String,
    _folder: tempfile::TempDir,
}

impl Sshd {
    /// Starts a server with more lines in its configuration, for logins with the key and the `known_hosts` in `machine`,
    /// which are made there.
    ///
    /// # Panics
    /// When that cannot be done, such as without the package openssh-server or without root.
    #[must_use]
    pub fn start(machine: &Path, lines: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("cloud-machine-sshd-").tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let host_key = generate_key(&at("host_key"), "host").expect("a host key");
        let key = machine.join("ssh/id_ed25519");
        fs::create_dir_all(machine.join("ssh")).expect("the folder of the key");
        let public = generate_key(&key, "test").expect("a key");
        fs::write(at("authorized_keys"), public).expect("the authorized keys");
        let port = free_port();
        let known_hosts = machine.join("known_hosts");
        write_known_hosts(&known_hosts, &Host::Forwarded.known_as(port), &host_key).expect("known_hosts");
        let configuration = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
             PidFile none\nPermitRootLogin prohibit-password\n{lines}\n",
            at("host_key").display(),
            at("authorized_keys").display(),
        );
        fs::write(at("sshd_config"), configuration).expect("the configuration");
        let log = fs::File::create(at("log")).expect("the log");
        // A folder in /run that sshd wants, which nobody else sees; the processes end with their first one.
        let script = "mount -t tmpfs none /run && mkdir -m 755 /run/sshd && exec /usr/sbin/sshd -D -e -f \"$0\"";
        // Also when the test is killed.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "unshare"]).args([
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "sh",
            "-c",
            script,
        ]);
        command.arg(at("sshd_config")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).process_group(0);
        let mut child = command.spawn().expect("unshare starts");
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            let ended = child.try_wait().expect("the server is watched");
            let said = || fs::read_to_string(at("log")).unwrap_or_default();
            assert!(ended.is_none(), "sshd ended (package openssh-server, as root): {}", said());
            std::thread::yield_now();
        }
        let connect_limit = std::time::Duration::from_secs(60);
        let target = Target {
            user: "root".to_owned(),
            host: Host::Forwarded,
            port,
            key: Some(key.clone()),
            known_hosts,
            connect_limit,
        };
        Self { child, target, key, host_key, _folder: folder }
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("its number").port()
}

impl Sshd {
    /// Number of its first process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The file with the server's private host key.
    #[must_use]
    pub fn host_key_file(&self) -> PathBuf {
        self._folder.path().join("host_key")
    }

    /// How many processes of `ssh` and `scp` on this host talk to it.
    ///
    /// # Panics
    /// When the processes cannot be looked at.
    #[must_use]
    pub fn clients(&self) -> usize {
        let [ssh, scp] = ["p", "P"].map(|option| format!("-{option}\0{}\0", self.target.port));
        let lines = fs::read_dir("/proc").expect("processes").flatten();
        let lines = lines.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
        let lines = lines.map(|line| String::from_utf8_lossy(&line).into_owned());
        let is_client = |line: &String| {
            let first = line.split('\0').next().unwrap_or_default();
            (first.ends_with("ssh") && line.contains(&ssh)) || (first.ends_with("scp") && line.contains(&scp))
        };
        lines.filter(is_client).count()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        // With the first process of the namespace all of them end.
        let ended = self.child.kill().and_then(|()| self.child.wait());
        if let Err(error) = ended
            && !std::thread::panicking()
        {
            panic!("sshd was not ended: {error}");
        }
    }
}
