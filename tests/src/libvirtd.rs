//! A libvirt daemon of a test's own: its folders and its sockets lie in a folder of the test and it sees no others, so that
//! nothing of the host's libvirt is touched and tests run beside each other. Ended with the test, whatever becomes of it.

use std::{
    fs,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// How long a daemon may take until it answers.
const LIMIT: Duration = Duration::from_secs(120);

/// What it runs as: root, as the one who runs the tests, without what a small host does not have.
const QEMU: &str = "user = \"root\"\ngroup = \"root\"\nsecurity_driver = \"none\"\nnamespaces = []\ncgroup_controllers = []\n\
    stdio_handler = \"file\"\nremember_owner = 0\n";

/// The daemon's own view of the host. Its user has to exist, even if nothing is ever started as that one.
const VIEW: &str = "
    folder=$1
    cp /etc/passwd /etc/group \"$folder\"
    grep -q ^libvirt-qemu: /etc/passwd || echo 'libvirt-qemu:x:64055:64055::/nonexistent:/usr/sbin/nologin' >> \"$folder/passwd\"
    grep -q ^libvirt-qemu: /etc/group || echo 'libvirt-qemu:x:64055:' >> \"$folder/group\"
    mount --bind \"$folder/passwd\" /etc/passwd
    mount --bind \"$folder/group\" /etc/group
    mkdir -p /etc/libvirt
    for path in /etc/libvirt /run /var/lib /var/cache /var/log; do mount --bind \"$folder$path\" $path; done
    exec libvirtd --config \"$folder/libvirtd.conf\" --pid-file \"$folder/pid\"";

/// The daemon.
#[derive(Debug)]
pub struct Libvirtd {
    daemon: Child,
    folder: tempfile::TempDir,
    /// The view of each daemon that was started: what it started has it, too.
    views: Vec<PathBuf>,
}

impl Libvirtd {
    /// Starts one and waits until it says that it is ready.
    ///
    /// # Panics
    /// When there is none, or when the tests are not run by root, who alone may have a view of his own.
    #[must_use]
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("libvirtd-").tempdir().expect("a temporary folder");
        for path in ["etc/libvirt", "run", "var/lib", "var/cache", "var/log", "sock"] {
            fs::create_dir_all(folder.path().join(path)).expect("a folder");
        }
        let daemon = format!(
            "unix_sock_dir = \"{}\"\nunix_sock_rw_perms = \"0700\"\nunix_sock_ro_perms = \"0700\"\nauth_unix_rw = \"none\"\n",
            folder.path().join("sock").display()
        );
        fs::write(folder.path().join("libvirtd.conf"), daemon).expect("its configuration");
        fs::write(folder.path().join("etc/libvirt/qemu.conf"), QEMU).expect("its configuration");
        let daemon = run(folder.path());
        Self { views: vec![view(daemon.id()).expect("its view")], daemon, folder }
    }

    /// Its address, as `CLOUD_MACHINE_LIBVIRT_URI` has it.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("qemu+unix:///system?socket={}", self.folder.path().join("sock/libvirt-sock").display())
    }

    /// `virsh` of this daemon, and what it printed.
    ///
    /// # Panics
    /// When it fails.
    pub fn virsh(&self, words: &[&str]) -> String {
        let output = Command::new("virsh").args(["--quiet", "--connect", &self.uri()]).args(words).output();
        let output = output.expect("install the package libvirt-clients");
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Kills it, as a host does that has no memory left. Its machines run on.
    ///
    /// # Panics
    /// When it is not there.
    pub fn kill(&mut self) {
        self.daemon.kill().and_then(|()| self.daemon.wait()).expect("the daemon is there");
    }

    /// Starts it again, with what it knew.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start_again(&mut self) {
        self.daemon = run(self.folder.path());
        self.views.push(view(self.daemon.id()).expect("its view"));
    }

    /// Starts it again, when nothing is left of what it knew.
    ///
    /// # Panics
    /// When that cannot be removed.
    pub fn start_without_memory(&mut self) {
        fs::remove_dir_all(self.folder.path().join("run")).expect("its state");
        fs::create_dir(self.folder.path().join("run")).expect("its state");
        self.start_again();
    }

    /// What it wrote into its log.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(log(self.folder.path())).unwrap_or_default()
    }
}

impl Drop for Libvirtd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Shown beside the failure that it may explain.
            eprintln!("libvirtd said:\n{}", self.log());
        }
        // One that was killed already is no error.
        let _ = self.daemon.kill().and_then(|()| self.daemon.wait());
        // Its machines outlive it, and a test that fails has not ended them.
        for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let number = process.file_name().to_string_lossy().parse::<u32>();
            if let Some(number) =
                number.ok().filter(|number| view(*number).is_some_and(|view| self.views.contains(&view)))
            {
                let _ = Command::new("kill").args(["-KILL", &number.to_string()]).status();
            }
        }
    }
}

/// The mount namespace of a process, by its number.
fn view(process: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{process}/ns/mnt")).ok()
}

fn log(folder: &Path) -> PathBuf {
    folder.join("log")
}

fn run(folder: &Path) -> Child {
    let notified = folder.join("notify");
    // One of a daemon before.
    let _ = fs::remove_file(&notified);
    let socket = UnixDatagram::bind(&notified).expect("a socket");
    socket.set_read_timeout(Some(LIMIT)).expect("a limit");
    let said = fs::OpenOptions::new().append(true).create(true).open(log(folder)).expect("its log");
    let mut daemon = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-ec", VIEW, "sh"])
        .arg(folder)
        .env("LC_ALL", "C")
        .env("NOTIFY_SOCKET", &notified)
        .stdin(Stdio::null())
        .stdout(said.try_clone().expect("its log"))
        .stderr(said)
        .spawn()
        .expect("unshare");
    let mut message = [0; 256];
    loop {
        match socket.recv(&mut message) {
            Ok(count) if message[..count].starts_with(b"READY=1") => return daemon,
            Ok(_) => {}
            Err(error) => {
                let _ = daemon.kill().and_then(|()| daemon.wait());
                panic!(
                    "libvirtd is not ready: {error}; install libvirt-daemon and libvirt-daemon-driver-qemu, and run as root: {}",
                    fs::read_to_string(log(folder)).unwrap_or_default()
                );
            }
        }
    }
}
