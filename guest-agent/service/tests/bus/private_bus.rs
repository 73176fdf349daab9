//! A bus of the test's own with the real program on it, and calls to it.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::{fs::PermissionsExt, net::UnixDatagram, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use zbus::Connection;

pub(crate) const NAME: &str = "org.cloud_machine.Agent1";
pub(crate) const OBJECT: &str = "/org/cloud_machine/Agent1";
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_cloud-machine-agentd");
/// Far more than anything here takes.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
/// The user nobody.
pub(crate) const STRANGER: u32 = 65534;
/// What `/usr/share/dbus-1/system.conf` has for all, in its order.
const DEFAULT_POLICY: &str = r#"
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus"/>
  </policy>"#;

/// A file of the checkout.
pub(crate) fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// Ends a process that the test started.
pub(crate) fn end(child: &mut Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Who may use the service, as far as the bus decides it.
pub(crate) enum Policy {
    /// The file that is shipped.
    Shipped,
    /// Everybody, as an administrator could write it.
    Open,
}

/// A bus, which ends with it, and a folder in which the report lies.
pub(crate) struct Bus {
    pub(crate) daemon: Child,
    pub(crate) folder: tempfile::TempDir,
}

impl Bus {
    pub(crate) fn start(policy: &Policy) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        // A machine without disks.
        for name in ["cloud-machine", "block", "dev"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let ours = match policy {
            Policy::Shipped => {
                format!("<include>{}</include>", shipped("systemd/org.cloud_machine.Agent1.conf").display())
            }
            Policy::Open => {
                r#"<policy context="default"><allow own="*"/><allow send_destination="*"/></policy>"#.into()
            }
        };
        let listen = format!("<listen>unix:path={}</listen>", folder.path().join("bus").display());
        let text =
            format!("<busconfig><type>system</type>{listen}<auth>EXTERNAL</auth>{DEFAULT_POLICY}{ours}</busconfig>");
        let config = folder.path().join("bus.conf");
        fs::write(&config, text).unwrap();
        let mut daemon = Command::new("dbus-daemon");
        daemon.arg("--config-file").arg(&config).args(["--nofork", "--nopidfile", "--nosyslog", "--print-address"]);
        let mut daemon = daemon.stdout(Stdio::piped()).spawn().expect("dbus-daemon, of Debian's package of that name");
        let mut address = String::new();
        BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut address).unwrap();
        assert!(address.starts_with("unix:path="), "dbus-daemon did not start: {address:?}");
        Self { daemon, folder }
    }

    pub(crate) fn address(&self) -> String {
        format!("unix:path={}", self.folder.path().join("bus").display())
    }

    pub(crate) fn report(&self) -> PathBuf {
        self.folder.path().join("cloud-machine/report.json")
    }

    /// The program, not started yet.
    pub(crate) fn program(&self) -> Command {
        let mut program = Command::new(PROGRAM);
        program.arg("--devices").arg(self.folder.path()).arg("--report").arg(self.report());
        program.env("DBUS_SYSTEM_BUS_ADDRESS", self.address());
        program.env_remove("NOTIFY_SOCKET");
        program
    }

    /// The program, when it has said that it is ready.
    pub(crate) fn serve(&self) -> Service {
        let path = self.folder.path().join("notify");
        // One of before.
        fs::remove_file(&path).unwrap_or_default();
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        let service = Service(self.program().env("NOTIFY_SOCKET", &path).spawn().unwrap());
        let mut words = [0; 64];
        let length = socket.recv(&mut words).expect("the service is ready");
        assert_eq!(&words[..length], b"READY=1");
        service
    }

    /// A connection of root, which this test is.
    pub(crate) fn connect(&self) -> Connection {
        let builder = zbus::connection::Builder::address(self.address().as_str()).method_timeout(LIMIT);
        zbus::block_on(builder.build()).unwrap()
    }

    pub(crate) fn busctl(&self, arguments: &[&str]) -> Output {
        Command::new("busctl").arg(format!("--address={}", self.address())).args(arguments).output().unwrap()
    }

    /// A call with the arguments of dbus-send(1), by `user`.
    pub(crate) fn send_as(&self, user: u32, arguments: &[&str]) -> Output {
        let mut send = Command::new("dbus-send");
        send.args([&format!("--bus={}", self.address()), "--print-reply", &format!("--dest={NAME}"), OBJECT]);
        send.args(arguments).uid(user).gid(user);
        send.output().expect("dbus-send, of Debian's package dbus-bin, as another user, which needs root")
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.daemon.kill().unwrap_or_default();
        self.daemon.wait().map(drop).unwrap_or_default();
    }
}

/// The program, which ends with it.
pub(crate) struct Service(pub(crate) Child);

impl Service {
    /// Its exit code, when it ends by itself.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            assert!(start.elapsed() < LIMIT, "the service does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.0.kill().unwrap_or_default();
        self.0.wait().map(drop).unwrap_or_default();
    }
}
