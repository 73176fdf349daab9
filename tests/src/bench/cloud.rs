//! A rented server on the emulated cloud, cleaned in several ways, each timed until a command runs on it over SSH. Owns how that is
//! measured; must not judge what is fast enough.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::{self, File},
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use cloud_machine_driver::ssh::{Host, wait_banner};
use serde_json::{Value, json};

use crate::{
    artifacts::Artifacts,
    cloud::{
        Cloud, Settings,
        qemu::{Parts, Qemu},
    },
    program::Program,
};

/// Name of the machine and of its server.
const NAME: &str = "ci-1";
/// Name of the image, the same one as the provider has.
const IMAGE: &str = "debian-12-cloud";
/// Bytes of a frame of a packed image, which cross the network together.
const FRAME: usize = 1 << 20;
/// Bytes of a leaf, which is compared by itself.
const LEAF: usize = 64 << 10;
/// How long to wait for anything.
const PATIENCE: Duration = Duration::from_secs(900);
/// Pause before the system that goes down is asked again whether it is another one now.
const PAUSE: Duration = Duration::from_millis(200);

/// A server that is cleaned again and again.
pub struct Stage {
    // Before what it runs on, so that its machines are deleted first.
    program: Program,
    cloud: Cloud,
    machines: Arc<Qemu>,
    image: PathBuf,
    server: u64,
    address: String,
    /// Numbers of frames that hold data in the image.
    data: Vec<usize>,
    frames: usize,
    /// Bytes of the packed image, all of which a full write needs.
    pub packed: u64,
    /// Bytes of the image unpacked.
    pub size: u64,
}

/// How much of a disk differs from its image, in percent of all.
#[derive(Clone, Copy, Debug)]
pub struct Dirt {
    /// Of frames of 1 MiB, which cross the network whole.
    pub frames: f64,
    /// Of leaves of 64 KiB.
    pub leaves: f64,
}

/// One reimage.
#[derive(Clone, Debug)]
pub struct Reimage {
    /// From the start of the program until it has ended, in seconds.
    pub seconds: f64,
    /// Bytes of all frames at the server's network interface in that time, both directions.
    pub bytes: u64,
    /// What differed before.
    pub dirt: Dirt,
    /// Names of its phases and what each took in seconds, in their order.
    pub phases: Vec<(String, f64)>,
}

impl Stage {
    /// Packs the image in `folder` and makes a server of the emulated cloud with it, which runs then.
    ///
    /// # Errors
    /// A text, when something of it fails.
    pub fn new(artifacts: &Artifacts, folder: &Path) -> Result<Self, String> {
        let images = BTreeMap::from([("debian-12".to_owned(), folder.to_owned())]);
        let parts = Parts { images, rescue: folder.to_owned(), disk_size: 0, memory: 512, ssh_port: 22 };
        let machines = Arc::new(Qemu::new(parts)?.counting_traffic());
        let cloud = Cloud::start(Settings::default(), machines.clone());
        let program = Program::new(artifacts);
        let packed = program.pack_folder(folder, IMAGE, &[])?;
        let number = |key: &str| packed[key].as_u64().ok_or_else(|| format!("no {key}: {packed}"));
        settings(&program, &cloud).map_err(|error| format!("write the driver's settings: {error}"))?;
        program.json(["create", NAME, "--driver", "hetzner", "--image", IMAGE, "--timeout", "900"])?;
        let listed = ask(&cloud, "GET /servers", &Value::Null)?;
        let server = &listed["servers"][0];
        let address = server["public_net"]["ipv4"]["ip"].as_str().unwrap_or_default().to_owned();
        let server = server["id"].as_u64().ok_or("the cloud has no server")?;
        let image = folder.join("disk.raw");
        let data = with_data(&image)?;
        let (packed, size) = (number("packed_bytes")?, number("size")?);
        let frames = usize::try_from(size).map_err(|error| error.to_string())?.div_ceil(FRAME);
        Ok(Self { program, cloud, machines, image, server, address, data, frames, packed, size })
    }

