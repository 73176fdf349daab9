//! A machine over which nobody has power, from `adopt` to its next reimage by the host's own program: reached over SSH alone, and reset
//! by nobody but itself.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use cloud_machine_disk::{Access, Disk};
use cloud_machine_driver::ssh::{self, Host, Target, fingerprint, free_port, generate_key, write_known_hosts};
use cloud_machine_recovery::{Control, RecoveryPartition, State};
use cloud_machine_tests::{
    artifacts::{Artifacts, baked_image},
    baked::BakedRoot,
    plain_machine::{PlainMachine, Start},
    program::{Called, Program},
    small_system::SmallSystem,
};
use serde_json::Value;

use crate::self_reimage::right;

/// Name of the machine.
const NAME: &str = "itself";
const IMAGE: &str = "small";
/// An image that leaves no room for the recovery partition.
const LARGER: &str = "larger";
const UUID: &str = "5d3c6e9a-0b4f-4f0e-9a53-3d8a51c7e0aa";
/// Bytes of the disk behind the image: the recovery partition, and what a job leaves before it.
const BEHIND: u64 = 112 << 20;
const BOOT: Duration = Duration::from_secs(300);
/// Of the agent of an image for UEFI, whose boot files are larger.
const POLICY: &str = "recovery: 96MiB\n";
/// What the agent says when it begins to rewrite the disk.
const REWRITES: &str = "step reimage-system begins";
/// What a job leaves: files, and bytes where no partition is.
const DIRT: &str = "echo evil >/evil && echo evil >/etc/hostname && echo evil >>/grub/grub.cfg && \
                    dd if=/dev/urandom of=/dev/vda bs=1M seek=97 count=4 conv=notrunc,fsync status=none && sync";

/// A machine that starts anew whenever it has reset itself.
struct Kept {
    stop: Arc<AtomicBool>,
    /// Whether its power goes once, while the disk is rewritten.
    cut: Arc<AtomicBool>,
    console: Arc<Mutex<String>>,
    thread: Option<JoinHandle<()>>,
}

impl Kept {
    fn start(machine: PlainMachine) -> Self {
        let (stop, cut, console) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default(), Arc::default());
        let thread = thread::spawn({
            let (stop, cut, console) = (Arc::clone(&stop), Arc::clone(&cut), Arc::clone(&console));
            move || keep(&machine, &stop, &cut, &console)
        });
        Self { stop, cut, console, thread: Some(thread) }
    }

    fn console(&self) -> String {
        self.console.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn end(&mut self) {
        self.stop.store(true, SeqCst);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(!matches!(ended, Some(Err(_))) || thread::panicking(), "the machine could not be kept running");
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.end();
    }
}