    /// Lets a job overwrite so many of a hundred frames of the disk with random bytes: such as hold data in the image, evenly
    /// spread, or simply all. Gives what differs from the image then, with what the system itself has written since its start.
    ///
    /// # Errors
    /// A text, when less differs.
    pub fn dirty(&self, percent: usize) -> Result<Dirt, String> {
        let count = (self.frames * percent).div_ceil(100);
        let mut script = "export PATH=/usr/sbin:/usr/bin:/sbin:/bin\n".to_owned();
        let write = "dd if=/dev/urandom of=/dev/vda bs=1M oflag=direct conv=notrunc status=none";
        if count >= self.data.len() {
            // It ends where the disk does, which dd calls an error.
            let _ = writeln!(script, "sync; {write} || true");
        } else {
            for index in 0..count {
                let frame = self.data[index * self.data.len() / count];
                let _ = writeln!(script, "{write} count=1 seek={frame}");
            }
            script.push_str("sync\n");
        }
        let called = self.program.call(["exec", NAME, "--", "sh", "-s"], script.as_bytes());
        let dirt = self.dirt()?;
        // What is written is what counts: a job may have taken its own shell away.
        if dirt.frames + 0.01 < (percent as f64).min(99.0) {
            return Err(format!("only {dirt:?} of {percent} % are dirty: {} {}", called.code, called.errors));
        }
        Ok(dirt)
    }

    fn dirt(&self) -> Result<Dirt, String> {
        let open = |path: &Path| File::open(path).map_err(|error| format!("open {}: {error}", path.display()));
        let (mut one, mut two) = (open(&self.image)?, open(&self.machines.disk(self.server))?);
        let (mut wanted, mut found) = (vec![0; FRAME], vec![0; FRAME]);
        let (mut frames, mut leaves) = (0_usize, 0_usize);
        for _ in 0..self.frames {
            one.read_exact(&mut wanted).and_then(|()| two.read_exact(&mut found)).map_err(|error| error.to_string())?;
            let differ = wanted.chunks(LEAF).zip(found.chunks(LEAF)).filter(|(one, two)| one != two).count();
            (frames, leaves) = (frames + usize::from(differ > 0), leaves + differ);
        }
        let of = |count: usize, all: usize| count as f64 * 100.0 / all as f64;
        Ok(Dirt { frames: of(frames, self.frames), leaves: of(leaves, self.frames * FRAME / LEAF) })
    }

    /// `cloud-machine reimage` through the rescue system, of a disk on which so many of a hundred frames are dirty.
    ///
    /// # Errors
    /// A text, when it fails or proves less than it has to.
    pub fn reimage(&self, percent: usize) -> Result<Reimage, String> {
        let dirt = self.dirty(percent)?;
        self.cleaned(dirt)
    }

    /// The same of whatever is on the disk, so that the machine's own system runs again.
    ///
    /// # Errors
    /// As [`Stage::reimage`].
    pub fn clean(&self) -> Result<Reimage, String> {
        let dirt = self.dirt()?;
        self.cleaned(dirt)
    }

    fn cleaned(&self, dirt: Dirt) -> Result<Reimage, String> {
        let before = self.machines.traffic(self.server)?;
        let began = Instant::now();
        let words = ["reimage", NAME, "--require-assurance", "provider-rooted", "--timeout", "900"];
        let cleaned = self.program.json(words)?;
        let seconds = began.elapsed().as_secs_f64();
        let bytes = self.machines.traffic(self.server)?.bytes() - before.bytes();
        let result = &cleaned["machines"][0]["result"];
        let phases = result["phases"].as_array().ok_or_else(|| format!("no phases: {cleaned}"))?.iter();
        let phase = |one: &Value| Some((one["phase"].as_str()?.to_owned(), one["milliseconds"].as_f64()? / 1000.0));
        let phases = phases.filter_map(phase).collect();
        Ok(Reimage { seconds, bytes, dirt, phases })
    }

    /// The provider's own `reboot` of the running system, or `reset`, in seconds.
    ///
    /// # Errors
    /// A text, when it does not come up again.
    pub fn reboot(&self, action: &str) -> Result<f64, String> {
        let before = self.boot_id()?;
        let began = Instant::now();
        self.act(action, &Value::Null)?;
        loop {
            // The system that goes down may still answer, or hang up in the middle.
            if self.boot_id().is_ok_and(|now| now != before) {
                return Ok(began.elapsed().as_secs_f64());
            }
            if began.elapsed() > PATIENCE {
                return Err(format!("no other system after {action}"));
            }
            thread::sleep(PAUSE);
        }
    }

    /// The provider's `rebuild` with its own copy of the image, in seconds.
    ///
    /// # Errors
    /// A text, when it does not come up.
    pub fn rebuild(&self) -> Result<f64, String> {
        let began = Instant::now();
        self.act("rebuild", &json!({"image": "debian-12"}))?;
        self.comes_up(began)
    }

    /// Into the provider's rescue system and nothing there: power off, rescue on, power on, in seconds. Goes back to the system
    /// afterwards, which is not counted.
    ///
    /// # Errors
    /// A text, when one of them does not come up.
    pub fn rescue_boot(&self) -> Result<f64, String> {
        let keys = ask(&self.cloud, "GET /ssh_keys", &Value::Null)?;
        let keys: Vec<&Value> = keys["ssh_keys"].as_array().into_iter().flatten().map(|key| &key["id"]).collect();
        let began = Instant::now();
        self.act("poweroff", &Value::Null)?;
        self.act("enable_rescue", &json!({"ssh_keys": keys}))?;
        self.act("poweron", &Value::Null)?;
        let seconds = self.comes_up(began)?;
        self.act("poweroff", &Value::Null)?;
        self.act("poweron", &Value::Null)?;
        self.comes_up(began)?;
        Ok(seconds)
    }

    /// Whoever looks is looked at: the same way as the program has.
    fn comes_up(&self, began: Instant) -> Result<f64, String> {
        let host = Host::named(&self.address).map_err(|error| error.to_string())?;
        wait_banner(&host, 22, began + PATIENCE, &|| true).map_err(|error| error.to_string())?;
        self.boot_id()?;
        Ok(began.elapsed().as_secs_f64())
    }

    /// What tells one boot from another, of whatever system runs.
    fn boot_id(&self) -> Result<String, String> {
        let key = self.program.state().join("machines").join(NAME).join("ssh/id_ed25519");
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none", "-oBatchMode=yes", "-oLogLevel=ERROR", "-oConnectTimeout=2", "-oIdentitiesOnly=yes"]);
        // Whose key it has is not the question here.
        ssh.args(["-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null", "-oHostKeyAlgorithms=ssh-ed25519"]);
        ssh.arg("-i").arg(key).arg(format!("root@{}", self.address)).arg("cat /proc/sys/kernel/random/boot_id");
        let output = ssh.stdin(Stdio::null()).output().map_err(|error| format!("start ssh: {error}"))?;
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(said(&output.stdout)) } else { Err(said(&output.stderr)) }
    }

    fn act(&self, action: &str, body: &Value) -> Result<(), String> {
        let path = format!("POST /servers/{}/actions/{action}", self.server);
        let reply = self.cloud.ask(&path, body).map_err(|error| format!("{action}: {error}"))?;
        if reply.status == 201 && self.cloud.succeeds(&reply) { Ok(()) } else { Err(format!("{action}: {reply:?}")) }
    }
}

fn ask(cloud: &Cloud, request: &str, body: &Value) -> Result<Value, String> {
    cloud.ask(request, body).map(|reply| reply.body).map_err(|error| format!("{request}: {error}"))
}

/// The driver's settings and the token, as an operator has them.
fn settings(program: &Program, cloud: &Cloud) -> std::io::Result<()> {
    let home = program.state().parent().unwrap_or(Path::new("/"));
    let (folder, token) = (home.join(".config/cloud-machine/drivers"), home.join("token"));
    fs::create_dir_all(&folder)?;
    fs::write(&token, cloud.token())?;
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600))?;
    let text = format!("{{token: {{file: {}}}, endpoint: '{}'}}\n", token.display(), cloud.endpoint());
    fs::write(folder.join("hetzner.yaml"), text)
}

/// Numbers of the frames of a raw image that are not empty.
fn with_data(image: &Path) -> Result<Vec<usize>, String> {
    let mut file = File::open(image).map_err(|error| format!("open {}: {error}", image.display()))?;
    let (mut data, mut frame) = (Vec::new(), vec![0; FRAME]);
    let mut number = 0;
    while file.read_exact(&mut frame).is_ok() {
        if frame.iter().any(|byte| *byte != 0) {
            data.push(number);
        }
        number += 1;
    }
    Ok(data)
}