fn keep(machine: &PlainMachine, stop: &AtomicBool, cut: &AtomicBool, console: &Mutex<String>) {
    let mut before = String::new();
    while !stop.load(SeqCst) {
        let running = machine.start();
        loop {
            thread::sleep(Duration::from_millis(200));
            let said = running.console();
            *console.lock().unwrap_or_else(PoisonError::into_inner) = format!("{before}{said}");
            let off = said.contains(REWRITES) && cut.swap(false, SeqCst);
            if off || running.has_ended() || stop.load(SeqCst) {
                break;
            }
        }
        before = format!("{}\n== the machine starts anew\n", console.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

struct Scene {
    program: Program,
    disk: PathBuf,
    key: PathBuf,
    port: u16,
    host_key: String,
    kept: Kept,
    folder: tempfile::TempDir,
}

impl Scene {
    fn new(system: &SmallSystem, start: Start) -> Self {
        let artifacts = Artifacts::from_environment_without_image().expect("the programs");
        let folder = tempfile::Builder::new().prefix("whole-way-").tempdir().expect("a folder");
        let program = Program::new(&artifacts);
        program.pack_folder(system.folder(), IMAGE, &[]).expect("it is packed");
        program.pack_folder(&system.larger(BEHIND), LARGER, &[]).expect("it is packed");
        let (disk, key) = (folder.path().join("disk"), folder.path().join("key"));
        let login = generate_key(&key, "who made the machine").expect("a key");
        let host_key = system.machine(&disk, BEHIND, &login);
        let port = free_port().expect("a port");
        let mut machine = PlainMachine { start, arguments: vec!["-uuid".into(), UUID.into()] };
        let network = format!("user,id=net,hostfwd=tcp:127.0.0.1:{port}-:22");
        machine.arguments.extend(["-netdev", &network, "-device", "virtio-net-pci,netdev=net"].map(Into::into));
        // Of a disk without a serial number no report says that it is this one.
        let file = format!("file={},format=raw,if=none,id=system", disk.display());
        let device = "virtio-blk-pci,drive=system,serial=of-itself";
        machine.arguments.extend(["-drive", &file, "-device", device].map(Into::into));
        let kept = Kept::start(machine);
        let scene = Self { program, disk, key, port, host_key, kept, folder };
        scene.answers(&scene.host_key);
        scene
    }

    /// What `script` says, started by whoever made the machine.
    fn ssh(&self, script: &str) -> Result<String, String> {
        self.ssh_to(&self.host_key, script)
    }

    fn ssh_to(&self, host_key: &str, script: &str) -> Result<String, String> {
        let known_hosts = self.folder.path().join("known_hosts");
        write_known_hosts(&known_hosts, &Host::Forwarded.known_as(self.port), host_key).expect("known_hosts");
        let target = Target {
            user: "root".to_owned(),
            host: Host::Forwarded,
            port: self.port,
            key: Some(self.key.clone()),
            known_hosts,
            connect_limit: Duration::from_secs(20),
        };
        let output = ssh::ask(&target, &["sh", "-c", script], Duration::from_secs(60)).map_err(|e| e.to_string())?;
        let [said, error] = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
        if output.status.success() { Ok(said) } else { Err(format!("{}: {said}{error}", output.status)) }
    }

    /// Waits until it answers with this host key.
    fn answers(&self, host_key: &str) {
        let until = Instant::now() + BOOT;
        while let Err(error) = self.ssh_to(host_key, "true") {
            assert!(Instant::now() < until, "the machine does not answer: {error}");
            thread::sleep(Duration::from_millis(500));
        }
    }

    fn adopt(&self, host_key: &str) -> Called {
        let place = format!("root@127.0.0.1:{}", self.port);
        let key = self.key.display().to_string();
        let words =
            ["adopt", NAME, "--driver", "ssh-self", "--ssh", &place, "--host-key", host_key, "--identity", &key];
        let more = ["--image", IMAGE, "--set", "identity.ssh-host-keys=keep"];
        self.program.call(words.into_iter().chain(more), b"")
    }

    fn reimage(&self, name: &str, more: &[&str]) -> Called {
        let words = ["reimage", name, "--require-assurance", "unproven", "--timeout", "900", "--output", "json"];
        self.program.call(words.iter().chain(more), b"")
    }

    fn exec(&self, script: &str) -> String {
        self.program.done(&["exec", NAME, "--", "sh", "-c", script])
    }

    /// What the machine says of its recovery partition.
    fn told(&self) -> Value {
        serde_json::from_str(&self.exec("cloud-machine-recovery show")).expect("JSON")
    }

    /// The disk, while the machine runs: what its kernel has written.
    fn partition(&self) -> (Disk, RecoveryPartition) {
        let disk = Disk::open(&self.disk, Access::Read).expect("the disk");
        let partition = RecoveryPartition::of(&disk).expect("a table").expect("a partition");
        (disk, partition)
    }

    fn control(&self) -> Control {
        let (disk, partition) = self.partition();
        Control::read(&disk, partition).expect("a control").expect("something was staged")
    }
}

/// A machine that somebody else made of `system`, whose agent has a policy with `recovery`.
/// Each time costs as much again.
pub(crate) fn is_adopted_and_reimaged(system: &SmallSystem, start: Start, times: usize) {
    let mut scene = Scene::new(system, start);
    let refused = scene.adopt("SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    assert_eq!(refused.code, 5, "{}", refused.errors);
    let adopted = scene.adopt(&fingerprint(&scene.host_key));
    assert_eq!(adopted.code, 0, "{}", adopted.errors);
    let public = scene.program.state().join(format!("machines/{NAME}/ssh/id_ed25519.pub"));
    let line = std::fs::read_to_string(&public).expect("the machine's key");
    scene.ssh(&format!("echo '{}' >>/root/.ssh/authorized_keys", line.trim())).expect("it lets the host in");
    what_cannot_be_is_refused(&scene);

    scene.ssh(DIRT).expect("dirt");
    scene.kept.cut.store(true, SeqCst);
    let first = thread::scope(|scope| {
        let first = scope.spawn(|| scene.reimage(NAME, &["--image", IMAGE]));
        thread::sleep(Duration::from_secs(3));
        let twice = scene.reimage(NAME, &[]);
        assert_eq!(twice.code, 8, "{}", twice.errors);
        first.join().expect("it ends")
    });
    is_clean(&scene, &first);
    assert_eq!(scene.told()["staged"]["attempts"], 2, "the power went once");
    assert!(!scene.kept.cut.load(SeqCst));
    its_token_counts_once(&scene);

    for _ in 1..times {
        scene.exec(DIRT);
        is_clean(&scene, &scene.reimage(NAME, &[]));
        assert_eq!(scene.told()["staged"]["attempts"], 1);
    }
    scene.kept.end();
    let (disk, partition) = scene.partition();
    right(&disk, partition, &std::fs::read(system.folder().join("disk.raw")).expect("the image"));
    assert!(
        scene.kept.console().matches("the machine starts anew").count() > 2 * times,
        "each reimage starts it twice"
    );
}

/// Each leaves the machine as it was, with nothing staged.
fn what_cannot_be_is_refused(scene: &Scene) {
    let nobody = scene.reimage("nobody", &[]);
    assert!(nobody.code == 4 && nobody.errors.contains("nobody"), "{}", nobody.errors);
    let weak = scene.program.call(["reimage", NAME], b"");
    assert!(weak.code == 5 && weak.errors.contains("host-rooted"), "{}", weak.errors);
    let larger = scene.reimage(NAME, &["--image", LARGER]);
    assert!(larger.code == 1 && larger.errors.contains("recovery partition begins at byte"), "{}", larger.errors);
    let told = scene.ssh("cloud-machine-recovery show").expect("it has a recovery partition");
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!((&told["disk"], &told["staged"]), (&Value::from("vda"), &Value::Null), "{told}");
    // What answers has another key than the host knows.
    let other = "cd /etc/ssh && mv ssh_host_ed25519_key kept && ssh-keygen -q -t ed25519 -N '' -f ssh_host_ed25519_key && \
                 kill $(cat /run/sshd.pid) && cat ssh_host_ed25519_key.pub";
    let other = scene.ssh(other).expect("another key");
    scene.answers(other.trim());
    let foreign = scene.reimage(NAME, &[]);
    assert!(foreign.code == 1 && foreign.errors.contains(" was expected"), "{} {}", foreign.code, foreign.errors);
    let back = "cd /etc/ssh && mv kept ssh_host_ed25519_key && rm *.pub && kill $(cat /run/sshd.pid)";
    scene.ssh_to(other.trim(), back).expect("its key comes back");
    scene.answers(&scene.host_key);
}

/// The machine is what was asked for, and the host says how far that is proven.
fn is_clean(scene: &Scene, reimaged: &Called) {
    assert_eq!(reimaged.code, 0, "{}", reimaged.errors);
    let result: Value = serde_json::from_str(&reimaged.output).expect("JSON");
    let result = &result["value"]["machines"][0]["result"];
    assert_eq!(result["assurance"], "unproven", "{result}");
    let gap = result["does_not_cover"].as_str().expect("a text");
    assert!(gap.contains("the recovery partition of vda") && gap.contains("host key is kept"), "{gap}");
    assert!(Path::new(result["report"].as_str().expect("a path")).is_file(), "{result}");
    let looked = scene.exec("ls /evil 2>&1; cat /etc/hostname; cat /grub/grub.cfg; dd if=/dev/vda bs=1M skip=97 count=4 status=none | tr -d '\\0' | wc -c");
    assert!(looked.contains("No such file") && !looked.contains("evil\n") && looked.ends_with("\n0\n"), "{looked}");
    let verified = scene.program.json(["verify", NAME, "--require-assurance", "unproven"]);
    let verified = verified.unwrap_or_else(|failed| panic!("{failed}"));
    assert_eq!(verified["machines"][0]["result"]["identity_checked"], true, "{verified}");
    assert_eq!(scene.program.call(["verify", NAME], b"").code, 5, "it is no proof");
    assert_eq!(scene.told()["staged"]["state"], "done");
}

/// A request that was carried out is nothing any more.
fn its_token_counts_once(scene: &Scene) {
    let mut control = scene.control();
    assert_eq!((control.state, &control.secrets), (State::Done, &None));
    let token = control.token.clone();
    let secrets = Some(Default::default());
    control = Control { state: State::Staged, attempts: 0, failures: 0, used: Vec::new(), secrets, ..control };
    let mut line = serde_json::to_vec(&control).expect("JSON");
    line.push(b'\n');
    let again = scene.program.call(["exec", NAME, "--", "cloud-machine-recovery", "stage"], &line);
    assert!(again.code != 0 && again.errors.contains("used"), "{} {}", again.code, again.errors);
    assert_eq!((scene.control().state, scene.control().token), (State::Done, token));
}

/// By the other firmware, and twice.
#[test]
#[ignore = "`make self-reimage` runs it: two reimages, 160 s of processor time in emulation"]
fn by_uefi() {
    let artifacts = Artifacts::from_environment_without_image().expect("the programs");
    let root = BakedRoot::unpack(&baked_image().expect("the image"));
    root.install(&artifacts.agent, Some(POLICY));
    is_adopted_and_reimaged(&SmallSystem::new(&artifacts, &root), Start::Uefi, 2);
}
